//! The figures as OpenMetrics text, of a publisher that met failures.

use ackbus::{Handlers, Publisher, Purge};
use ackbus_test_support::{Reader, Server};

use crate::common::{config, failures};

/// The value behind a series, and what follows it.
fn sample<'a>(text: &'a str, series: &str) -> (u64, &'a str) {
    let rest = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap_or_else(|| panic!("no {series} in {text}"));
    let (value, more) = rest.split_once(' ').unwrap_or((rest, ""));
    (value.parse().unwrap(), more)
}

fn publish(bus: &Publisher, topic: &str, count: usize) {
    for _ in 0..count {
        bus.publish(topic, b"x", 0).unwrap();
    }
}

#[test]
fn failures_are_told_by_status_and_add_up() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Publisher::connect(&config(&server.url(), &[("name", "shop"), ("report", "failures")], &[]), Handlers::default()).unwrap();
    publish(&bus, "orders.created", 50);
    publish(&bus, "nowhere.\"else\"", 3);
    bus.flush(None).unwrap();

    let text = bus.metrics();
    let failed = |status: &str| sample(&text, &format!("ackbus_failed_messages_total{{publisher=\"shop\",status=\"{status}\"}}"));
    let (count, exemplar) = failed("NO_STREAM");
    assert_eq!(count, 3);
    assert!(exemplar.starts_with(r#"# {text="no stream takes \"nowhere.\\\"else\\\"\""#), "{exemplar}");
    assert_eq!(failed("PURGED"), (0, ""));
    assert_eq!(sample(&text, "ackbus_ack_latency_seconds_count{publisher=\"shop\"}").0, 50);
    assert!(text.contains(&format!("server_version=\"{}\"", bus.info().server_version)), "{text}");

    drop(server);
    publish(&bus, "orders.created", 7);
    bus.purge(Purge { unsent: true, in_flight: true }).unwrap();
    bus.flush(None).unwrap();
    let text = bus.metrics();
    assert_eq!(sample(&text, "ackbus_failed_messages_total{publisher=\"shop\",status=\"PURGED\"}").0, 7);
    assert_eq!(failures(&text), 10);
    for (name, value) in [("publish_error_messages_total", 10), ("accepted_messages_total", 60), ("published_messages_total", 50), ("pending_messages", 0)] {
        assert_eq!(sample(&text, &format!("ackbus_{name}{{publisher=\"shop\"}}")).0, value, "{name}");
    }
}
