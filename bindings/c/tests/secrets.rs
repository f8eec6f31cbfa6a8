//! Nothing that C is told holds a secret: the log at its highest level, events, errors, settings, information.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod native;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ackbus_test_support::{Certs, Credentials, Server};
use native::Flavour::C11;
use native::{Running, compile};

type Options<'a> = &'a [(&'a str, &'a str)];

/// Runs tests/c/secrets.c with these options, restarts the server once it is connected, and gives what it printed.
fn printed(program: &Path, server: &Server, options: Options<'_>) -> String {
    let arguments = options.iter().flat_map(|(key, value)| [key, value]);
    let mut stdout = None;
    let mut running = Running::start(Command::new(program).args(arguments).stdin(Stdio::piped()), |child| stdout = child.stdout.take());
    let mut stdin = running.child.stdin.take().unwrap();
    let mut text = String::new();
    for line in BufReader::new(stdout.unwrap()).lines() {
        let line = line.unwrap();
        if line == "connected" {
            server.restart();
            writeln!(stdin).unwrap();
        }
        text += &line;
        text.push('\n');
    }
    running.finish().succeeded();
    text
}

/// Logs in, loses the connection and logs in again; is refused; looks for the secrets.
#[track_caller]
fn tells_nothing(program: &Path, server: &Server, right: Options<'_>, wrong: Options<'_>, secrets: &[&str]) {
    let (accepted, refused) = (printed(program, server, right), printed(program, server, wrong));
    for part in ["\nconnected\n", "log 3 ackbus RECONNECTED", "event 3 ", "info nats://127.0.0.1", "\nackbus_publisher_info{publisher=", "=***"] {
        assert!(accepted.contains(part), "{part:?} is missing in:\n{accepted}");
    }
    assert!(refused.contains("error AUTH_FAILED no server could be reached: ") && refused.contains("log 1 ackbus AUTH_FAILED"), "{refused}");
    for secret in secrets {
        assert!(secret.len() >= 20, "too short to be known again: {secret}");
        assert!(!accepted.contains(secret) && !refused.contains(secret), "{secret:.5}… is told:\n{accepted}\n{refused}");
    }
}

/// One test: all of it uses the same program.
#[test]
fn no_secret_is_told() {
    let program = compile("tests/c/secrets.c", C11);
    let [right, wrong, user] = ["right-7c2f0f8b6f0e4a5d", "wrong-2b1d9a7e4c3f5e60", "the-user-5d0c7b9a1e2f"];

    let server = Server::options().config(format!("authorization {{ token: \"{right}\" }}")).start();
    let url = server.url();
    tells_nothing(&program, &server, &[("servers", &url), ("token", right)], &[("servers", &url), ("token", wrong)], &[right, wrong]);

    let certs = Certs::new();
    let server = Server::options().tls(&certs).user(user, right, "").start();
    let at = |password: &str| server.url().replace("nats://", &format!("tls://{user}:{password}@"));
    let (ca, right_url, wrong_url) = (certs.ca.to_str().unwrap(), at(right), at(wrong));
    let (accepted, refused) = (
        printed(&program, &server, &[("servers", &right_url), ("tls_ca_file", ca)]),
        printed(&program, &server, &[("servers", &wrong_url), ("tls_ca_file", ca)]),
    );
    assert!(accepted.contains("option servers=tls://127.0.0.1:") && accepted.contains("RECONNECTED") && refused.contains("error AUTH_FAILED"));
    assert!([right, wrong, user].iter().all(|secret| !accepted.contains(secret) && !refused.contains(secret)), "{accepted}\n{refused}");

    let (credentials, stranger) = (Credentials::new(), Credentials::new());
    let server = Server::options().credentials(&credentials).start();
    let [right, wrong] = [&credentials, &stranger].map(|credentials| fs::read_to_string(credentials.file()).unwrap());
    let secrets: Vec<&str> = right.lines().chain(wrong.lines()).filter(|line| !line.is_empty() && !line.starts_with("---")).collect();
    assert_eq!(secrets.len(), 4, "two JWTs, two seeds");
    let url = server.url();
    tells_nothing(&program, &server, &[("servers", &url), ("credentials", &right)], &[("servers", &url), ("credentials", &wrong)], &secrets);

    // Refused by the call that set it.
    let bad = format!("{}\u{7}", secrets[0]);
    let text = printed(&program, &server, &[("password", &bad)]);
    assert!(text.contains("error INVALID_OPTION password") && !text.contains(secrets[0]), "{text}");
}
