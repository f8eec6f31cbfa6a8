//! The C programs of `tests/c`: all calls, all misuse, callbacks, signals, fork, exit; under AddressSanitizer and valgrind too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod native;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use ackbus_test_support::{Reader, Server};
use native::Flavour::{Asan, C11};
use native::{Running, check, compile, have, project, run, skipped};

#[test]
fn calls_do_what_their_comments_say() {
    check("calls", C11, &[]);
}

#[test]
fn callbacks_and_finalizers() {
    check("callbacks", C11, &[]);
}

#[test]
fn packed_messages() {
    check("packed", C11, &[]);
}

#[test]
fn metrics_as_text() {
    check("metrics", C11, &[]);
}

/// P1 with four publishing threads, readers of figures, pollers, and a close in the midst of it; in memory and against a server.
#[test]
fn many_threads_on_one_publisher() {
    let program = compile("tests/c/threads.c", C11);
    run(&mut Command::new(&program)).succeeded();
    let server = Server::start();
    run(Command::new(&program).arg(server.url())).succeeded();
}

/// P3 and P5 for programs that poll.
#[test]
fn handlers_of_the_programs_own() {
    check("handlers", C11, &[]);
}

#[test]
fn misuse_gets_an_error() {
    check("misuse", C11, &[]);
}

/// P8.
#[test]
fn a_forked_child_gets_forked() {
    check("fork", C11, &[]);
}

/// P7.
#[test]
fn signals_stay_the_hosts() {
    check("signals", C11, &[]);
}

/// T10.
#[test]
fn a_program_may_end_without_closing() {
    check("exit_open", C11, &[]);
    check("exit_open", C11, &["by exit()"]);
}

#[test]
fn headers_ids_and_expectations_reach_the_stream() {
    let server = Server::options().jetstream("domain: hub").start();
    run(Command::new(compile("tests/c/headers.c", C11)).arg(server.url())).succeeded();
    let stored = Reader::connect(&server.url()).read_all("HEADERS");
    assert_eq!(stored.len(), 5);
    for (place, (value, headers, id)) in
        [("zero", 0, Some("id-0")), ("one", 1, Some("id-1")), ("two", 2, Some("id-2")), ("three", 3, Some("id-3")), ("two", 2, None)].into_iter().enumerate()
    {
        let message = &stored[place];
        assert_eq!(message.payload, value.as_bytes());
        let given: Vec<_> = (1..=4).filter_map(|n| message.headers.get(format!("N-{n}").as_str()).map(|value| value.as_str())).collect();
        assert_eq!(given, vec![value; headers]);
        // Without an id of the caller's there is an automatic one.
        assert!(id.map_or(message.msg_id.is_some(), |id| message.msg_id.as_deref() == Some(id)), "{:?}", message.msg_id);
    }
}

/// Runs sigpipe.c against this server until it has lost so many connections. `lose` is called whenever it says that it is connected.
fn outlives(url: &str, losses: usize, mut lose: impl FnMut()) {
    let program = compile("tests/c/sigpipe.c", C11);
    let mut stdout = None;
    let running = Running::start(Command::new(program).args([url, &losses.to_string()]).stdin(Stdio::null()), |child| stdout = child.stdout.take());
    let mut lines = BufReader::new(stdout.unwrap()).lines().map_while(Result::ok);
    for line in lines.by_ref().take(losses) {
        assert_eq!(line, "connected");
        lose();
    }
    let last = lines.next();
    running.finish().succeeded();
    assert_eq!(last.as_deref(), Some("alive"));
}

/// T26. One test: both use the same program.
#[test]
fn the_host_outlives_the_server() {
    let server = Server::start();
    outlives(&server.url(), 4, || {
        thread::sleep(Duration::from_millis(100));
        server.kill();
        server.restart();
    });

    // A process that is killed seldom leaves its end of the connection in the one state in which a write raises SIGPIPE. This server nearly always does.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let (stop, stopped) = mpsc::channel();
    let server = thread::spawn(move || {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            hang_up_in_mid_write(&listener);
        }
    });
    outlives(&url, 10, || {});
    stop.send(()).unwrap();
    // Wakes it, should it wait for a connection.
    drop(TcpStream::connect(url.trim_start_matches("nats://")));
    server.join().unwrap();
}

/// Serves one connection for a moment, then ends its own sending and closes with input unread: FIN, then RST. The client's next write finds a broken pipe.
fn hang_up_in_mid_write(listener: &TcpListener) {
    const INFO: &str = r#"{"server_id":"S","server_name":"S","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}"#;
    let (mut connection, _) = listener.accept().unwrap();
    let _ = write!(connection, "INFO {INFO}\r\n");
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    while received < 4 << 20 {
        let count = connection.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            return;
        }
        received += count;
        // Payloads here are zeros, and a command is never cut in two by reads this large.
        let pings = buffer[..count].windows(6).filter(|bytes| bytes == b"PING\r\n").count();
        let _ = connection.write_all("PONG\r\n".repeat(pings).as_bytes());
    }
    let _ = connection.shutdown(Shutdown::Write);
}

#[test]
fn address_sanitizer_finds_nothing() {
    for name in ["misuse", "calls", "callbacks", "packed", "metrics", "handlers", "threads"] {
        let program = compile(&format!("tests/c/{name}.c"), Asan);
        // The instrument itself: a compiler that ignores the flag would find nothing either.
        let symbols = run(Command::new("nm").arg(&program)).succeeded().stdout;
        assert!(symbols.contains("__asan_init"), "{name} has no AddressSanitizer in it");
        run(&mut Command::new(program)).succeeded();
    }
}

#[test]
fn valgrind_finds_nothing() {
    if !have("valgrind") {
        return skipped("valgrind", "it is not installed");
    }
    for name in ["misuse", "calls", "callbacks", "packed", "metrics", "handlers", "threads"] {
        let program = compile(&format!("tests/c/{name}.c"), C11);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
        valgrind.arg(format!("--suppressions={}", project().join("tests/c/valgrind.supp").display()));
        run(valgrind.arg(program)).succeeded();
    }
}
