//! The core's `base`: what the rooms under test need of it.

#[path = "../../../src/base/calls.rs"]
pub(crate) mod calls;
#[path = "../../../src/base/error.rs"]
pub(crate) mod error;
#[path = "../../../src/base/wait.rs"]
pub(crate) mod wait;

/// Figures order nothing.
pub(crate) mod counter {
    #[derive(Debug, Default)]
    pub(crate) struct Counter(std::sync::atomic::AtomicU64);

    impl Counter {
        pub(crate) fn bump_shared(&self, n: u64) {
            self.0.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// No model forks.
pub(crate) mod sys {
    pub(crate) const fn forked() -> bool {
        false
    }
}

/// loom knows no time.
pub(crate) mod time {
    pub(crate) type Nanos = u64;
}

/// What the core has as `src/base/sync`.
pub(crate) mod sync {
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
