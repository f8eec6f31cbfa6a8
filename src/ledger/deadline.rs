//! Deadlines: when something must be done about a slot, without a timer per message.
//!
//! One number per slot and the earliest of them all. When that passes, one sweep over the numbers finds who is due. Acknowledged messages never cost a sweep:
//! with acks in milliseconds and `ack_wait` in seconds there is one sweep per `ack_wait`. Rejected: a timer per message, and a sorted list that keeps dead entries until their time.

use crate::base::time::Nanos;
use crate::ledger::table::reach;

const NEVER: Nanos = Nanos::MAX;

/// The least pause between two sweeps, per 10,000 slots: lost acks come one by one, sweeps should not.
const PAUSE: Nanos = 5_000_000;

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    due: Vec<Nanos>,
    earliest: Nanos,
    not_before: Nanos,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Deadlines { due: Vec::new(), earliest: NEVER, not_before: 0 }
    }

    /// The slot is due at this time.
    pub(crate) fn set(&mut self, slot: u32, at: Nanos) {
        let slot = slot as usize;
        reach(&mut self.due, slot, || NEVER);
        if let Some(due) = self.due.get_mut(slot) {
            *due = at;
        }
        self.earliest = self.earliest.min(at);
    }

    /// Nothing is due for the slot.
    pub(crate) fn clear(&mut self, slot: u32) {
        if let Some(due) = self.due.get_mut(slot as usize) {
            *due = NEVER;
        }
    }

    /// When something must be done about the slot.
    #[cfg(test)]
    pub(crate) fn of(&self, slot: u32) -> Nanos {
        self.due.get(slot as usize).copied().unwrap_or(NEVER)
    }

    /// When to sweep next.
    pub(crate) fn next(&self) -> Nanos {
        if self.earliest == NEVER { NEVER } else { self.earliest.max(self.not_before) }
    }

    /// Who is due. Their numbers are cleared.
    pub(crate) fn sweep(&mut self, now: Nanos, into: &mut Vec<u32>) {
        if now < self.next() {
            return;
        }
        let mut earliest = NEVER;
        for (slot, due) in self.due.iter_mut().enumerate() {
            if *due <= now {
                *due = NEVER;
                into.push(slot as u32);
            } else {
                earliest = earliest.min(*due);
            }
        }
        self.earliest = earliest;
        self.not_before = now + PAUSE * (1 + self.due.len() as u64 / 10_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_who_is_due_and_when_to_come_back() {
        let mut deadlines = Deadlines::new();
        assert_eq!(deadlines.next(), NEVER);
        deadlines.set(3, 50);
        deadlines.set(700, 20);
        deadlines.set(9, PAUSE * 9);
        deadlines.clear(3);
        let mut due = Vec::new();
        deadlines.sweep(19, &mut due);
        assert!(due.is_empty());
        deadlines.sweep(60, &mut due);
        assert_eq!(due, [700]);
        assert_eq!(deadlines.next(), PAUSE * 9);
    }
}
