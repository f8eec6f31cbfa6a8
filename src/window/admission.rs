//! Admission: who may enter the window of pending messages, and who waits.
//!
//! A message holds its place from `publish` until its report was handed over (P3). Counting, waiting and the free slots live under one lock, so the limits hold
//! whatever the number of threads.

use std::sync::{OnceLock, Weak};

use crate::base::calls::{Credit, credit, in_callback, set_credit};
use crate::base::error::{Error, Result, Status};
use crate::base::sync::{AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use crate::ledger::content::Content;
use crate::ledger::slot::{CHUNK, KEPT_TOTAL, Slot};
use crate::window::places::{BATCH, Free, Full, NEWCOMER, Patience, Places, Request, RuleUse, Share, Stuck};
use crate::window::refused::{Bell, Refused};

/// The window of one publisher.
#[derive(Debug)]
pub(crate) struct Window {
    serial: u64,
    pub(super) max_messages: usize,
    max_bytes: usize,
    /// Of `max_messages`, for what waits behind one held gate.
    share: usize,
    pub(super) state: Mutex<Places>,
    pub(super) room: Condvar,
    /// Messages admitted, mirrored for readers that must not wait for the lock.
    used: AtomicU64,
    used_bytes: AtomicU64,
    /// Hears when a publish that was refused would be let in (poll mode).
    bell: OnceLock<Weak<dyn Bell>>,
}

impl Window {
    pub(crate) fn new(serial: u64, max_messages: usize, max_bytes: usize, share_percent: u32) -> Self {
        let share = (max_messages * share_percent as usize / 100).max(1);
        Window {
            serial,
            max_messages,
            max_bytes,
            share,
            state: Mutex::default(),
            room: Condvar::new(),
            used: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            bell: OnceLock::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Places> {
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
        let credit = credit();
        let mut state = self.state();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if let Some(credit) = credit.filter(|c| c.window == self.serial && c.messages > 0) {
            // The callback's own places: they are in `used` already.
            let own = credit.bytes.min(request.bytes);
            if state.used_bytes + (request.bytes - own) <= self.max_bytes {
                state.used_bytes += request.bytes - own;
                set_credit(Some(Credit { messages: credit.messages - 1, bytes: credit.bytes - own, ..credit }));
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
            state.note_refused(full, request);
            drop(state);
            return Err(self.refuse(full, request, patience, credit.is_some()));
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
        let mut any_gave_way = false;
        for request in requests.clone() {
            if self.room_for(&state, request, NEWCOMER).is_err() {
                break;
            }
            state.used += 1;
            state.used_bytes += request.bytes;
            let (slot, gave_way) = self.hand_out(&mut state, request);
            any_gave_way |= gave_way;
            slots.push(slot);
        }
        self.mirror(&state);
        if any_gave_way {
            self.let_others_pass(state);
        } else {
            drop(state);
        }
        for (slot, request) in slots.iter_mut().zip(requests) {
            label(slot, request);
        }
    }

    #[inline]
    pub(super) fn room_for(&self, state: &Places, request: Request<'_>, waiter: u64) -> Result<(), Full> {
        if let Some(share) = self.held(state, request.rule, request.topic) {
            return Err(Full::Share(share));
        }
        if state.used >= self.max_messages {
            return Err(Full::Messages);
        }
        if state.used_bytes + request.bytes > self.max_bytes || self.goes_after_another(state, waiter) {
            return Err(Full::Bytes);
        }
        Ok(())
    }

    /// The share that this message would have to wait for: that of a closed gate.
    #[inline(always)]
    fn held(&self, state: &Places, rule: u32, topic: &str) -> Option<Share> {
        if let Some(rule) = state.rules.get(rule as usize)
            && self.share_is_used(rule)
        {
            return Some(Share::Rule);
        }
        (!state.full_topics.is_empty() && state.full_topics.contains_key(topic)).then_some(Share::Topic)
    }

    fn share_is_used(&self, rule: &RuleUse) -> bool {
        rule.closed != 0 && rule.used >= self.share
    }

    /// Whether an earlier waiter gets the bytes first. One that its gate would not let in holds up nobody.
    #[inline(always)]
    fn goes_after_another(&self, state: &Places, waiter: u64) -> bool {
        !state.short_of_bytes.is_empty() && self.goes_after_one_of(state, waiter)
    }

    #[cold]
    fn goes_after_one_of(&self, state: &Places, waiter: u64) -> bool {
        state.short_of_bytes.range(..waiter).any(|(_, short)| self.held(state, short.rule, &short.topic).is_none())
    }

    #[cold]
    pub(super) fn refuse(&self, full: Full, request: Request<'_>, patience: Patience, from_callback: bool) -> Error {
        let held_by = match full {
            Full::Messages | Full::Bytes => 0,
            Full::Share(share) => share.number(request),
        };
        if patience == Patience::Try {
            return Error::new(Status::QueueFull, String::new()).with_held_by(held_by);
        }
        let what = match full {
            Full::Messages => format!("max_pending={} messages are pending", self.max_messages),
            Full::Bytes => format!("max_pending_bytes={} are nearly used up", self.max_bytes),
            Full::Share(_) => format!("{} messages wait for this topic's stream, which is all that gate_share allows", self.share),
        };
        let hint = if from_callback { "; a callback never waits" } else { "" };
        Error::new(Status::QueueFull, format!("{what}{hint}")).with_held_by(held_by)
    }

    pub(super) fn give(&self, mut state: MutexGuard<'_, Places>, request: Request<'_>) -> Box<Slot> {
        let (mut slot, gave_way) = self.hand_out(&mut state, request);
        self.mirror(&state);
        if gave_way {
            self.let_others_pass(state);
        } else {
            drop(state);
        }
        label(&mut slot, request);
        slot
    }

    /// Also says whether others may pass waiters now that went before them: the rule's share is used up by this, and those of its waiters that are short of bytes
    /// wait for the gate.
    fn hand_out(&self, state: &mut Places, request: Request<'_>) -> (Box<Slot>, bool) {
        state.used_max = state.used_max.max(state.used);
        let mut used_up = false;
        if let Some(rule) = state.rule(request.rule) {
            rule.used += 1;
            used_up = rule.closed != 0 && rule.used == self.share;
        }
        let gave_way = used_up && !state.short_of_bytes.is_empty();
        let slot = match state.free.pop() {
            Some(Free { slot, kept }) => {
                state.kept -= kept;
                slot
            }
            None => self.grow(state),
        };
        (slot, gave_way)
    }

    #[cold]
    fn grow(&self, state: &mut Places) -> Box<Slot> {
        let most = self.max_messages + BATCH;
        let count = CHUNK.min(most.saturating_sub(state.made as usize)).max(1);
        let first = state.made;
        state.made += count as u32;
        state.free.extend((first + 1..first + count as u32).rev().map(|index| Free { slot: Box::new(Slot::new(index)), kept: 0 }));
        Box::new(Slot::new(first))
    }

    fn mirror(&self, state: &Places) {
        self.used.store(state.used as u64, Ordering::Relaxed);
        self.used_bytes.store(state.used_bytes as u64, Ordering::Relaxed);
    }

    fn vacate(&self, state: &mut Places, slot: &Slot) {
        if let Some(rule) = state.rules.get_mut(slot.rule as usize) {
            rule.used = rule.used.saturating_sub(1);
            if rule.refused.any() && !self.share_is_used(rule) {
                state.refused.add(rule.refused.take());
            }
        }
    }

    /// Before the lock is taken: what a slot needs to be used again takes longer than counting it.
    fn recycle(slots: &mut [Box<Slot>]) {
        for slot in slots {
            slot.recycle();
        }
    }

    fn shelve(state: &mut Places, mut slot: Box<Slot>) {
        let mut kept = slot.content.held();
        if state.kept + kept > KEPT_TOTAL {
            slot.content = Content::default();
            kept = 0;
        }
        state.kept += kept;
        state.free.push(Free { slot, kept });
    }

    /// Gives back places and slots together.
    pub(crate) fn leave(&self, slots: &mut Vec<Box<Slot>>) {
        if slots.is_empty() {
            return;
        }
        Self::recycle(slots);
        let mut state = self.state();
        let count = slots.len();
        for slot in slots.drain(..) {
            state.used -= 1;
            state.used_bytes -= slot.bytes as usize;
            self.vacate(&mut state, &slot);
            Self::shelve(&mut state, slot);
        }
        self.wake_waiters(state, count);
    }

    /// So many places are free, or bytes, or places of a share.
    fn wake_waiters(&self, state: MutexGuard<'_, Places>, count: usize) {
        self.mirror(&state);
        if state.waiting > 0 {
            if count >= state.waiting || !state.short_of_bytes.is_empty() || state.rules.iter().any(|r| r.closed != 0) || !state.full_topics.is_empty() {
                self.room.notify_all();
            } else {
                for _ in 0..count {
                    self.room.notify_one();
                }
            }
        }
        self.tell_refused(state);
    }

    /// A callback begins: the places of its reports become its own (P3).
    pub(crate) fn lend(&self, slots: &[Box<Slot>]) {
        let mut bytes = 0;
        let mut state = self.state();
        for slot in slots {
            bytes += slot.bytes as usize;
            self.vacate(&mut state, slot);
        }
        // The places stay in use, but those of a closed gate's share are free.
        self.wake_waiters(state, 0);
        set_credit(Some(Credit { window: self.serial, messages: slots.len(), bytes }));
    }

    /// The callback returned: places that it did not use are free, and so is the slots' memory.
    pub(crate) fn settle_loan(&self, slots: &mut Vec<Box<Slot>>) {
        let left = set_credit(Some(Credit { window: 0, messages: 0, bytes: 0 }));
        let (messages, bytes) = left.map_or((0, 0), |credit| (credit.messages, credit.bytes));
        Self::recycle(slots);
        let mut state = self.state();
        state.used -= messages;
        state.used_bytes -= bytes;
        for slot in slots.drain(..) {
            Self::shelve(&mut state, slot);
        }
        self.wake_waiters(state, messages);
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
        let mut freed = Refused::default();
        if let Some(rule) = state.rule(rule) {
            rule.closed = if closed { rule.closed | lane } else { rule.closed & !lane };
            if !self.share_is_used(rule) {
                freed = rule.refused.take();
            }
        }
        state.refused.add(freed);
        self.gate_changed(state, closed);
    }

    /// The same for a topic that no rule's gate covers.
    pub(crate) fn close_topic(&self, topic: &str, full: bool) {
        let mut state = self.state();
        if full {
            state.full_topics.entry(topic.into()).or_default();
        } else {
            let Some(freed) = state.full_topics.remove(topic) else { return };
            state.refused.add(freed);
        }
        self.gate_changed(state, full);
    }

    /// An open gate lets its waiters in. A closed one may hold waiters that others gave way to.
    fn gate_changed(&self, state: MutexGuard<'_, Places>, closed: bool) {
        if closed && state.short_of_bytes.is_empty() {
            return;
        }
        self.let_others_pass(state);
    }

    /// Everybody looks again.
    pub(super) fn let_others_pass(&self, state: MutexGuard<'_, Places>) {
        self.room.notify_all();
        self.tell_refused(state);
    }

    /// Nobody enters any more; who waits gets the error.
    pub(crate) fn shut(&self, error: Error) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.closed = Some(error);
        }
        self.room.notify_all();
        self.tell_all_refused(state);
    }

    /// Whether and why the window is shut.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.state().closed.clone()
    }

    /// Replaces the reason, as when a closing publisher turns out to have failed.
    pub(crate) fn shut_anew(&self, error: Error) {
        let mut state = self.state();
        state.closed = Some(error);
        self.room.notify_all();
        self.tell_all_refused(state);
    }

    /// Whom to tell of room.
    pub(crate) fn tell_room_to(&self, bell: std::sync::Weak<dyn Bell>) {
        // Once: a window has one desk.
        let _ = self.bell.set(bell);
    }

    /// Ends a change that may have made room: rings if one that was refused would be let in.
    pub(super) fn tell_refused(&self, mut state: MutexGuard<'_, Places>) {
        let Some(bytes) = state.refused.bytes() else { return };
        if state.used < self.max_messages && state.used_bytes + bytes <= self.max_bytes && !self.goes_after_another(&state, NEWCOMER) {
            state.refused.take();
            drop(state);
            self.ring();
        }
    }

    /// What was refused would not be refused for the same reason any more, for all of them.
    pub(super) fn tell_all_refused(&self, mut state: MutexGuard<'_, Places>) {
        let mut any = state.refused.take().any();
        for rule in &mut state.rules {
            any |= rule.refused.take().any();
        }
        for refused in state.full_topics.values_mut() {
            any |= refused.take().any();
        }
        drop(state);
        if any {
            self.ring();
        }
    }

    /// Topics may have other rules now, and so other shares.
    pub(crate) fn rules_changed(&self) {
        self.tell_all_refused(self.state());
    }

    #[cold]
    fn ring(&self) {
        if let Some(bell) = self.bell.get().and_then(std::sync::Weak::upgrade) {
            bell.ring();
        }
    }
}

/// What the slot gives back when its message is gone.
fn label(slot: &mut Slot, request: Request<'_>) {
    slot.bytes = request.bytes as u32;
    slot.rule = request.rule;
}
