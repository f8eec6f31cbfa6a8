//! The C programs of `tests/c`: all calls, all misuse, callbacks, signals, fork, exit; under AddressSanitizer and valgrind too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod native;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

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
    let server = Server::start();
    run(Command::new(compile("tests/c/headers.c", C11)).arg(server.url())).succeeded();
    let stored = Reader::connect(&server.url()).read_all("HEADERS");
    assert_eq!(stored.len(), 5);
    for (place, (value, headers, id)) in [("zero", 0, Some("id-0")), ("one", 1, Some("id-1")), ("two", 2, Some("id-2")), ("three", 3, Some("id-3")), ("two", 2, None)]
        .into_iter()
        .enumerate()
    {
        let message = &stored[place];
        assert_eq!(message.payload, value.as_bytes());
        let given: Vec<_> = (1..=4).filter_map(|n| message.headers.get(format!("N-{n}").as_str()).map(|value| value.as_str())).collect();
        assert_eq!(given, vec![value; headers]);
        // Without an id of the caller's there is an automatic one.
        assert!(id.map_or(message.msg_id.is_some(), |id| message.msg_id.as_deref() == Some(id)), "{:?}", message.msg_id);
    }
}

/// T26. Several kills: not every one meets a write.
#[test]
fn the_host_outlives_the_server() {
    const KILLS: usize = 8;
    let server = Server::start();
    let program = compile("tests/c/sigpipe.c", C11);
    let mut stdout = None;
    let running = Running::start(Command::new(program).args([&server.url(), &KILLS.to_string()]).stdin(Stdio::null()), |child| stdout = child.stdout.take());
    let mut lines = BufReader::new(stdout.unwrap()).lines();
    for _ in 0..KILLS {
        let Some(Ok(line)) = lines.next() else { break };
        assert_eq!(line, "connected");
        std::thread::sleep(std::time::Duration::from_millis(100));
        server.kill();
        server.restart();
    }
    let last = lines.next().map(Result::unwrap);
    running.finish().succeeded();
    assert_eq!(last.as_deref(), Some("alive"));
}

#[test]
fn address_sanitizer_finds_nothing() {
    for name in ["misuse", "calls", "callbacks"] {
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
    for name in ["misuse", "calls", "callbacks"] {
        let program = compile(&format!("tests/c/{name}.c"), C11);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
        valgrind.arg(format!("--suppressions={}", project().join("tests/c/valgrind.supp").display()));
        run(valgrind.arg(program)).succeeded();
    }
}
