//! The core against a real nats-server. Every test ends by comparing its reports with what an independent reader finds in the stream (P1, P2).
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod absence;
mod accounts;
mod auth;
mod close;
mod cluster;
mod common;
mod connect;
mod discovery;
mod ephemeral;
mod equal;
mod faults;
mod lanes;
mod leaf;
mod limits;
mod logs;
mod mapped;
mod metrics;
mod names;
mod order;
mod permissions;
mod resend;
mod secrets;
mod silence;
mod storage;
mod storms;
mod streams;
mod tls;
mod waiting;
mod ways;
mod whose;
mod windows;
