//! How a call waits: until it is woken, its time is up, or its thread is wanted back.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::base::error::{Error, Status};
use crate::base::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How often a waiting call asks whether its thread is wanted back: Ctrl-C feels immediate, and ten questions a second cost nothing (T27).
const ASK: Duration = Duration::from_millis(100);

thread_local! {
    static WANTED: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// Runs `call`, whose waits ask `wanted` ten times a second and end with [`Status::Interrupted`] when it says yes.
///
/// For hosts whose signals wait for the interrupted thread to look, such as an interpreter's Ctrl-C. `wanted` runs on this thread with no lock of ours held
/// (P5), so it may run the host's signal handlers, and these may publish. What an interrupted call had begun goes on: a message that was accepted stays
/// accepted, a `close` goes on closing and may be called again. Scopes nest; the innermost is asked.
pub fn interruptible<R>(wanted: fn() -> bool, call: impl FnOnce() -> R) -> R {
    struct Outer(Option<fn() -> bool>);
    impl Drop for Outer {
        fn drop(&mut self) {
            WANTED.set(self.0);
        }
    }
    let _outer = Outer(WANTED.replace(Some(wanted)));
    call()
}

/// Why a wait ended, other than by being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    TimeUp,
    Interrupted,
}

impl Over {
    /// The error of a call whose wait ended so; `late` if its time is up.
    pub(crate) fn error(self, late: impl FnOnce() -> Error) -> Error {
        match self {
            Over::TimeUp => late(),
            Over::Interrupted => interrupted(),
        }
    }
}

pub(crate) fn interrupted() -> Error {
    Error::new(Status::Interrupted, "the wait was interrupted; what it waited for goes on")
}

/// Waits once for `changed`. `Ok`: something may have changed, look again. Gives up the lock also while it asks whether the thread is wanted.
pub(crate) fn once<'a, T>(
    mutex: &'a Mutex<T>,
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    until: Option<Instant>,
) -> Result<MutexGuard<'a, T>, (MutexGuard<'a, T>, Over)> {
    let wanted = WANTED.get();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left == Some(Duration::ZERO) {
        return Err((guard, Over::TimeUp));
    }
    let slice = match (left, wanted) {
        (Some(left), Some(_)) => Some(left.min(ASK)),
        (None, Some(_)) => Some(ASK),
        (left, None) => left,
    };
    let Some(slice) = slice else { return Ok(changed.wait(guard).unwrap_or_else(PoisonError::into_inner)) };
    let (guard, outcome) = changed.wait_timeout(guard, slice).unwrap_or_else(PoisonError::into_inner);
    match wanted {
        Some(wanted) if outcome.timed_out() => {
            drop(guard);
            let wanted = wanted();
            // Woken or not meanwhile: the caller looks again.
            let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
            if wanted { Err((guard, Over::Interrupted)) } else { Ok(guard) }
        }
        _ => Ok(guard),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_wait_ends_in_time_and_asks_nobody_outside_a_scope() {
        let (mutex, changed) = (Mutex::new(()), Condvar::new());
        let until = Instant::now() + Duration::from_millis(20);
        let mut guard = mutex.lock().unwrap();
        let over = loop {
            match once(&mutex, &changed, guard, Some(until)) {
                Ok(again) => guard = again,
                Err((_, over)) => break over,
            }
        };
        assert_eq!(over, Over::TimeUp);
        assert!(Instant::now() >= until);
    }

    #[test]
    fn the_innermost_scope_is_asked_without_the_lock() {
        static MUTEX: Mutex<()> = Mutex::new(());
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static OUTER: AtomicBool = AtomicBool::new(false);
        fn inner() -> bool {
            assert!(MUTEX.try_lock().is_ok(), "P5: the host's code runs with no lock held");
            ASKED.fetch_add(1, Ordering::Relaxed) == 1
        }
        fn outer() -> bool {
            OUTER.store(true, Ordering::Relaxed);
            true
        }
        let changed = Condvar::new();
        interruptible(outer, || {
            interruptible(inner, || {
                let mut guard = MUTEX.lock().unwrap();
                loop {
                    match once(&MUTEX, &changed, guard, None) {
                        Ok(again) => guard = again,
                        Err((_, over)) => break assert_eq!(over, Over::Interrupted),
                    }
                }
            });
            assert_eq!(ASKED.load(Ordering::Relaxed), 2);
            assert!(!OUTER.load(Ordering::Relaxed));
            let ended = once(&MUTEX, &changed, MUTEX.lock().unwrap(), None).map_err(|(_, over)| over);
            assert!(matches!(ended, Err(Over::Interrupted)), "the outer scope is back");
        });
        assert!(WANTED.get().is_none());
    }
}
