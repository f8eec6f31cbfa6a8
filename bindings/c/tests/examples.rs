//! The C examples, as their users would run them, against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod native;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use ackbus_test_support::{Reader, Server, wait_for};
use native::Flavour::C11;
use native::{Finished, Running, compile, run};

const PUBLISH_LINES: &str = "examples/c/publish_lines.c";

/// Runs publish_lines with this input, which then ends.
fn publish_lines(arguments: &[&str], input: &str) -> Finished {
    let mut feeder = None;
    let running = Running::start(Command::new(compile(PUBLISH_LINES, C11)).args(arguments).stdin(Stdio::piped()), |child| {
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        feeder = Some(std::thread::spawn(move || stdin.write_all(input.as_bytes())));
    });
    let finished = running.finish();
    // A program that stops reading early breaks the pipe; that is no fault here.
    let _ = feeder.unwrap().join().unwrap();
    finished
}

#[test]
fn quickstart() {
    let server = Server::start();
    let program = compile("examples/c/quickstart.c", C11);
    assert_eq!(run(Command::new(&program).arg(server.url())).succeeded().stdout, "1 of 1 persisted\n");
    let stored = Reader::connect(&server.url()).read_all("ORDERS");
    assert_eq!((stored.len(), stored[0].subject.as_str(), stored[0].payload.as_slice()), (1, "orders.created", &b"{\"id\":1}"[..]));

    let nobody = run(Command::new(program).arg("nats://127.0.0.1:1"));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(nobody.stderr.contains("127.0.0.1:1"), "{}", nobody.stderr);
}

#[test]
fn error_callback() {
    let server = Server::start();
    let finished = run(Command::new(compile("examples/c/error_callback.c", C11)).arg(server.url())).succeeded();
    assert_eq!(finished.stdout, "failed 500, dead-lettered 500, lost 0\n");
    assert!(finished.stderr.contains("unknown.topic failed"), "{}", finished.stderr);
    let reader = Reader::connect(&server.url());
    assert_eq!(reader.message_count("ORDERS"), 500);
    let letters = reader.read_all("DEAD_LETTERS");
    assert_eq!(letters.len(), 500);
    assert_eq!(letters[0].payload, b"{\"order\":1}");
    let header = |name: &str| letters[0].headers.get(name).map(|value| value.as_str());
    assert_eq!((header("X-Topic"), header("X-Reason"), header("X-Persisted")), (Some("unknown.topic"), Some("NO_STREAM"), Some("no")));
}

#[test]
fn poll_loop() {
    let server = Server::start();
    let program = compile("examples/c/poll_loop.c", C11);
    for url in [server.url().as_str(), "memory:"] {
        let finished = run(Command::new(&program).arg(url)).succeeded();
        assert!(finished.stdout.starts_with("persisted 10000, failed 0;"), "{}", finished.stdout);
    }
    assert_eq!(Reader::connect(&server.url()).message_count("ORDERS"), 10_000);
}

/// One test: they share the program.
#[test]
fn publish_lines_in_all_its_ways() {
    everything_is_stored();
    what_was_not_persisted_is_listed();
    wrong_calls_are_told();
    ctrl_c_closes_and_reports();
}

fn everything_is_stored() {
    let server = Server::start();
    let mut lines: Vec<String> = (0..20_000).map(|n| format!("row {n}; ä, \"quoted\"")).collect();
    lines[7].clear();
    // The last line has no newline.
    let finished =
        publish_lines(&[&server.url(), "rows.de", "max_pending=100", "topic:rows.>:stream=ROWS", "topic:rows.>:create=if_missing"], &lines.join("\n"));
    let finished = finished.succeeded();
    assert!(finished.stdout.contains("20000 lines, ") && finished.stdout.contains("persisted 20000, failed 0, not accepted 0, "), "{}", finished.stdout);
    let stored: Vec<String> = Reader::connect(&server.url()).read_all("ROWS").into_iter().map(|message| String::from_utf8(message.payload).unwrap()).collect();
    assert!(stored == lines, "{} lines stored", stored.len());
}

fn what_was_not_persisted_is_listed() {
    let server = Server::start();
    let nowhere = publish_lines(&[&server.url(), "rows"], "a\nb\n");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(nowhere.stdout.starts_with("line 1: not persisted, NO_STREAM: "), "{}", nowhere.stdout);
    assert!(nowhere.stdout.contains("\nline 2: ") && nowhere.stdout.contains("persisted 0, failed 2, "), "{}", nowhere.stdout);

    // One line that can never be sent does not stop the others.
    let large = publish_lines(&["memory:", "rows"], &format!("a\n{}\nc\n", "x".repeat(2 << 20)));
    assert_eq!(large.status.code(), Some(1));
    assert!(large.stdout.starts_with("line 2: not accepted, TOO_LARGE: "), "{}", large.stdout);
    assert!(large.stdout.contains("persisted 2, failed 0, not accepted 1, "), "{}", large.stdout);

    let topic = publish_lines(&["memory:", "no good"], "a\nb\n");
    assert_eq!(topic.status.code(), Some(1));
    assert!(topic.stdout.contains("INVALID_TOPIC") && topic.stdout.contains("stopped after line 1;"), "{}", topic.stdout);
}

fn wrong_calls_are_told() {
    for (arguments, word) in [
        (&["memory:"][..], "usage:"),
        (&["memory:", "rows", "no_such_option=1"], "no_such_option"),
        (&["memory:", "rows", "max_pending"], "max_pending"),
        (&["memory:", "rows", "max_pending=many"], "many"),
        (&["memory:", "rows", "topic:rows.>:mode=x"], "mode"),
        (&["memory:", "rows", "topic:rows..x:mode=ephemeral"], "rows..x"),
        (&["nats://127.0.0.1:1", "rows"], "127.0.0.1:1"),
    ] {
        let finished = publish_lines(arguments, "");
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}");
        assert!(finished.stderr.contains(word), "{arguments:?}: {}", finished.stderr);
    }
}

/// With the server stopped, so that messages are pending and the window is full: main waits for room, and Ctrl-C ends that too.
fn ctrl_c_closes_and_reports() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ROWS", &["rows"]);
    let mut input = None;
    let running = Running::start(Command::new(compile(PUBLISH_LINES, C11)).args([&server.url(), "rows", "max_pending=50"]).stdin(Stdio::piped()), |child| {
        input = child.stdin.take();
    });
    let mut input = input.unwrap();
    input.write_all(b"first\n").unwrap();
    wait_for("the first line in the stream", Duration::from_secs(10), || (reader.message_count("ROWS") == 1).then_some(()));
    server.pause();
    input.write_all("later\n".repeat(100).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    run(Command::new("kill").args(["-INT", &running.child.id().to_string()])).succeeded();
    let finished = running.finish();
    server.resume();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stdout.contains("persisted 1, failed 50, "), "{finished:?}");
    assert!(finished.stdout.contains("stopped after line 52;") && finished.stdout.contains("line 51: possibly persisted, CLOSED"), "{finished:?}");
}
