//! The core against a real nats-server. Every test ends by comparing its reports with what an independent reader finds in the stream (P1, P2).
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod auth;
mod close;
mod cluster;
mod common;
mod connect;
mod discovery;
mod ephemeral;
mod faults;
mod lanes;
mod limits;
mod logs;
mod mapped;
mod metrics;
mod permissions;
mod resend;
mod secrets;
mod silence;
mod storage;
mod streams;
mod tls;
