//! Resend: what follows silence, a lost connection, or a frame that the server does not bear.
//!
//! Nothing possibly stored is sent again without a Msg-Id, later than the duplicate window allows (P4), or before a fence proved that the server has read the frame.

use std::collections::HashSet;

use crate::base::error::Status;
use crate::base::time::{Nanos, nanos};
use crate::desk::events::EventKind;
use crate::handler::Handler;
use crate::handler::settle::Ending;
use crate::ledger::slot::{Slot, Stage};
use crate::wire::{Loss, Violation};

/// Clocks that drift apart by less than this did not sleep.
const A_NAP: u64 = 100_000_000;

/// Frames that may end connections, and what is done about them: never a loop.
///
/// A suspect goes when its turn comes, with nothing else under way, and nothing follows before its answer. Rejected: to let the others pass it, which would break their order (P10).
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// A connection ended by violation: its largest frame. The next limits may tell that it is too large for them.
    suspicion: Option<(u32, u64)>,
    /// The ids of those that no limit explains.
    suspects: HashSet<u64>,
    /// The one that is out.
    alone: Option<(u32, u64)>,
}

/// A resend that the wire still has when its message settles: nobody can take it back, and P4 holds for it all the same.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) id: u64,
    pub(crate) epoch: u32,
    /// The age at which it is too late to send it.
    until: u64,
}

impl Handler {
    /// Whether a message without an answer may ever be sent again.
    fn can_repeat(&self, slot: &Slot) -> bool {
        self.lane.framing.knows_copies(slot) || self.shared.settings.resend_without_msg_id
    }

    fn has_no_attempt_left(&self, slot: &Slot) -> bool {
        let last = self.shared.settings.max_attempts;
        last != 0 && slot.attempts >= last
    }

    /// P4. If not, the message is settled.
    pub(crate) fn may_send_again(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        let Some(first) = s.tainted() else { return true };
        let (rule, can_repeat) = (s.rule, self.can_repeat(s));
        if !can_repeat {
            self.settle_unanswered(slot, Status::AckTimeout, 0, "no acknowledgement came, and without a Msg-Id it is not sent again");
            return false;
        }
        if self.resend_until(slot).is_some_and(|until| self.age > until) {
            let window = self.window_of(rule);
            let text = format!(
                "no acknowledgement came, and sending it again after {} ms could store a second copy (duplicate window {} ms)",
                (self.age - first) / 1_000_000,
                window / 1_000_000
            );
            self.settle_unanswered(slot, Status::AckTimeout, 0, &text);
            return false;
        }
        true
    }

    /// The age at which it is too late to send it again (P4). `None`: never, because nothing of it may be stored, or because the user wants it without a Msg-Id.
    fn resend_until(&mut self, slot: u32) -> Option<u64> {
        let s = self.table.get(slot).filter(|s| self.lane.framing.knows_copies(s))?;
        let (first, rule) = (s.tainted()?, s.rule);
        let bound = self.window_of(rule).saturating_sub(nanos(self.shared.settings.ack_wait));
        Some(first.saturating_add(bound))
    }

    /// A resend that is staged must also leave in time.
    pub(crate) fn watch_staged(&mut self, slot: u32) {
        if let Some(until) = self.resend_until(slot)
            && let Some(s) = self.table.get(slot)
        {
            let left = until.saturating_sub(self.age).saturating_add(1);
            self.deadlines.set(slot, self.now.saturating_add(left).min(s.deadline));
        }
    }

    /// A staged frame cannot be taken back. When it is too late to send it, the connection goes before the frame does.
    pub(crate) fn fall_stale(&mut self, slot: u32) {
        let Some(s) = self.table.get(slot) else { return };
        let (epoch, deadline) = (s.epoch, s.deadline);
        self.deadlines.set(slot, deadline);
        if self.resend_until(slot).is_some_and(|until| self.age > until) {
            self.stale = Some(epoch);
        } else {
            self.watch_staged(slot);
        }
    }

    /// The message settles, and its frame stays behind in the wire.
    pub(crate) fn leave_frame(&mut self, slot: u32) {
        let Some(until) = self.resend_until(slot) else { return };
        if let Some(s) = self.table.get(slot) {
            self.leftovers.push(Leftover { id: s.id, epoch: s.epoch, until });
        }
    }

    /// The connection of a frame that outlived its message goes before the frame does, if that is too late. Gives the time of the next one.
    pub(crate) fn judge_leftovers(&mut self) -> Nanos {
        if self.leftovers.is_empty() {
            return Nanos::MAX;
        }
        let age = self.age;
        if self.stale.is_none()
            && let Some(late) = self.leftovers.iter().find(|frame| age > frame.until)
        {
            let epoch = late.epoch;
            self.leftovers.retain(|frame| frame.epoch != epoch);
            self.stale = Some(epoch);
        }
        let until = self.leftovers.iter().map(|frame| frame.until).min();
        until.map_or(Nanos::MAX, |until| self.now.saturating_add(until.saturating_sub(age)).saturating_add(1))
    }

    /// After a sleep of the machine more is too late than the deadlines know.
    pub(crate) fn judge_after_sleep(&mut self) {
        let asleep = self.age.saturating_sub(self.now);
        if asleep < self.asleep + A_NAP {
            return;
        }
        self.asleep = asleep;
        let staged: Vec<u32> = self.table.iter().filter(|s| s.stage == Stage::Staged && s.tainted().is_some()).map(|s| s.index).collect();
        for slot in staged {
            self.fall_stale(slot);
        }
    }

    /// `ack_wait` is over.
    pub(crate) fn fall_silent(&mut self, slot: u32) {
        self.lane.counters.ack_timeouts.bump(1);
        if self.settle_suspect(slot) {
            return;
        }
        let Some(s) = self.table.get_mut(slot) else { return };
        s.taint();
        let (mark, deadline, epoch) = (s.mark, s.deadline, s.epoch);
        self.tell_silence(slot);
        let Some(s) = self.table.get(slot) else { return };
        let last_word = self.last_word(s);
        self.explain(slot);
        if let Some(last_word) = last_word {
            if !self.waits_for_why(slot) {
                self.settle_unanswered(slot, Status::AckTimeout, 0, &last_word);
            }
            return;
        }
        if Some(epoch) == self.epoch && mark < self.fenced {
            return self.go_again(slot);
        }
        if Some(epoch) == self.epoch {
            self.want_fence = true;
            self.pause_for_fence(slot);
            // The answer comes about when the fence closes: the message goes again no later for it.
            self.ask_window_before(slot);
        }
        self.set_stage(slot, Stage::Fencing);
        if let Some(s) = self.table.get(slot) {
            self.fencing.push((slot, s.id));
        }
        self.deadlines.set(slot, deadline);
    }

    /// What the report of a message says that was silent, and is not sent again.
    pub(crate) fn last_word(&self, s: &Slot) -> Option<String> {
        if self.has_no_attempt_left(s) {
            Some(format!("no acknowledgement came to {} attempts (max_attempts)", s.attempts))
        } else if !self.can_repeat(s) {
            Some("no acknowledgement came within ack_wait, and without a Msg-Id it is not sent again".to_owned())
        } else {
            None
        }
    }

    /// The first silence of an epoch is worth a word: peers' users see it as a timeout and guess.
    fn tell_silence(&mut self, slot: u32) {
        if std::mem::replace(&mut self.told_silence, true) {
            return;
        }
        let Some(topic) = self.table.get(slot).map(|s| s.topic().to_owned()) else { return };
        let text = format!(
            "no acknowledgement of a message to {topic:?} came within ack_wait_ms; a slow or leaderless stream, or somebody else who takes the topic and does not answer"
        );
        self.event(EventKind::AckSilence, Status::AckTimeout, 0, &topic, text);
    }

    /// A fence closed: who waited for it is sent again.
    pub(crate) fn resend_fenced(&mut self) {
        let fenced = self.fenced;
        let epoch = self.epoch;
        let mut waiting = std::mem::take(&mut self.fencing);
        waiting.retain(|&(slot, id)| {
            let Some(s) = self.slot(slot, id) else { return false };
            if s.stage != Stage::Fencing {
                return false;
            }
            let (of_epoch, mark) = (s.epoch, s.mark);
            let closed = Some(of_epoch) == epoch && mark < fenced && !self.permissions.doubt(of_epoch, mark);
            if closed {
                self.requeue(slot);
            }
            !closed
        });
        self.fencing = waiting;
        self.end_silent_pauses(epoch.map(|epoch| (epoch, fenced)));
    }

    /// An epoch ended: what it had taken whole is unknown, the rest was not stored. All of it goes again, oldest first.
    pub(crate) fn lose_epoch(&mut self, epoch: u32, loss: &Loss) {
        self.suspect_poison(epoch, loss);
        self.end_silent_pauses(None);
        let ack_wait = nanos(self.shared.settings.ack_wait);
        let mut lost: Vec<(u64, u32)> = self.table.iter().filter(|s| s.epoch == epoch && s.stage.is_under_way()).map(|s| (s.id, s.index)).collect();
        lost.sort_unstable();
        for (_, slot) in lost {
            self.leave_probe(slot);
            let Some(s) = self.table.get_mut(slot) else { continue };
            if s.stage != Stage::Staged {
                s.taint();
                let (due, slot_again) = (self.now.saturating_add(ack_wait).min(s.deadline), self.table.get(slot));
                if slot_again.is_some_and(|s| !self.can_repeat(s) || self.has_no_attempt_left(s)) {
                    // The inbox is the same on the next connection: the ack may still come.
                    self.set_stage(slot, Stage::InFlight);
                    self.deadlines.set(slot, due);
                    continue;
                }
            }
            self.requeue(slot);
        }
    }

    // ---- Poison: frames that end connections (finding 25) ----

    fn suspect_poison(&mut self, epoch: u32, loss: &Loss) {
        let of_epoch = |s: &&Slot| s.epoch == epoch && s.stage.is_under_way();
        let alone = self.quarantine.alone.take_if(|(slot, id)| self.table.get(*slot).filter(of_epoch).is_some_and(|s| s.id == *id));
        match (alone, loss.violation) {
            (None, None) => {}
            // The connection went for another reason: its turn comes again.
            (Some((_, id)), None) => {
                self.quarantine.suspects.insert(id);
            }
            (Some((slot, _)), Some(_)) => self.convict(slot, loss),
            (None, Some(violation)) => {
                let size = |s: &Slot| match violation {
                    Violation::Payload => s.content.body(),
                    Violation::Topic => s.topic().len() as u32,
                };
                let largest = self.table.iter().filter(of_epoch).filter(|s| !s.ephemeral).max_by_key(|s| (size(s), std::cmp::Reverse(s.id)));
                self.quarantine.suspicion = largest.map(|s| (s.index, s.id));
            }
        }
    }

    /// It was out alone, and the server ended the connection again.
    fn convict(&mut self, slot: u32, loss: &Loss) {
        let Some(s) = self.table.get(slot) else { return };
        let (topic, body) = (s.topic().to_owned(), s.content.body());
        let text = format!("the server ended the connection because of this message ({body} bytes): {}", loss.error.message());
        self.event(EventKind::Quarantined, Status::TooLarge, u64::from(body), &topic, text.clone());
        // The violation is the server's word that this attempt was not stored: nothing went behind it.
        self.set_stage(slot, Stage::Queued);
        self.settle(slot, Ending::definite(Status::TooLarge, 0, text));
    }

    /// A new epoch's limits are known: frames beyond them settle; after a violation that none explains, the largest is set apart.
    pub(crate) fn apply_limits(&mut self) {
        let limit = self.limits.max_payload;
        let mut over: Vec<(u64, u32)> = self.table.iter().filter(|s| u64::from(s.content.body()) > limit).map(|s| (s.id, s.index)).collect();
        over.sort_unstable();
        let explained = !over.is_empty();
        for (_, slot) in over {
            let Some(s) = self.table.get(slot) else { continue };
            let text = format!("headers and payload have {} bytes; {} takes {limit}", s.content.body(), self.server);
            self.settle_unanswered(slot, Status::TooLarge, 0, &text);
        }
        if let Some((slot, id)) = self.quarantine.suspicion.take()
            && !explained
            && self.slot(slot, id).is_some()
        {
            self.quarantine.suspects.insert(id);
        }
    }

    /// The message is settled: nothing is held against it any more.
    #[inline(always)]
    pub(crate) fn acquit(&mut self, id: u64) {
        if !self.quarantine.suspects.is_empty() {
            self.quarantine.suspects.remove(&id);
        }
    }

    /// Whether a suspect is out, which must stay alone.
    pub(crate) fn quarantine_holds(&mut self) -> bool {
        let Some((slot, id)) = self.quarantine.alone else { return false };
        // Behind `ack_wait` the connection lives: it was not the frame.
        let out = self.slot(slot, id).is_some_and(|s| matches!(s.stage, Stage::Staged | Stage::InFlight));
        if !out {
            self.quarantine.alone = None;
        }
        out
    }

    /// Whether this message must go alone, and cannot yet.
    pub(crate) fn must_wait_alone(&self, id: u64) -> bool {
        self.live > 0 && self.quarantine.suspects.contains(&id)
    }

    /// The message goes out: a suspect alone.
    pub(crate) fn note_alone(&mut self, slot: u32, id: u64) {
        if !self.quarantine.suspects.is_empty() && self.quarantine.suspects.remove(&id) {
            self.quarantine.alone = Some((slot, id));
        }
    }
}
