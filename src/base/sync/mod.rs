//! Locks, as everything that several threads share uses them: the standard library's, but for two tests.
//!
//! `tests/loom` compiles some rooms with loom's in their place, and tries every order in which threads can run. ThreadSanitizer (`make test-tsan`) gets locks that
//! it can see: the standard library's own are compiled without it.

#[cfg(ackbus_tsan)]
mod seen;

pub(crate) use std::sync::PoisonError;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::thread_local;

pub(crate) use tokio::sync::Notify;

#[cfg(ackbus_tsan)]
pub(crate) use self::seen::{Condvar, Mutex, MutexGuard};
#[cfg(not(ackbus_tsan))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
