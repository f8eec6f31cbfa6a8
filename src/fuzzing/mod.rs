//! Fuzzing: what is fed with bytes that nobody chose, and what must hold then.
//!
//! Each target is one function with two drivers: libFuzzer (`fuzz/`, `make fuzz`), and the test that replays the seeds of `fuzz/seeds` on the stable compiler
//! (`make fuzz-replay`). So what a long run found fails in every check afterwards. A target fails by panicking. Nothing of this is in a build without `cfg(test)`
//! and without `cfg(fuzzing)`, which cargo-fuzz sets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

mod input;
#[cfg(test)]
mod replay;
mod server;
mod server_wire;
mod wire;
mod words;

pub use server::server;
pub use wire::{ack, answer, connection, refusal};
pub use words::{config, message, topic};

/// The longest text that is ever told of what a server sent, in bytes (P9), and so the longest of errors, events and reports.
const LONGEST: usize = 4096;

/// What is told must be readable wherever it is shown: no line ends, no escape sequences of terminals, not too long (P9).
#[track_caller]
fn is_presentable(text: &str) {
    assert!(text.len() <= LONGEST, "{} bytes are told: {:.200}…", text.len(), text);
    assert!(!text.chars().any(char::is_control), "control characters are told: {text:?}");
}
