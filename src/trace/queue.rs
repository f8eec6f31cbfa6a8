//! From the log queue to the sink.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::base::error::{Error, Result, Status};
use crate::base::level::Level;
use crate::base::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::base::sys;

/// Takes records: their level, their target (`ackbus::…`) and their text. See [`set`](crate::log::set).
pub type LogSink = Box<dyn Fn(Level, &str, &str) + Send + 'static>;

/// Records that may wait. A sink that falls behind loses the newest ones.
pub(super) const CAPACITY: usize = 1024;
/// Sinks that may wait to take over, while the one before does not return.
pub(super) const CHANGES: usize = 64;

thread_local! {
    static ON_LOG_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// One process' queue and the thread that empties it. The thread lives while there is a sink or something to deliver.
pub(super) struct Log {
    /// [`sys::forks`] at birth: in a forked child the lock may be held for ever, so it is not touched there.
    pub(super) born: u32,
    pub(super) level: &'static AtomicI32,
    pub(super) state: Mutex<State>,
    pub(super) filled: Condvar,
    pub(super) delivered: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Item>,
    pub(super) records: usize,
    pub(super) changes: usize,
    /// Records lost since the last one that found room.
    pub(super) lost: u64,
    /// Items queued and delivered so far, for [`Log::flush`].
    pub(super) queued: u64,
    pub(super) done: u64,
    pub(super) running: bool,
}

/// Changes of the sink travel in the queue, so that each record reaches the sink it was written for.
pub(super) enum Item {
    Record(Level, &'static str, String),
    Change(Option<LogSink>),
}

impl Log {
    pub(super) fn new(level: &'static AtomicI32) -> Self {
        Log { born: sys::forks(), level, state: Mutex::default(), filled: Condvar::new(), delivered: Condvar::new() }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.born == sys::forks()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(self: &Arc<Self>, max: Level, sink: Option<LogSink>) -> Result<()> {
        let mut state = self.lock();
        if state.changes >= CHANGES {
            // The lock goes first: dropping the sink that was refused runs code of the host.
            drop(state);
            return Err(Error::new(Status::QueueFull, format!("{CHANGES} changes of the log sink wait already: the sink before does not return")));
        }
        if !state.running && sink.is_some() {
            let log = Arc::clone(self);
            let born = sys::spawn("ackbus-log", sys::block_all_signals_but_synchronous, move || log.run());
            if let Err(error) = born {
                drop(state);
                return Err(Error::new(Status::Internal, format!("the thread ackbus-log could not be started: {error}")));
            }
            state.running = true;
        }
        self.level.store(max as i32, SeqCst);
        if state.running {
            state.changes += 1;
            state.queued += 1;
            state.queue.push_back(Item::Change(sink));
            self.filled.notify_one();
        }
        Ok(())
    }

    pub(super) fn push(&self, level: Level, target: &'static str, mut text: String) {
        if ON_LOG_THREAD.get() || !self.is_ours() {
            return;
        }
        let mut state = self.lock();
        // Once more under the lock: since the caller looked, another sink, with another level, may have been queued.
        // And a child's new log inherits the level of its parent, though nobody listens yet.
        if level as i32 > self.level.load(Relaxed) || !state.running {
            return;
        }
        if state.records >= CAPACITY {
            state.lost += 1;
            return;
        }
        if state.lost > 0 {
            let _ = write!(text, " ({} records before this one were dropped: the log sink is too slow)", state.lost);
            state.lost = 0;
        }
        state.records += 1;
        state.queued += 1;
        state.queue.push_back(Item::Record(level, target, text));
        self.filled.notify_one();
    }

    pub(super) fn flush(&self, limit: Duration) -> bool {
        if ON_LOG_THREAD.get() || !self.is_ours() {
            return false;
        }
        let end = Instant::now().checked_add(limit);
        let mut state = self.lock();
        let goal = state.queued;
        while state.done < goal {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.delivered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn run(&self) {
        ON_LOG_THREAD.set(true);
        // A sink is a callback too: it never waits for a publisher (P5).
        crate::base::calls::enter_callback_thread();
        let mut sink: Option<LogSink> = None;
        while let Some(item) = self.next(sink.is_some()) {
            // The host's code: its panics stay here, and no lock is held (P5).
            let caught = catch_unwind(AssertUnwindSafe(|| match item {
                Item::Record(level, target, text) => {
                    if let Some(sink) = &sink {
                        sink(level, target, &text);
                    }
                }
                Item::Change(new) => drop(std::mem::replace(&mut sink, new)),
            }));
            // Not dropped: a payload's own drop may panic again.
            let _ = caught.map_err(std::mem::forget);
            self.lock().done += 1;
            self.delivered.notify_all();
        }
    }

    /// The next item; `None` ends the thread, when there is nothing to deliver and nobody to deliver to.
    pub(super) fn next(&self, has_sink: bool) -> Option<Item> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.queue.pop_front() {
                match item {
                    Item::Record(..) => state.records -= 1,
                    Item::Change(_) => state.changes -= 1,
                }
                return Some(item);
            }
            if !has_sink {
                state.running = false;
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
