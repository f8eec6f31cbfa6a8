//! The ledger: one slot per message, from `publish` to the end of its report.
//!
//! A [`Slot`] is a box that one thread at a time owns: the publisher fills it, the send queue carries it to the I/O thread, whose [`Table`] keeps it until it is
//! settled, the report queue carries it to the user, and the window takes it back. Ownership moves with the box, so no slot needs a lock, and no message an allocation.

// Where they are is said, since `tests/loom` compiles this file from elsewhere.
#[path = "ledger/content.rs"]
mod content;
#[path = "ledger/slot.rs"]
mod slot;

pub(crate) use self::content::Content;
pub(crate) use self::slot::{Slot, Stage, StreamId};
use crate::stats::Counter;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Notify, Ordering, PoisonError};

/// How many slots are made at once.
pub(crate) const CHUNK: usize = 256;
/// What a freed slot may keep of its content's memory (P9).
pub(crate) const KEPT_CONTENT: usize = 64 << 10;
/// What all freed slots together may keep (P9).
pub(crate) const KEPT_TOTAL: usize = 8 << 20;
/// Ids travel modulo 2^48 in reply tokens.
pub(crate) const ID_MASK: u64 = (1 << 48) - 1;
/// Attempts travel in 12 bits of a reply token: 1 to this, and then again from 1.
pub(crate) const ATTEMPTS: u32 = 4095;

/// How a token names the attempt. An answer that is 4,095 attempts late would be taken for one of now: with pauses of at least some milliseconds between attempts it comes from another time.
#[inline(always)]
pub(crate) fn attempt_in_token(attempt: u32) -> u16 {
    // Nearly always; the remainder costs a message as much as its gate does.
    if attempt <= ATTEMPTS { attempt as u16 } else { ((attempt - 1) % ATTEMPTS + 1) as u16 }
}
/// A slot that belongs to no gate.
pub(crate) const NO_GATE: u32 = u32::MAX;

/// Makes a list by slot number long enough for this one, and an eighth longer. Doubled, as vectors grow, it would be empty by half.
pub(crate) fn reach<T>(list: &mut Vec<T>, slot: usize, empty: impl FnMut() -> T) {
    if slot >= list.len() {
        let places = (slot + slot / 8 + 1).next_multiple_of(CHUNK);
        list.reserve_exact(places - list.len());
        list.resize_with(places, empty);
    }
}

/// The I/O thread's side: who is pending, by slot number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Box<Slot>>>,
    len: usize,
}

impl Table {
    pub(crate) fn insert(&mut self, slot: Box<Slot>) {
        let index = slot.index as usize;
        reach(&mut self.slots, index, || None);
        if let Some(place) = self.slots.get_mut(index) {
            debug_assert!(place.is_none(), "slot {index} is taken");
            *place = Some(slot);
            self.len += 1;
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// Only the settle room calls this.
    pub(crate) fn take(&mut self, index: u32) -> Option<Box<Slot>> {
        let slot = self.slots.get_mut(index as usize)?.take()?;
        self.len -= 1;
        Some(slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }
}

/// From the publishing threads to the I/O thread: ids and places are given under one lock, so ids are in wire order.
#[derive(Debug)]
pub(crate) struct SendQueue {
    line: Mutex<Line>,
    last_id: AtomicU64,
    step: u64,
    wake: Notify,
    pub(crate) wakeups: Counter,
}

#[derive(Debug)]
struct Line {
    next_id: u64,
    slots: Vec<Box<Slot>>,
    closed: bool,
    /// The I/O thread sleeps, or is about to: whoever pushes next wakes it.
    idle: bool,
}

impl SendQueue {
    /// A queue that gives the ids `first`, `first + step`, …: queues of one publisher share a step and begin at 1, 2, … up to it, so no id comes twice.
    pub(crate) fn new(first: u64, step: u64) -> Self {
        SendQueue {
            line: Mutex::new(Line { next_id: first, slots: Vec::with_capacity(CHUNK), closed: false, idle: false }),
            last_id: AtomicU64::new(0),
            step,
            wake: Notify::new(),
            wakeups: Counter::default(),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the message its id and its place. `stamp` writes the id into the message. After the I/O thread's end the slot comes back.
    pub(crate) fn push(&self, mut slot: Box<Slot>, stamp: impl FnOnce(&mut Slot)) -> Result<u64, Box<Slot>> {
        let mut line = self.line();
        if line.closed {
            return Err(slot);
        }
        let id = self.number(&mut line, &mut slot);
        stamp(&mut slot);
        line.slots.push(slot);
        self.end_push(line);
        Ok(id)
    }

    /// The same for several, in their order; `told` hears the ids. False, after the I/O thread's end: the slots stay.
    pub(crate) fn push_many(&self, slots: &mut Vec<Box<Slot>>, stamp: impl Fn(&mut Slot), mut told: impl FnMut(u64)) -> bool {
        let mut line = self.line();
        if line.closed {
            return false;
        }
        let first = line.next_id;
        for slot in slots.iter_mut() {
            self.number(&mut line, slot);
            stamp(slot);
        }
        let count = slots.len() as u64;
        line.slots.append(slots);
        self.end_push(line);
        (0..count).for_each(|n| told(first + n * self.step));
        true
    }

    fn number(&self, line: &mut Line, slot: &mut Slot) -> u64 {
        slot.id = line.next_id;
        line.next_id += self.step;
        slot.id
    }

    /// Says what is new, and wakes the I/O thread if that sleeps.
    fn end_push(&self, mut line: MutexGuard<'_, Line>) {
        self.last_id.store(line.next_id - self.step, Ordering::Relaxed);
        let wake = std::mem::take(&mut line.idle);
        drop(line);
        if wake {
            self.wake.notify_one();
            self.wakeups.bump_shared(1);
        }
    }

    /// Swaps the line with an empty vector.
    pub(crate) fn take(&self, into: &mut Vec<Box<Slot>>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.line().slots, into);
    }

    /// No message enters after this; what is in line comes out.
    pub(crate) fn shut(&self) -> Vec<Box<Slot>> {
        let mut line = self.line();
        line.closed = true;
        std::mem::take(&mut line.slots)
    }

    /// No message enters after this, provided that none is in line.
    pub(crate) fn shut_if_empty(&self) -> bool {
        let mut line = self.line();
        line.closed |= line.slots.is_empty();
        line.closed
    }

    /// The id of the newest message.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// How many messages got an id.
    pub(crate) fn accepted(&self) -> u64 {
        self.last_id().div_ceil(self.step)
    }

    /// The I/O thread is about to sleep. False: something is in line, do not.
    pub(crate) fn fall_idle(&self) -> bool {
        let mut line = self.line();
        line.idle = line.slots.is_empty();
        line.idle
    }

    pub(crate) fn rise(&self) {
        self.line().idle = false;
    }

    /// Wakes the I/O thread whatever it does.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.wake
    }
}
