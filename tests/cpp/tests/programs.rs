//! The C++ programs of `tests/cpp/programs`: every call, handlers and futures, with each compiler and standard, and under the sanitizers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cpp;
#[path = "../../../bindings/c/tests/native/mod.rs"]
mod native;

use std::process::Command;

use ackbus_test_support::{Reader, Server};
use cpp::{Dialect, GCC_17, GCC_20, build, clang, dialects};
use native::{run, scratch, skipped};

const CALLS: &str = "tests/cpp/programs/calls.cpp";
const HANDLERS: &str = "tests/cpp/programs/handlers.cpp";

/// gcc with C++17 and clang with C++20. The sanitizers take the other two, so every program runs in all four, and half of the builds are spared.
fn plain(source: &str) {
    for dialect in [Some(GCC_17), clang("c++20")].into_iter().flatten() {
        run(&mut Command::new(build(dialect, &[source], &[], "plain"))).succeeded();
    }
}

#[test]
fn calls_do_what_their_comments_say() {
    plain(CALLS);
}

/// T13 among others.
#[test]
fn handlers_and_futures() {
    plain(HANDLERS);
}

/// P8.
#[test]
fn a_forked_child_gets_forked() {
    run(&mut Command::new(build(GCC_17, &["tests/cpp/programs/fork.cpp"], &[], "plain"))).succeeded();
}

/// A function of the header that is not inline does not link.
#[test]
fn two_units_include_the_header() {
    for dialect in dialects() {
        let sources = ["tests/cpp/programs/two_units_a.cpp", "tests/cpp/programs/two_units_b.cpp"];
        run(&mut Command::new(build(dialect, &sources, &[], "plain"))).succeeded();
    }
}

#[test]
fn a_real_server_stores_what_was_acknowledged() {
    let server = Server::options().jetstream("domain: hub").start();
    run(Command::new(build(GCC_17, &["tests/cpp/programs/server.cpp"], &[], "plain")).arg(server.url())).succeeded();
    let stored = Reader::connect(&server.url()).read_all("ORDERS");
    let payloads: Vec<_> = stored.iter().map(|message| message.payload.as_slice()).collect();
    assert_eq!(payloads, [&b"one"[..], b"two"]);
    let header = |name: &str| stored[0].headers.get(name).map(|value| value.as_str());
    assert_eq!((header("traceparent"), header("tracestate")), (Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), Some("rojo=1")));
    assert_eq!((header("Color"), header("Empty"), stored[0].msg_id.as_deref()), (Some("red"), Some(""), Some("id-1")));
}

/// Debian has clang's runtime in a package of its own.
fn has_sanitizers(dialect: Dialect) -> bool {
    let source = scratch("sanitizers").join("empty.cpp");
    std::fs::write(&source, "int main() {}\n").unwrap();
    let mut command = Command::new(dialect.compiler);
    run(command.arg("-fsanitize=address,undefined").arg(&source).arg("-o").arg(source.with_extension("out"))).status.success()
}

/// The instrument itself is checked: a compiler that ignores the flag would find nothing either.
fn sanitized(dialect: Dialect, source: &str) {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    let program = build(dialect, &[source], &flags, "sanitized");
    let symbols = run(Command::new("nm").arg(&program)).succeeded().stdout;
    assert!(symbols.contains("__asan_init") && symbols.contains("__ubsan_handle_"), "{source} has no sanitizers in it");
    run(Command::new(program).env("UBSAN_OPTIONS", "print_stacktrace=1").env("ASAN_OPTIONS", "detect_stack_use_after_return=1")).succeeded();
}

#[test]
fn sanitizers_of_gcc_find_nothing() {
    for source in [CALLS, HANDLERS] {
        sanitized(GCC_20, source);
    }
}

#[test]
fn sanitizers_of_clang_find_nothing() {
    let Some(dialect) = clang("c++17") else { return skipped("clang's sanitizers", "clang is not installed") };
    if !has_sanitizers(dialect) {
        return skipped("clang's sanitizers", "clang has no runtime for them: Debian's libclang-rt-dev");
    }
    for source in [CALLS, HANDLERS] {
        sanitized(dialect, source);
    }
}
