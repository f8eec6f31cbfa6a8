//! The C++ examples, as their users would run them, against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cpp;
#[path = "../../../bindings/c/tests/native/mod.rs"]
mod native;

use std::process::Command;

use ackbus_test_support::{Reader, Server};
use cpp::{GCC_17, build};
use native::{project, run};

#[test]
fn quickstart() {
    let server = Server::start();
    let program = build(GCC_17, &["examples/cpp/quickstart.cpp"], &[], "example");
    assert_eq!(run(Command::new(&program).arg(server.url())).succeeded().stdout, "1 of 1 persisted\n");
    let stored = Reader::connect(&server.url()).read_all("ORDERS");
    assert_eq!((stored.len(), stored[0].subject.as_str(), stored[0].payload.as_slice()), (1, "orders.created", &b"{\"id\":1}"[..]));

    // It catches nothing, to be short: the text of the error still comes out.
    let nobody = run(Command::new(program).arg("nats://127.0.0.1:1"));
    assert!(!nobody.status.success() && nobody.stderr.contains("127.0.0.1:1"), "{}", nobody.stderr);
}

#[test]
fn error_callback() {
    let server = Server::start();
    let program = build(GCC_17, &["examples/cpp/error_callback.cpp"], &[], "example");
    let finished = run(Command::new(program).arg(server.url())).succeeded();
    assert_eq!(finished.stdout, "failed 500, dead-lettered 500, lost 0\n");
    assert_eq!(finished.stderr.matches("unknown.topic failed").count(), 3, "{}", finished.stderr);
    let reader = Reader::connect(&server.url());
    assert_eq!(reader.message_count("ORDERS"), 500);
    let letters = reader.read_all("DEAD_LETTERS");
    assert_eq!((letters.len(), letters[0].payload.as_slice()), (500, &b"{\"order\":1}"[..]));
    let header = |name: &str| letters[0].headers.get(name).map(|value| value.as_str());
    assert_eq!((header("X-Topic"), header("X-Reason"), header("X-Persisted")), (Some("unknown.topic"), Some("NO_STREAM"), Some("no")));
}

#[test]
fn backpressure() {
    let server = Server::start();
    let program = build(GCC_17, &["examples/cpp/backpressure.cpp"], &[], "example");
    let finished = run(Command::new(program).arg(server.url())).succeeded();
    assert_eq!(finished.stdout, "persisted 20000, failed 0; the window was full at times\n");
    assert_eq!(Reader::connect(&server.url()).message_count("ORDERS"), 20_000);
}

/// The README promises a short one.
#[test]
fn quickstart_is_short() {
    let text = std::fs::read_to_string(project().join("examples/cpp/quickstart.cpp")).unwrap();
    assert!(text.lines().count() <= 15);
}
