//! Models for loom: small programs of two or three threads on the real rooms `window`, `ledger` and `base/wait`, run in every order that their locks and atomics
//! allow. A lost wake-up is a deadlock here, and loom finds it.
//!
//! The rooms are compiled from their files; what they need of the others is in `base`, as little as will do. loom knows no time, so no model lets time run out.

// The rooms have more than the models use.
#![allow(dead_code, clippy::vec_box, reason = "the core's own")]

mod base;
#[path = "../../../src/ledger/mod.rs"]
mod ledger;
#[path = "../../../src/window/mod.rs"]
mod window;

pub mod queue;
pub mod waiting;
