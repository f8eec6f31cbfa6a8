//! A figure that several threads read and, mostly, one writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows. Relaxed throughout: figures order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`, for a counter that one thread writes at a time: a load and a store, no locked instruction on the path of every message.
    #[inline]
    pub(crate) fn bump(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds `n`, for a counter that several threads write.
    #[inline]
    pub(crate) fn bump_shared(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Lifts it to `n` if it is lower; any thread. Stores only when there is a new maximum.
    #[inline]
    pub(crate) fn raise_to(&self, n: u64) {
        if self.0.load(Relaxed) < n {
            self.0.fetch_max(n, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
