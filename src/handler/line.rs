//! Line: the messages that are pending, when something is due of each, and in which order they go.

use std::collections::{BTreeMap, VecDeque};

use crate::base::jitter::{Jitter, PROBE_PART};
use crate::base::time::{Nanos, nanos};
use crate::config::settings::Settings;
use crate::ledger::deadline::Deadlines;
use crate::ledger::slot::{Slot, Stage};
use crate::ledger::table::Table;

/// The I/O thread's messages.
#[derive(Debug)]
pub(crate) struct Line {
    table: Table,
    deadlines: Deadlines,
    /// Accepted, in the order of their ids.
    fresh: VecDeque<(u64, u32)>,
    /// To be sent again, before anything fresh (P10).
    again: BTreeMap<u64, u32>,
    /// Slots that the wire has, or that wait for their reply.
    live: usize,
    pauses: Pauses,
}

/// How long is waited before something is tried again.
#[derive(Debug)]
struct Pauses {
    jitter: Jitter,
    first: Nanos,
    most: Nanos,
}

impl Line {
    pub(super) fn new(settings: &Settings, random: u64) -> Self {
        Line {
            table: Table::default(),
            deadlines: Deadlines::new(),
            fresh: VecDeque::new(),
            again: BTreeMap::new(),
            live: 0,
            pauses: Pauses { jitter: Jitter::new(random), first: nanos(settings.retry_backoff), most: nanos(settings.retry_backoff_max) },
        }
    }

    // ---- Messages ----

    #[inline(always)]
    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.table.get(slot)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.table.get_mut(slot)
    }

    /// The slot, if it still holds this message.
    #[inline(always)]
    pub(super) fn slot(&mut self, slot: u32, id: u64) -> Option<&mut Slot> {
        self.table.get_mut(slot).filter(|s| s.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.table.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.table.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Those that this is true of, oldest first.
    pub(super) fn chosen(&self, is_chosen: impl Fn(&Slot) -> bool) -> Vec<u32> {
        let mut chosen: Vec<(u64, u32)> = self.table.iter().filter(|s| is_chosen(s)).map(|s| (s.id, s.index)).collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|(_, slot)| slot).collect()
    }

    /// A message that was accepted stands behind all others.
    #[inline(always)]
    pub(super) fn accept(&mut self, slot: Box<Slot>) {
        self.deadlines.set(slot.index, slot.deadline);
        self.fresh.push_back((slot.id, slot.index));
        self.table.insert(slot);
    }

    /// One that came when nothing is sent any more, only to be settled.
    pub(super) fn keep(&mut self, slot: Box<Slot>) {
        self.table.insert(slot);
    }

    /// A message that is settled leaves. Only the settle room calls this.
    #[inline(always)]
    pub(super) fn take(&mut self, slot: u32) -> Option<Box<Slot>> {
        let slot = self.table.take(slot)?;
        self.deadlines.clear(slot.index);
        Some(slot)
    }

    // ---- Order ----

    /// The next that may be sent: first what goes again, by id, then what is fresh.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<(u64, u32)> {
        self.again.pop_first().or_else(|| self.fresh.pop_front())
    }

    /// It goes before all that is fresh, in its place among those that go again.
    pub(super) fn put_back(&mut self, slot: u32, id: u64) {
        self.again.insert(id, slot);
    }

    /// The message is in line for (another) sending.
    pub(super) fn requeue(&mut self, slot: u32) {
        self.set_stage(slot, Stage::Queued);
        if let Some(s) = self.table.get(slot) {
            let (id, deadline) = (s.id, s.deadline);
            self.deadlines.set(slot, deadline);
            self.again.insert(id, slot);
        }
    }

    /// It is not to be sent. `fresh` is left alone: its entries are checked by id when their turn comes.
    pub(super) fn leave(&mut self, id: u64) {
        self.again.remove(&id);
    }

    // ---- Stages ----

    /// Keeps count of the slots that the wire has.
    #[inline(always)]
    pub(super) fn set_stage(&mut self, slot: u32, stage: Stage) {
        let Some(s) = self.table.get_mut(slot) else { return };
        let before = std::mem::replace(&mut s.stage, stage);
        match (before.is_under_way(), stage.is_under_way()) {
            (false, true) => self.live += 1,
            (true, false) => self.live -= 1,
            _ => {}
        }
    }

    /// Something is under way.
    #[inline(always)]
    pub(super) fn is_live(&self) -> bool {
        self.live > 0
    }

    // ---- Times ----

    /// Something must be done about the message at this time.
    #[inline(always)]
    pub(super) fn set_due(&mut self, slot: u32, at: Nanos) {
        self.deadlines.set(slot, at);
    }

    /// Nothing but its deadline is due of the message.
    pub(super) fn wait_for_deadline(&mut self, slot: u32) {
        if let Some(s) = self.table.get(slot) {
            let deadline = s.deadline;
            self.deadlines.set(slot, deadline);
        }
    }

    pub(super) fn next_due(&self) -> Nanos {
        self.deadlines.next()
    }

    /// Who is due.
    pub(super) fn sweep(&mut self, now: Nanos, into: &mut Vec<u32>) {
        self.deadlines.sweep(now, into);
    }

    /// A pause before attempt number `failures + 1`, with jitter.
    pub(super) fn backoff(&mut self, failures: u32) -> Nanos {
        let Pauses { jitter, first, most } = &mut self.pauses;
        jitter.pause(first.saturating_mul(1 << failures.min(20)).min(*most))
    }

    /// The pause before a probe, after so long a time in trouble. A probe is one message: it may come often, and who waited for the end of an election wants to know of it at once.
    /// So the pause is a part of the time waited so far, and short at first: a server that has just started says for some milliseconds that nobody takes the subject. Rejected:
    /// doubling, which is 2 s late after an election of 4.
    pub(super) fn probe_pause(&mut self, waited: Nanos) -> Nanos {
        let Pauses { jitter, first, most } = &mut self.pauses;
        jitter.pause((waited / PROBE_PART).max(*first / 4).min(*most))
    }

    /// A number below `limit`, by the handler's own chance.
    pub(super) fn chance(&mut self, limit: u64) -> u64 {
        self.pauses.jitter.below(limit)
    }
}

#[cfg(test)]
impl Line {
    /// What does not fit together in these books, if anything; and whether a queued message is where its turn comes.
    pub(super) fn audit(&self, waits_elsewhere: impl Fn(&Slot) -> bool) -> Result<(), String> {
        let live = self.table.iter().filter(|s| s.stage.is_under_way()).count();
        if live != self.live {
            return Err(format!("live is {}, {live} slots are under way", self.live));
        }
        let fresh: std::collections::HashSet<(u64, u32)> = self.fresh.iter().copied().collect();
        for s in self.table.iter() {
            let found = self.again.get(&s.id) == Some(&s.index) || fresh.contains(&(s.id, s.index)) || waits_elsewhere(s);
            if s.stage == Stage::Queued && !found {
                return Err(format!("message {} is {:?} and nowhere (gate {})", s.id, s.stage, s.gate));
            }
            let due = self.deadlines.of(s.index);
            if due > s.deadline {
                return Err(format!("message {} is {:?} and due at {due}, behind its deadline {}", s.id, s.stage, s.deadline));
            }
        }
        Ok(())
    }
}
