//! Calls: what the calling thread may do now. Inside a callback nothing waits (P5); in a forked child nothing works but to connect anew (P8).

use std::cell::Cell;

use crate::base::error::{Error, Result, Status};
use crate::base::sync::thread_local;
use crate::base::sys;

thread_local! {
    /// Which publisher's callback runs on this thread, and what it may still admit (P3).
    static CALLBACK: Cell<Option<Credit>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    pub(crate) window: u64,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// True on a thread that is inside a callback of any publisher (P5).
#[must_use]
pub fn in_callback() -> bool {
    CALLBACK.with(|c| c.get().is_some())
}

/// The simulation runs a callback among other threads on one real thread: it takes the mark away while another of them runs.
#[cfg(test)]
pub(crate) fn swap_callback(mark: Option<Credit>) -> Option<Credit> {
    CALLBACK.with(|c| c.replace(mark))
}

/// Refuses a waiting call on a callback's thread (P5).
pub(crate) fn not_in_callback(call: &str) -> Result<()> {
    if in_callback() {
        return Err(Error::new(Status::WrongThread, format!("{call} may not be called from a callback: it would wait for itself")));
    }
    Ok(())
}

/// Marks this thread as running user code, without admissions: event and log callbacks, finalizers.
pub(crate) fn enter_callback_thread() {
    CALLBACK.with(|c| {
        if c.get().is_none() {
            c.set(Some(Credit { window: 0, messages: 0, bytes: 0 }));
        }
    });
}

/// This thread's callback is over. Not for threads that only ever run callbacks: their mark stays.
pub(crate) fn leave_callback_thread() {
    CALLBACK.with(|c| c.set(None));
}

/// What this thread's callback may still admit. `None` outside of callbacks.
#[inline(always)]
pub(crate) fn credit() -> Option<Credit> {
    CALLBACK.with(Cell::get)
}

/// Another credit, and the one before it.
pub(crate) fn set_credit(credit: Option<Credit>) -> Option<Credit> {
    CALLBACK.with(|c| c.replace(credit))
}

/// P8: one relaxed load.
pub(crate) fn guard() -> Result<()> {
    if sys::forked() {
        return Err(Error::new(
            Status::Forked,
            "this process was forked after ackbus had connected; connect in the child before anything else connects in the parent, or use spawn",
        ));
    }
    Ok(())
}

pub(crate) fn may_enter() -> Result<()> {
    guard()?;
    if in_callback() {
        return Err(Error::new(Status::InvalidState, "this thread is inside a callback already"));
    }
    Ok(())
}
