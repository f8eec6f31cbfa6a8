//! The locks of admission, ledger and waiting calls. `tests/loom` compiles these rooms with loom's in their place, and tries every order in which threads can run.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread_local;

pub(crate) use tokio::sync::Notify;
