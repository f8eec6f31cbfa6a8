//! Who is tested.

use std::path::{Path, PathBuf};

/// A client library, and the driver that uses it.
#[derive(Debug)]
pub struct Client {
    /// As in the table.
    pub name: &'static str,
    /// The driver's file in `target/faults`.
    pub driver: &'static str,
    pub peer: bool,
    /// What it holds with ease, with its driver, on two cores that it shares with the servers: messages a second.
    pub rate: u64,
    /// How many messages the baseline has.
    pub baseline: u64,
    /// A peer's time-out for an ack. ackbus keeps its defaults: 5 s for an ack, 60 s for a message.
    pub ack_timeout_ms: u64,
    /// What its driver is told beside the load.
    pub words: &'static [&'static str],
}

const fn ackbus(name: &'static str, driver: &'static str, rate: u64, baseline: u64) -> Client {
    Client { name, driver, peer: false, rate, baseline, ack_timeout_ms: 5_000, words: &[] }
}

const fn peer(name: &'static str, driver: &'static str, rate: u64, baseline: u64) -> Client {
    Client { name, driver, peer: true, rate, baseline, ack_timeout_ms: 10_000, words: &[] }
}

/// All of them; the first is the one that plays every row with several seeds.
pub static CLIENTS: [Client; 9] = [
    ackbus("ackbus C", "ackbus-c", 3_000, 1_000_000),
    Client { words: &["delivery=poll"], ..ackbus("ackbus C, poll", "ackbus-c", 3_000, 1_000_000) },
    ackbus("ackbus Rust", "ackbus-rust", 3_000, 1_000_000),
    ackbus("ackbus Python", "ackbus-python", 3_000, 200_000),
    ackbus("ackbus Go", "ackbus-go", 3_000, 1_000_000),
    peer("nats.go", "nats-go", 3_000, 1_000_000),
    peer("nats.c", "nats-c", 3_000, 1_000_000),
    peer("async-nats", "async-nats", 3_000, 1_000_000),
    peer("nats.py", "nats-py", 2_000, 100_000),
];

impl Client {
    /// The driver's program, if it was built.
    ///
    /// # Errors
    /// What to do when it was not.
    pub fn program(&self, folder: &Path) -> Result<PathBuf, String> {
        let program = folder.join(self.driver);
        if program.is_file() {
            return Ok(program);
        }
        let target = if self.peer { "fault-peers" } else { "fault-drivers" };
        Err(format!("no driver for {}: {} is missing; run `make {target}`", self.name, program.display()))
    }
}
