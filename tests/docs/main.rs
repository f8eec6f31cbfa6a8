//! What docs/quickstart/rust.md shows, and that docs/ERRORS.md lists every status as the code has it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use ackbus::{Config, Handlers, Message, Persistence, Publisher, Report, Sink, Status};
use ackbus_test_support::Server;

const LONG: Option<Duration> = Some(Duration::from_secs(30));

/// Says what became of each message.
struct Told(std::sync::mpsc::Sender<String>);

impl Sink for Told {
    fn reports(&self, reports: &[Report<'_>]) {
        for report in reports {
            self.0.send(format!("{}: {}: {}", report.topic(), report.status(), report.text())).unwrap();
        }
    }
}

#[test]
fn mistakes() {
    let server = Server::start();
    let url = server.url();

    // A value that an option does not have, and a key that does not exist.
    let mut config = Config::new();
    let error = config.set("on_full", "wait").unwrap_err();
    assert_eq!(error.to_string(), r#"INVALID_OPTION: on_full: "wait" is not allowed; allowed: one of block, fail"#);
    let error = config.set("max_pendign", "100").unwrap_err();
    assert_eq!(error.to_string(), r#"INVALID_OPTION: unknown option "max_pendign"; did you mean "max_pending"?"#);

    // Nobody listens there.
    config.set("servers", "nats://127.0.0.1:1").unwrap();
    let error = Publisher::connect(&config, Handlers::default()).unwrap_err();
    assert_eq!(error.to_string(), "CONNECT_FAILED: no server could be reached: nats://127.0.0.1:1: Connection refused (os error 111)");

    // A pattern where a topic is wanted.
    config.set("servers", &url).unwrap();
    let (told, reports) = std::sync::mpsc::channel();
    let bus = Publisher::connect(&config, Handlers { reports: Some(Arc::new(Told(told))), events: None }).unwrap();
    let error = bus.publish("orders.*", b"{}", 0).unwrap_err();
    assert!(error.to_string().starts_with(r#"INVALID_TOPIC: the topic "orders.*" (8 bytes) has a wildcard"#), "{error}");

    // No stream takes the topic: publish succeeds, and the sink is told.
    bus.publish("invoices.new", b"{}", 0).unwrap();
    bus.flush(LONG).unwrap();
    assert_eq!(reports.recv().unwrap(), r#"invoices.new: NO_STREAM: no stream takes "invoices.new""#);

    // One that waits for the outcome gets its report.
    let outcome = bus.publish_wait(&Message::new("invoices.new", b"{}"), LONG).unwrap();
    let report = outcome.get(0).unwrap();
    assert_eq!((report.status(), report.persistence()), (Status::NoStream, Persistence::NotPersisted));

    // Too late.
    drop(outcome);
    bus.close(LONG).unwrap();
    let error = bus.publish("orders.created", b"{}", 0).unwrap_err();
    assert_eq!(error.to_string(), "CLOSED: the publisher is closed");
}

#[test]
fn every_status_is_in_the_table() {
    let page = include_str!("../../docs/ERRORS.md");
    let tables = page.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').map(str::trim).collect());
    let rows: Vec<Vec<&str>> = tables.filter(|row: &Vec<&str>| row[2].parse::<i32>().is_ok()).collect();
    for &status in Status::ALL {
        let row = rows.iter().find(|row| row[1] == format!("`{}`", status.name())).unwrap_or_else(|| panic!("docs/ERRORS.md has no row for {status}"));
        let again = if status.is_retriable() { "yes" } else { "no" };
        assert_eq!((row[2], row[3], row[4]), ((status as i32).to_string().as_str(), status.text(), again), "docs/ERRORS.md, the row of {status}");
        assert!(!row[5].is_empty(), "docs/ERRORS.md says nothing on {status}");
    }
    assert_eq!(rows.len(), Status::ALL.len(), "docs/ERRORS.md has rows for statuses that do not exist");
}
