//! Fuzzing: what is fed with bytes that nobody chose, and what must hold then.
//!
//! Each target is one function with two drivers: libFuzzer (`fuzz/`, `make fuzz`), and the test that replays the seeds of `fuzz/seeds` on the stable compiler
//! (`make fuzz-replay`). So what a long run found fails in every check afterwards. A target fails by panicking. Nothing of this is in a build without `cfg(test)`
//! and without `cfg(fuzzing)`, which cargo-fuzz sets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

mod input;
mod presentable;
#[cfg(test)]
mod replay;
mod server;
mod server_wire;
mod wire;
mod words;

pub use server::server;
pub use wire::{ack, answer, connection, refusal};
pub use words::{config, message, topic};
