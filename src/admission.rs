//! Admission: who may enter the window of pending messages, and who waits.
//!
//! A message holds its place from `publish` until its report was handed over (P3). Counting, waiting and the free slots live under one lock, so the limits hold
//! whatever the number of threads.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Status};
use crate::ledger::{CHUNK, Content, KEPT_TOTAL, Slot};
use crate::sync::{AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError, thread_local};
use crate::wait;

/// The most reports that one callback gets, and so the slots that the table has beyond the window (P3).
pub(crate) const BATCH: usize = CHUNK;

/// How often a publisher that waits in poll mode looks whether anybody could ever make room (P5).
const POLL_FIRST: Duration = Duration::from_millis(100);

/// A newcomer's place in line: behind all who wait.
const NEWCOMER: u64 = u64::MAX;

/// Says, of so many places in use, since when waiting has made no sense.
type Stuck<'a> = &'a dyn Fn(usize) -> Option<Instant>;

/// How long a call may wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The caller waits in its own way: no text, and nobody counts it.
    Try,
    Fail,
    Until(Instant),
    NoLimit,
}

/// What asks to come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) bytes: usize,
    pub(crate) rule: u32,
    pub(crate) topic: &'a str,
}

thread_local! {
    /// Which publisher's callback runs on this thread, and what it may still admit (P3).
    static CALLBACK: Cell<Option<Credit>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    window: u64,
    messages: usize,
    bytes: usize,
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

/// The window of one publisher.
#[derive(Debug)]
pub(crate) struct Window {
    serial: u64,
    max_messages: usize,
    max_bytes: usize,
    /// Of `max_messages`, for what waits behind one held gate.
    share: usize,
    state: Mutex<State>,
    room: Condvar,
    /// Messages admitted, mirrored for readers that must not wait for the lock.
    used: AtomicU64,
    used_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    used_bytes: usize,
    used_max: usize,
    free: Vec<Free>,
    /// Slots made so far.
    made: u32,
    /// What the free slots keep of their contents' memory.
    kept: usize,
    /// Per rule: places taken, and where its gate is closed.
    rules: Vec<RuleUse>,
    /// Topics without a rule's gate whose share is used up.
    full_topics: HashSet<Box<str>>,
    closed: Option<Error>,
    waiting: usize,
    /// The number of the next waiter.
    next_waiter: u64,
    /// Waiters that found a place but not enough bytes: whoever came later lets them go first, so that large messages do not starve.
    short_of_bytes: BTreeSet<u64>,
    /// Somebody was refused and wants to hear of room (poll mode).
    wants_room: bool,
}

/// A free slot, and what it keeps of its content's memory: the slot itself was last seen by another core, and is not looked at under the lock.
#[derive(Debug)]
struct Free {
    slot: Box<Slot>,
    kept: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct RuleUse {
    used: usize,
    /// The lanes whose gates for it are closed, by their bits.
    closed: u64,
}

impl State {
    /// What is known of a rule, which may be new.
    fn rule(&mut self, rule: u32) -> Option<&mut RuleUse> {
        let rule = rule as usize;
        if rule >= self.rules.len() {
            self.rules.resize(rule + 1, RuleUse::default());
        }
        self.rules.get_mut(rule)
    }
}

/// Why there is no room.
enum Full {
    Messages,
    Bytes,
    Share,
}

impl Window {
    pub(crate) fn new(serial: u64, max_messages: usize, max_bytes: usize, share_percent: u32) -> Self {
        let share = (max_messages * share_percent as usize / 100).max(1);
        Window { serial, max_messages, max_bytes, share, state: Mutex::default(), room: Condvar::new(), used: AtomicU64::new(0), used_bytes: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// Places and bytes in use: pending messages and reports not yet handed over.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.used_bytes.load(Ordering::Relaxed))
    }

    /// The most places ever in use, sampled where they are given.
    pub(crate) fn high_water(&self) -> u64 {
        self.state().used_max as u64
    }

    /// Takes a place and a slot. `stuck` is asked in poll mode since when every place has held a report that nobody polls.
    pub(crate) fn enter(&self, request: Request<'_>, patience: Patience, stuck: Option<Stuck<'_>>) -> Result<Box<Slot>> {
        if request.bytes > self.max_bytes {
            return Err(Error::new(
                Status::TooLarge,
                format!("the message takes {} bytes in the window, max_pending_bytes allows {}", request.bytes, self.max_bytes),
            ));
        }
        let credit = CALLBACK.with(Cell::get);
        let mut state = self.state();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if let Some(credit) = credit.filter(|c| c.window == self.serial && c.messages > 0) {
            // The callback's own places: they are in `used` already.
            let own = credit.bytes.min(request.bytes);
            if state.used_bytes + (request.bytes - own) <= self.max_bytes {
                state.used_bytes += request.bytes - own;
                CALLBACK.with(|c| c.set(Some(Credit { messages: credit.messages - 1, bytes: credit.bytes - own, ..credit })));
                return Ok(self.give(state, request));
            }
        }
        let patience = if credit.is_some() && patience != Patience::Try { Patience::Fail } else { patience };
        let full = match self.room_for(&state, request, NEWCOMER) {
            Ok(()) => {
                state.used += 1;
                state.used_bytes += request.bytes;
                return Ok(self.give(state, request));
            }
            Err(full) => full,
        };
        if matches!(patience, Patience::Try | Patience::Fail) {
            state.wants_room = true;
            return Err(if patience == Patience::Try { Error::new(Status::QueueFull, String::new()) } else { self.refuse(&full, credit.is_some()) });
        }
        self.wait(state, request, patience, full, stuck)
    }

    /// Takes places and slots for as many as there is room for now, in their order. None inside a callback, whose places are counted one by one, nor when the
    /// window is shut: [`enter`](Self::enter) says why.
    pub(crate) fn enter_many<'a>(&self, requests: impl Iterator<Item = Request<'a>> + Clone, slots: &mut Vec<Box<Slot>>) {
        debug_assert!(slots.is_empty());
        if in_callback() {
            return;
        }
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        for request in requests.clone() {
            if self.room_for(&state, request, NEWCOMER).is_err() {
                break;
            }
            state.used += 1;
            state.used_bytes += request.bytes;
            slots.push(self.hand_out(&mut state, request));
        }
        self.mirror(&state);
        drop(state);
        for (slot, request) in slots.iter_mut().zip(requests) {
            label(slot, request);
        }
    }

    #[cold]
    fn wait(&self, mut state: MutexGuard<'_, State>, request: Request<'_>, patience: Patience, full: Full, stuck: Option<Stuck<'_>>) -> Result<Box<Slot>> {
        let waiter = state.next_waiter;
        state.next_waiter += 1;
        let (mut state, admitted) = self.wait_in_turn(state, request, patience, full, stuck, waiter);
        if state.short_of_bytes.remove(&waiter) {
            // Those behind it may have room now, or after it gave up.
            self.room.notify_all();
        }
        admitted.map(|()| {
            state.used += 1;
            state.used_bytes += request.bytes;
            self.give(state, request)
        })
    }

    /// Waits until there is room, or no sense in waiting.
    fn wait_in_turn<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        request: Request<'_>,
        patience: Patience,
        mut full: Full,
        stuck: Option<Stuck<'_>>,
        waiter: u64,
    ) -> (MutexGuard<'s, State>, Result<()>) {
        let mut look_again = Instant::now() + POLL_FIRST;
        loop {
            let now = Instant::now();
            let until = match patience {
                Patience::Until(t) if t <= now => {
                    state.wants_room = true;
                    return (state, Err(self.refuse(&full, false)));
                }
                Patience::Until(t) => Some(if stuck.is_some() { t.min(look_again) } else { t }),
                _ => stuck.is_some().then_some(look_again),
            };
            let passed_on = match full {
                Full::Bytes => state.short_of_bytes.insert(waiter),
                Full::Share => state.short_of_bytes.remove(&waiter),
                Full::Messages => false,
            };
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
                        state.wants_room = true;
                        let text =
                            format!("all {} places hold reports that wait to be polled, or that this thread has not given back: poll first", self.max_messages);
                        return (state, Err(Error::new(Status::QueueFull, text)));
                    }
                    since => since.unwrap_or_else(Instant::now) + POLL_FIRST,
                };
            }
        }
    }

    fn room_for(&self, state: &State, request: Request<'_>, waiter: u64) -> Result<(), Full> {
        if state.used >= self.max_messages {
            return Err(Full::Messages);
        }
        if let Some(rule) = state.rules.get(request.rule as usize)
            && rule.closed != 0
            && rule.used >= self.share
        {
            return Err(Full::Share);
        }
        if !state.full_topics.is_empty() && state.full_topics.contains(request.topic) {
            return Err(Full::Share);
        }
        // Last, so that whoever waits for a gate holds up nobody.
        if state.used_bytes + request.bytes > self.max_bytes || state.short_of_bytes.first().is_some_and(|&first| first < waiter) {
            return Err(Full::Bytes);
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self, full: &Full, from_callback: bool) -> Error {
        let what = match full {
            Full::Messages => format!("max_pending={} messages are pending", self.max_messages),
            Full::Bytes => format!("max_pending_bytes={} are nearly used up", self.max_bytes),
            Full::Share => format!("{} messages wait for this topic's stream, which is all that gate_share allows", self.share),
        };
        let hint = if from_callback { "; a callback never waits" } else { "" };
        Error::new(Status::QueueFull, format!("{what}{hint}"))
    }

    fn give(&self, mut state: MutexGuard<'_, State>, request: Request<'_>) -> Box<Slot> {
        let mut slot = self.hand_out(&mut state, request);
        self.mirror(&state);
        drop(state);
        label(&mut slot, request);
        slot
    }

    fn hand_out(&self, state: &mut State, request: Request<'_>) -> Box<Slot> {
        state.used_max = state.used_max.max(state.used);
        if let Some(rule) = state.rule(request.rule) {
            rule.used += 1;
        }
        match state.free.pop() {
            Some(Free { slot, kept }) => {
                state.kept -= kept;
                slot
            }
            None => self.grow(state),
        }
    }

    #[cold]
    fn grow(&self, state: &mut State) -> Box<Slot> {
        let most = self.max_messages + BATCH;
        let count = CHUNK.min(most.saturating_sub(state.made as usize)).max(1);
        let first = state.made;
        state.made += count as u32;
        state.free.extend((first + 1..first + count as u32).rev().map(|index| Free { slot: Box::new(Slot::new(index)), kept: 0 }));
        Box::new(Slot::new(first))
    }

    fn mirror(&self, state: &State) {
        self.used.store(state.used as u64, Ordering::Relaxed);
        self.used_bytes.store(state.used_bytes as u64, Ordering::Relaxed);
    }

    fn vacate(state: &mut State, slot: &Slot) {
        if let Some(rule) = state.rules.get_mut(slot.rule as usize) {
            rule.used = rule.used.saturating_sub(1);
        }
    }

    /// Before the lock is taken: what a slot needs to be used again takes longer than counting it.
    fn recycle(slots: &mut [Box<Slot>]) {
        for slot in slots {
            slot.recycle();
        }
    }

    fn shelve(state: &mut State, mut slot: Box<Slot>) {
        let mut kept = slot.content.held();
        if state.kept + kept > KEPT_TOTAL {
            slot.content = Content::default();
            kept = 0;
        }
        state.kept += kept;
        state.free.push(Free { slot, kept });
    }

    /// Gives back places and slots together. Returns true when a poller asked to hear of room and there is some.
    pub(crate) fn leave(&self, slots: &mut Vec<Box<Slot>>) -> bool {
        if slots.is_empty() {
            return false;
        }
        Self::recycle(slots);
        let mut state = self.state();
        let count = slots.len();
        for slot in slots.drain(..) {
            state.used -= 1;
            state.used_bytes -= slot.bytes as usize;
            Self::vacate(&mut state, &slot);
            Self::shelve(&mut state, slot);
        }
        self.wake_waiters(&mut state, count)
    }

    fn wake_waiters(&self, state: &mut State, count: usize) -> bool {
        self.mirror(state);
        if state.waiting > 0 {
            if count >= state.waiting || !state.short_of_bytes.is_empty() || state.rules.iter().any(|r| r.closed != 0) || !state.full_topics.is_empty() {
                self.room.notify_all();
            } else {
                for _ in 0..count {
                    self.room.notify_one();
                }
            }
        }
        let room = state.wants_room && (state.used == 0 || self.max_messages - state.used.min(self.max_messages) >= self.max_messages.div_ceil(4));
        if room {
            state.wants_room = false;
        }
        room
    }

    /// A callback begins: the places of its reports become its own (P3).
    pub(crate) fn lend(&self, slots: &[Box<Slot>]) {
        let mut bytes = 0;
        let mut state = self.state();
        for slot in slots {
            bytes += slot.bytes as usize;
            Self::vacate(&mut state, slot);
        }
        drop(state);
        CALLBACK.with(|c| c.set(Some(Credit { window: self.serial, messages: slots.len(), bytes })));
    }

    /// The callback returned: places that it did not use are free, and so is the slots' memory.
    pub(crate) fn settle_loan(&self, slots: &mut Vec<Box<Slot>>) -> bool {
        let left = CALLBACK.with(|c| c.replace(Some(Credit { window: 0, messages: 0, bytes: 0 })));
        let (messages, bytes) = left.map_or((0, 0), |credit| (credit.messages, credit.bytes));
        Self::recycle(slots);
        let mut state = self.state();
        state.used -= messages;
        state.used_bytes -= bytes;
        for slot in slots.drain(..) {
            Self::shelve(&mut state, slot);
        }
        self.wake_waiters(&mut state, messages)
    }

    /// Slots whose places were lent come back.
    pub(crate) fn take_back(&self, slots: &mut Vec<Box<Slot>>) {
        Self::recycle(slots);
        let mut state = self.state();
        for slot in slots.drain(..) {
            Self::shelve(&mut state, slot);
        }
    }

    /// A place that was taken but not used: the message did not enter the queue.
    pub(crate) fn cancel(&self, slot: Box<Slot>) {
        self.leave(&mut vec![slot]);
    }

    /// The rule's gate is closed in the lane with this bit: until it is open in all of them, the rule's messages may use its share only.
    pub(crate) fn close_rule(&self, rule: u32, lane: u64, closed: bool) {
        let mut state = self.state();
        if let Some(rule) = state.rule(rule) {
            rule.closed = if closed { rule.closed | lane } else { rule.closed & !lane };
        }
        if !closed {
            self.room.notify_all();
        }
    }

    /// The same for a topic that no rule's gate covers.
    pub(crate) fn close_topic(&self, topic: &str, full: bool) {
        let mut state = self.state();
        if full {
            state.full_topics.insert(topic.into());
        } else if state.full_topics.remove(topic) {
            self.room.notify_all();
        }
    }

    /// Nobody enters any more; who waits gets the error.
    pub(crate) fn shut(&self, error: Error) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.closed = Some(error);
        }
        self.room.notify_all();
    }

    /// Whether and why the window is shut.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.state().closed.clone()
    }

    /// Replaces the reason, as when a closing publisher turns out to have failed.
    pub(crate) fn shut_anew(&self, error: Error) {
        self.state().closed = Some(error);
        self.room.notify_all();
    }
}

/// What the slot gives back when its message is gone.
fn label(slot: &mut Slot, request: Request<'_>) {
    slot.bytes = request.bytes as u32;
    slot.rule = request.rule;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
