//! `ackbus-bench-rust`: ackbus through its Rust API, a report for every message. [`Load`] has the arguments.
//!
//! MODE is `callback`, or `ticket`: a window of tickets is kept, and each is waited for.

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackbus::{Config, Handlers, Message, Persistence, Publisher, Report, Sink, Ticket};
use ackbus_bench::figures::Stopwatch;
use ackbus_bench::load::Load;
use ackbus_bench::pace::Pace;
use ackbus_bench::{Error, exit};

/// How long the last acks may take.
const FLUSH: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    exit("ackbus-bench-rust", Load::from_args(&["callback", "ticket"]).and_then(|load| run(&load)))
}

struct Outcome {
    acked: AtomicU64,
    failed: AtomicU64,
    pace: Pace,
}

impl Sink for Outcome {
    fn reports(&self, reports: &[Report<'_>]) {
        for report in reports {
            if report.persistence() == Persistence::Persisted {
                self.pace.acked(report.tag());
            } else if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                let _ = writeln!(std::io::stderr(), "ackbus-bench-rust: the first failure: {}: {}", report.status().name(), report.text());
            }
        }
        // Only this thread adds to it.
        let acked = reports.iter().filter(|report| report.persistence() == Persistence::Persisted).count();
        self.acked.store(self.acked.load(Ordering::Relaxed) + acked as u64, Ordering::Relaxed);
    }
}

fn run(load: &Load) -> Result<(), Error> {
    let mut config = Config::new();
    config.set("servers", &format!("nats://{}", load.address))?;
    config.set("max_pending", &load.window.to_string())?;
    config.set("report", "all")?;
    config.set("msg_id", if load.msg_id { "auto" } else { "none" })?;
    let outcome = Arc::new(Outcome { acked: AtomicU64::new(0), failed: AtomicU64::new(0), pace: Pace::new(load)? });
    let publisher = Publisher::connect(&config, Handlers { reports: Some(Arc::clone(&outcome) as Arc<dyn Sink>), ..Handlers::default() })?;
    let payload = vec![b'x'; load.size];
    let watch = Stopwatch::start()?;
    if load.mode == "ticket" {
        outcome.acked.store(tickets(&publisher, load, &payload)?, Ordering::Relaxed);
    } else {
        let mut ticks = outcome.pace.start()?;
        for tag in 0..load.count {
            ticks.sleep(tag)?;
            publisher.publish(&load.subject, &payload, tag)?;
        }
    }
    if !load.hold {
        publisher.flush(Some(FLUSH))?;
    }
    watch.stop(load, outcome.acked.load(Ordering::Relaxed), outcome.failed.load(Ordering::Relaxed))?.print()?;
    publisher.close(load.hold.then_some(Duration::ZERO))?;
    outcome.pace.write(load)
}

/// Publishes with a ticket each; how many were acked.
fn tickets(publisher: &Publisher, load: &Load, payload: &[u8]) -> Result<u64, Error> {
    let mut tickets: VecDeque<Ticket> = VecDeque::new();
    let settle = |ticket: Ticket| -> Result<u64, Error> {
        Ok(ticket.wait(Some(FLUSH))?.iter().filter(|report| report.persistence() == Persistence::Persisted).count() as u64)
    };
    let mut acked = 0;
    for _ in 0..load.count {
        // The oldest has most likely settled: waiting for it first keeps a place in the window free.
        if tickets.len() as u64 == load.window
            && let Some(oldest) = tickets.pop_front()
        {
            acked += settle(oldest)?;
        }
        tickets.push_back(publisher.submit(&Message::new(&load.subject, payload))?);
    }
    for ticket in tickets {
        acked += settle(ticket)?;
    }
    Ok(acked)
}
