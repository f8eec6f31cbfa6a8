//! Resend: what follows silence, a lost connection, or a frame that the server does not bear.
//!
//! Nothing possibly stored is sent again without a Msg-Id, later than the duplicate window allows (P4), or before a fence proved that the server has read the frame.

use crate::error::Status;
use crate::events::EventKind;
use crate::handler::Core;
use crate::ledger::{Slot, Stage};
use crate::settle::Ending;
use crate::wire::{Loss, Violation, nanos};

/// A frame that ends connections, and what is done about it: never a loop.
#[derive(Debug, Default)]
pub(crate) enum Quarantine {
    #[default]
    None,
    /// A connection ended by violation; the next limits may tell which frame it was.
    Suspected { violation: Violation, epoch: u32 },
    /// The largest frame waits until everything older than `upto` is settled and nothing else is under way.
    Waiting { slot: u32, id: u64, upto: u64, violation: Violation },
    /// It is out, alone.
    Alone { slot: u32, id: u64, violation: Violation },
}

impl Core {
    /// Whether a message without an answer may ever be sent again.
    fn can_repeat(&self, slot: &Slot) -> bool {
        slot.has_msg_id() || self.shared.settings.resend_without_msg_id
    }

    /// P4. If not, the message is settled.
    pub(crate) fn may_send_again(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        let Some(first) = s.tainted else { return true };
        let (rule, can_repeat) = (s.rule, self.can_repeat(s));
        if !can_repeat {
            self.settle_unanswered(slot, Status::AckTimeout, 0, "no acknowledgement came, and without a Msg-Id it is not sent again");
            return false;
        }
        if self.shared.settings.resend_without_msg_id && !self.table.get(slot).is_some_and(Slot::has_msg_id) {
            return true;
        }
        let window = self.window_of(rule);
        let bound = window.saturating_sub(nanos(self.shared.settings.ack_wait));
        if self.age.saturating_sub(first) > bound {
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

    /// `ack_wait` is over.
    pub(crate) fn fall_silent(&mut self, slot: u32) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if s.tainted.is_none() {
            s.tainted = Some(s.sent_age);
        }
        let (attempts, mark, deadline, epoch, probe, gate) = (s.attempts, s.mark, s.deadline, s.epoch, s.probe, s.gate);
        self.shared.counters.ack_timeouts.bump(1);
        self.tell_silence(slot);
        if probe {
            self.probe_unanswered(slot, gate);
        }
        let Some(s) = self.table.get(slot) else { return };
        if s.suspect {
            let text = self.denied_text(s);
            return self.settle_unanswered(slot, Status::Denied, 0, &text);
        }
        let last = self.shared.settings.max_attempts;
        if last != 0 && attempts >= last {
            return self.settle_unanswered(slot, Status::AckTimeout, 0, &format!("no acknowledgement came to {attempts} attempts (max_attempts)"));
        }
        if !self.can_repeat(s) {
            return self.settle_unanswered(slot, Status::AckTimeout, 0, "no acknowledgement came within ack_wait, and without a Msg-Id it is not sent again");
        }
        if Some(epoch) == self.epoch && mark < self.fenced {
            return self.send_again(slot);
        }
        if Some(epoch) == self.epoch {
            self.want_fence = true;
        }
        if let Some(s) = self.table.get_mut(slot) {
            s.stage = Stage::Fencing;
            self.fencing.push((slot, s.id));
        }
        self.deadlines.set(slot, deadline);
    }

    /// The first silence of an epoch is worth a word: peers' users see it as a timeout and guess.
    fn tell_silence(&mut self, slot: u32) {
        if std::mem::replace(&mut self.told_silence, true) {
            return;
        }
        let Some(topic) = self.table.get(slot).map(|s| s.topic().to_owned()) else { return };
        let text = format!("no acknowledgement of a message to {topic:?} came within ack_wait_ms; a slow or leaderless stream, or somebody else who takes the topic and does not answer");
        self.event(EventKind::AckSilence, Status::AckTimeout, 0, &topic, text);
    }

    fn send_again(&mut self, slot: u32) {
        self.uncount(slot);
        self.requeue(slot);
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
            let closed = Some(s.epoch) == epoch && s.mark < fenced;
            if closed {
                self.send_again(slot);
            }
            !closed
        });
        self.fencing = waiting;
    }

    /// An epoch ended: what it had taken whole is unknown, the rest was not stored. All of it goes again, oldest first.
    pub(crate) fn lose_epoch(&mut self, epoch: u32, loss: &Loss) {
        self.suspect_poison(epoch, loss);
        let ack_wait = nanos(self.shared.settings.ack_wait);
        let mut lost: Vec<(u64, u32)> = self
            .table
            .iter()
            .filter(|s| s.epoch == epoch && matches!(s.stage, Stage::Staged | Stage::InFlight | Stage::Fencing))
            .map(|s| (s.id, s.index))
            .collect();
        lost.sort_unstable();
        for (id, slot) in lost {
            self.leave_probe(slot, id);
            let Some(s) = self.table.get_mut(slot) else { continue };
            if s.stage != Stage::Staged {
                if s.tainted.is_none() {
                    s.tainted = Some(s.sent_age);
                }
                let can_repeat = s.has_msg_id() || self.shared.settings.resend_without_msg_id;
                if !can_repeat {
                    // The inbox is the same on the next connection: the ack may still come.
                    let due = self.now.saturating_add(ack_wait).min(s.deadline);
                    self.deadlines.set(slot, due);
                    continue;
                }
            }
            self.send_again(slot);
        }
    }

    // ---- Poison: frames that end connections (finding 25) ----

    fn suspect_poison(&mut self, epoch: u32, loss: &Loss) {
        let quarantine = std::mem::take(&mut self.quarantine);
        let Some(violation) = loss.violation else {
            self.quarantine = match quarantine {
                // The connection went for another reason: its turn comes again.
                Quarantine::Alone { slot, id, violation } => Quarantine::Waiting { slot, id, upto: id, violation },
                other => other,
            };
            return;
        };
        if let Quarantine::Alone { slot, id, .. } = quarantine
            && let Some(s) = self.slot(slot, id)
        {
            let (topic, body) = (s.topic().to_owned(), s.body);
            let text = format!("the server ended the connection because of this message ({body} bytes): {}", loss.error.message());
            self.event(EventKind::Quarantined, Status::TooLarge, u64::from(body), &topic, text.clone());
            // The violation is the server's word that this attempt was not stored.
            if let Some(s) = self.slot(slot, id) {
                s.stage = Stage::Queued;
                self.live -= 1;
            }
            self.settle(slot, Ending::definite(Status::TooLarge, 0, text));
            return;
        }
        self.quarantine = Quarantine::Suspected { violation, epoch };
    }

    /// A new epoch's limits are known: frames beyond them settle; after a violation that none explains, the largest is set apart.
    pub(crate) fn apply_limits(&mut self) {
        let limit = self.limits.max_payload;
        let mut over: Vec<(u64, u32)> = self.table.iter().filter(|s| u64::from(s.body) > limit).map(|s| (s.id, s.index)).collect();
        over.sort_unstable();
        let explained = !over.is_empty();
        for (_, slot) in over {
            let Some(s) = self.table.get(slot) else { continue };
            let text = format!("headers and payload have {} bytes; {} takes {limit}", s.body, self.server);
            self.settle_unanswered(slot, Status::TooLarge, 0, &text);
        }
        let Quarantine::Suspected { violation, epoch } = self.quarantine else { return };
        self.quarantine = Quarantine::None;
        if explained {
            return;
        }
        let size = |s: &Slot| match violation {
            Violation::Payload => s.body,
            Violation::ControlLine => s.topic.len,
        };
        let largest = self.table.iter().filter(|s| s.epoch == epoch && s.attempts > 0 && !s.ephemeral).max_by_key(|s| (size(s), std::cmp::Reverse(s.id)));
        if let Some(s) = largest {
            let (slot, id, upto) = (s.index, s.id, self.shared.queue.last_id());
            self.again.remove(&id);
            self.quarantine = Quarantine::Waiting { slot, id, upto, violation };
        }
    }

    /// Whether this message is set apart and must wait for its own turn.
    pub(crate) fn is_quarantined(&self, slot: u32, id: u64) -> bool {
        matches!(self.quarantine, Quarantine::Waiting { slot: s, id: i, .. } if (s, i) == (slot, id))
    }

    /// Whether nothing may be sent now: the suspect is out alone, or is next.
    pub(crate) fn quarantine_holds(&mut self) -> bool {
        match self.quarantine {
            Quarantine::None | Quarantine::Suspected { .. } => false,
            Quarantine::Alone { slot, id, .. } => {
                let out = self.slot(slot, id).is_some_and(|s| matches!(s.stage, Stage::Staged | Stage::InFlight));
                if !out {
                    self.quarantine = Quarantine::None;
                }
                out
            }
            Quarantine::Waiting { slot, id, upto, .. } => {
                if self.slot(slot, id).is_none() {
                    self.quarantine = Quarantine::None;
                    return false;
                }
                // Its turn comes when the others of its time are settled; then the wire is emptied for it.
                let others = self.table.iter().any(|s| s.id <= upto && s.id != id);
                !others && self.live > 0
            }
        }
    }

    /// Nothing else wants to be sent: is it the suspect's turn?
    pub(crate) fn quarantined_turn(&mut self) -> Option<(u64, u32)> {
        let Quarantine::Waiting { slot, id, upto, violation } = self.quarantine else { return None };
        if self.live > 0 || self.table.iter().any(|s| s.id <= upto && s.id != id) {
            return None;
        }
        self.quarantine = Quarantine::Alone { slot, id, violation };
        Some((id, slot))
    }
}
