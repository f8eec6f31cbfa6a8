//! The standard library's locks, with what they promise said once more where ThreadSanitizer sees it: what was done before an unlock happens before what is done
//! after the next lock. Nothing else is said, so a race beside the locks is still found.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult, WaitTimeoutResult};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    lock: std::sync::Mutex<T>,
    unlocks: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    /// `None` only while a condition is waited for.
    guard: Option<std::sync::MutexGuard<'a, T>>,
    unlocks: &'a AtomicU64,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex { lock: std::sync::Mutex::new(value), unlocks: AtomicU64::new(0) }
    }

    fn locked<'a>(&'a self, guard: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.unlocks.load(Ordering::Acquire);
        MutexGuard { guard: Some(guard), unlocks: &self.unlocks }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock.lock().map(|guard| self.locked(guard)).map_err(|poison| PoisonError::new(self.locked(poison.into_inner())))
    }

    #[allow(dead_code, reason = "not every room tries")]
    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.lock.try_lock() {
            Ok(guard) => Ok(self.locked(guard)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poison)) => Err(TryLockError::Poisoned(PoisonError::new(self.locked(poison.into_inner())))),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[allow(clippy::expect_used, reason = "tests")]
    fn deref(&self) -> &T {
        self.guard.as_deref().expect("a lock that is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[allow(clippy::expect_used, reason = "tests")]
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("a lock that is held")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // A read-modify-write goes on the chain of those before it. The lock itself is let go of afterwards, with the field.
        self.unlocks.fetch_add(1, Ordering::Release);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Condvar(std::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (guard, unlocks) = released(guard);
        let seen = |guard| acquired(guard, unlocks);
        self.0.wait(guard).map(seen).map_err(|poison| PoisonError::new(acquired(poison.into_inner(), unlocks)))
    }

    pub(crate) fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, limit: Duration) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (guard, unlocks) = released(guard);
        match self.0.wait_timeout(guard, limit) {
            Ok((guard, result)) => Ok((acquired(guard, unlocks), result)),
            Err(poison) => {
                let (guard, result) = poison.into_inner();
                Err(PoisonError::new((acquired(guard, unlocks), result)))
            }
        }
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[allow(clippy::expect_used, reason = "tests")]
fn released<'a, T>(mut guard: MutexGuard<'a, T>) -> (std::sync::MutexGuard<'a, T>, &'a AtomicU64) {
    // Dropping what is left says the release; the lock itself is let go of by the wait.
    (guard.guard.take().expect("a lock that is held"), guard.unlocks)
}

fn acquired<'a, T>(guard: std::sync::MutexGuard<'a, T>, unlocks: &'a AtomicU64) -> MutexGuard<'a, T> {
    unlocks.load(Ordering::Acquire);
    MutexGuard { guard: Some(guard), unlocks }
}
