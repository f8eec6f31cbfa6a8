//! Publishes ten messages and hears of every failure: `cargo run --example quickstart -- nats://127.0.0.1:4222`.

use std::sync::Arc;
use std::time::Duration;

use ackbus::{Config, Handlers, Publisher, Report, Sink};

struct Failures;

impl Sink for Failures {
    fn reports(&self, reports: &[Report<'_>]) {
        for report in reports {
            eprintln!("{} {:?}: {} {}", report.topic(), report.persistence(), report.status(), report.text());
        }
    }
}

fn main() -> Result<(), ackbus::Error> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let mut config = Config::new();
    config.set("servers", &server)?;
    config.set_topic("orders.>", "stream", "ORDERS")?.set_topic("orders.>", "create", "if_missing")?;

    let bus = Publisher::connect(&config, Handlers { reports: Some(Arc::new(Failures)), events: None })?;
    for i in 0..10 {
        bus.publish("orders.created", format!("order {i}").as_bytes(), i)?;
    }
    bus.flush(Some(Duration::from_secs(5)))?;
    let stats = bus.stats();
    println!("{} persisted, {} not", stats.published, stats.publish_errors);
    bus.close(None)
}
