//! The send queue: from the publishing threads to the I/O thread.

use crate::base::counter::Counter;
use crate::base::sync::{AtomicU64, Mutex, MutexGuard, Notify, Ordering, PoisonError};
use crate::ledger::slot::{CHUNK, Slot};

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
