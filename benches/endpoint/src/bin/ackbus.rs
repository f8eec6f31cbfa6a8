//! `ackbus-bench-rust HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id]`: ackbus through its Rust API, a report for every message.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackbus::{Config, Handlers, Persistence, Publisher, Report, Sink};
use ackbus_bench::figures::{Figures, Stopwatch};
use ackbus_bench::load::Load;
use ackbus_bench::{Error, exit};

/// How long the last acks may take.
const FLUSH: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    exit("ackbus-bench-rust", Load::from_args().and_then(|load| publish(&load)?.print()))
}

#[derive(Default)]
struct Outcome {
    acked: AtomicU64,
    failed: AtomicU64,
}

impl Sink for Outcome {
    fn reports(&self, reports: &[Report<'_>]) {
        let acked = reports.iter().filter(|report| report.persistence() == Persistence::Persisted).count();
        self.acked.fetch_add(acked as u64, Ordering::Relaxed);
        let Some(failure) = reports.iter().find(|report| report.persistence() != Persistence::Persisted) else { return };
        if self.failed.fetch_add((reports.len() - acked) as u64, Ordering::Relaxed) == 0 {
            let _ = writeln!(std::io::stderr(), "ackbus-bench-rust: the first failure: {}: {}", failure.status().name(), failure.text());
        }
    }
}

fn publish(load: &Load) -> Result<Figures, Error> {
    let mut config = Config::new();
    config.set("servers", &format!("nats://{}", load.address))?;
    config.set("max_pending", &load.window.to_string())?;
    config.set("report", "all")?;
    config.set("msg_id", if load.msg_id { "auto" } else { "none" })?;
    let outcome = Arc::new(Outcome::default());
    let publisher = Publisher::connect(&config, Handlers { reports: Some(Arc::clone(&outcome) as Arc<dyn Sink>), ..Handlers::default() })?;
    let payload = vec![b'x'; load.size];
    let watch = Stopwatch::start()?;
    for tag in 0..load.count {
        publisher.publish(&load.subject, &payload, tag)?;
    }
    publisher.flush(Some(FLUSH))?;
    let figures = watch.stop("ackbus-rust", load, outcome.acked.load(Ordering::Relaxed), outcome.failed.load(Ordering::Relaxed));
    publisher.close(None)?;
    figures
}
