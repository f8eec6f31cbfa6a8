//! How a publish waits for room.
//!
//! Whoever makes room wakes as many as there are places, or everybody where a place is not for everyone. So a waiter that was woken and cannot use the place, or
//! that gives up, passes the wake-up on: nobody sleeps beside a place that is free for him.

use std::time::{Duration, Instant};

use crate::base::error::{Error, Result, Status};
use crate::base::sync::MutexGuard;
use crate::base::wait;
use crate::ledger::slot::Slot;
use crate::window::admission::Window;
use crate::window::places::{Full, Patience, Places, Request, Short, Stuck};

/// How often a publisher that waits in poll mode looks whether anybody could ever make room (P5).
const POLL_FIRST: Duration = Duration::from_millis(100);

impl Window {
    #[cold]
    pub(super) fn wait(
        &self,
        mut state: MutexGuard<'_, Places>,
        request: Request<'_>,
        patience: Patience,
        full: Full,
        stuck: Option<Stuck<'_>>,
    ) -> Result<Box<Slot>> {
        let waiter = state.next_waiter;
        state.next_waiter += 1;
        let (mut state, admitted) = self.wait_in_turn(state, request, patience, full, stuck, waiter);
        let was_short = state.short_of_bytes.remove(&waiter).is_some();
        match admitted {
            Ok(()) => {
                state.used += 1;
                state.used_bytes += request.bytes;
                let slot = self.give(state, request);
                if was_short {
                    // Those behind it may have room now.
                    self.let_others_pass(self.state());
                }
                Ok(slot)
            }
            Err(error) => {
                // The place that woke it may be for another, and so may the bytes that others left to it.
                if was_short || state.used < self.max_messages {
                    self.let_others_pass(state);
                }
                Err(error)
            }
        }
    }

    /// Waits until there is room, or no sense in waiting.
    fn wait_in_turn<'s>(
        &'s self,
        mut state: MutexGuard<'s, Places>,
        request: Request<'_>,
        patience: Patience,
        mut full: Full,
        stuck: Option<Stuck<'_>>,
        waiter: u64,
    ) -> (MutexGuard<'s, Places>, Result<()>) {
        let mut look_again = Instant::now() + POLL_FIRST;
        // What the last wake-up may have been for.
        let mut waited_for = full;
        loop {
            let now = Instant::now();
            let until = match patience {
                Patience::Until(t) if t <= now => {
                    state.note_refused(full, request);
                    return (state, Err(self.refuse(full, request, patience, false)));
                }
                Patience::Until(t) => Some(if stuck.is_some() { t.min(look_again) } else { t }),
                _ => stuck.is_some().then_some(look_again),
            };
            let passed_on = match full {
                Full::Bytes => state.short_of_bytes.insert(waiter, Short { rule: request.rule, topic: request.topic.into() }).is_none(),
                Full::Share(_) => state.short_of_bytes.remove(&waiter).is_some() || !matches!(waited_for, Full::Share(_)),
                Full::Messages => false,
            };
            waited_for = full;
            if passed_on {
                // The place that woke this one is for another.
                self.room.notify_all();
            }
            state.waiting += 1;
            let (woken, over) = match wait::once(&self.state, &self.room, state, until) {
                Ok(state) => (state, None),
                Err((state, over)) => (state, Some(over)),
            };
            state = woken;
            state.waiting -= 1;
            if over == Some(wait::Over::Interrupted) {
                return (state, Err(wait::interrupted()));
            }
            if let Some(error) = state.closed.clone() {
                return (state, Err(error));
            }
            match self.room_for(&state, request, waiter) {
                Ok(()) => return (state, Ok(())),
                Err(why) => full = why,
            }
            if let Some(stuck) = stuck
                && Instant::now() >= look_again
            {
                look_again = match stuck(state.used) {
                    Some(since) if since.elapsed() >= POLL_FIRST => {
                        state.note_refused(full, request);
                        let text =
                            format!("all {} places hold reports that wait to be polled, or that this thread has not given back: poll first", self.max_messages);
                        return (state, Err(Error::new(Status::QueueFull, text)));
                    }
                    since => since.unwrap_or_else(Instant::now) + POLL_FIRST,
                };
            }
        }
    }
}
