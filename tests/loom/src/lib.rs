//! Models for loom: small programs of two or three threads on the real rooms `admission`, `ledger` and `wait`, run in every order that their locks and atomics
//! allow. A lost wake-up is a deadlock here, and loom finds it.
//!
//! The rooms are compiled from their files; what they need of the others is below, as little as will do. loom knows no time, so no model lets time run out.

// The rooms have more than the models use.
#![allow(dead_code, clippy::vec_box, reason = "the core's own")]

#[path = "../../../src/admission.rs"]
mod admission;
#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/ledger.rs"]
mod ledger;
#[path = "../../../src/wait.rs"]
mod wait;

pub mod queue;
pub mod window;

/// What the core has as `src/sync.rs`.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;

    /// Loom's, whose threads are not the machine's. It does not know `const` values.
    macro_rules! own_thread_local {
        ($(#[$doc:meta])* static $name:ident: $type:ty = const { $value:expr };) => { loom::thread_local! { static $name: $type = $value; } };
    }
    pub(crate) use own_thread_local as thread_local;

    /// tokio's, as far as the send queue uses it: one wake-up is kept for whoever waits next.
    #[derive(Debug, Default)]
    pub(crate) struct Notify {
        permit: Mutex<bool>,
        changed: Condvar,
    }

    impl Notify {
        pub(crate) fn new() -> Self {
            Notify::default()
        }

        pub(crate) fn notify_one(&self) {
            *self.permit.lock().unwrap() = true;
            self.changed.notify_one();
        }

        /// What the I/O thread's `notified().await` does.
        pub(crate) fn wait(&self) {
            let mut permit = self.permit.lock().unwrap();
            while !std::mem::take(&mut *permit) {
                permit = self.changed.wait(permit).unwrap();
            }
        }
    }
}

mod report {
    /// Waits for one report; not part of any model.
    #[derive(Debug)]
    pub(crate) struct Waiter;
}

mod stats {
    /// A figure; it orders nothing.
    #[derive(Debug, Default)]
    pub(crate) struct Counter(std::sync::atomic::AtomicU64);

    impl Counter {
        pub(crate) fn bump_shared(&self, n: u64) {
            self.0.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

mod wire {
    pub(crate) type Nanos = u64;

    #[derive(Debug)]
    pub(crate) struct Refusal;
}
