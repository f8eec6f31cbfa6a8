//! Overdue: what the clock says: deadlines, silence, and fences that were waited for.

use super::Handler;
use super::resend::last_word;
use crate::base::error::Status;
use crate::base::time::Nanos;
use crate::desk::events::EventKind;
use crate::ledger::slot::Stage;
use crate::wire::{Loss, StreamAnswer};

impl Handler {
    /// What is due. `wire_watches`: silence is seen by the wire.
    pub(super) fn judge_deadlines(&mut self, wire_watches: bool) {
        let mut due = std::mem::take(&mut self.due);
        self.line.sweep(self.here.now(), &mut due);
        for slot in due.drain(..) {
            self.fall_due(slot, wire_watches);
            self.carry_out();
        }
        self.due = due;
    }

    fn fall_due(&mut self, slot: u32, wire_watches: bool) {
        let Some(s) = self.line.get(slot) else { return };
        if self.here.now() >= s.deadline {
            return self.expire(slot);
        }
        match s.stage {
            Stage::InFlight if !wire_watches => self.fall_silent(slot),
            Stage::Backoff => self.holding().requeue(slot),
            Stage::Staged => self.resending().fall_stale(slot),
            Stage::Fencing => self.leave_fence(slot),
            // Nothing but the delivery deadline ends these.
            Stage::InFlight | Stage::Queued | Stage::Gated | Stage::Settled => self.line.wait_for_deadline(slot),
        }
    }

    /// `ack_wait` is over.
    fn fall_silent(&mut self, slot: u32) {
        self.here.lane().counters.ack_timeouts.bump(1);
        if self.settle_suspect(slot) {
            return;
        }
        let Some(s) = self.line.get_mut(slot) else { return };
        s.taint();
        let Some(s) = self.line.get(slot) else { return };
        if self.resend.is_first_silence() {
            let topic = s.topic();
            let text = format!(
                "no acknowledgement of a message to {topic:?} came within ack_wait_ms; a slow or leaderless stream, or somebody else who takes the topic and does not answer"
            );
            self.orders.tell(EventKind::AckSilence, Status::AckTimeout, 0, topic, text);
        }
        let (key, id, rule) = (self.gates.key_of(s), s.id, s.rule);
        self.silences.explain(key.clone(), s, &self.here, &mut self.orders);
        if let Some(last_word) = last_word(s, &self.here) {
            if self.silences.awaits(&key, slot, id) {
                self.line.wait_for_deadline(slot);
            } else {
                self.orders.settle_unanswered(slot, Status::AckTimeout, 0, last_word);
            }
            return;
        }
        if self.resend.was_read(s, &self.here) {
            return self.go_again(slot);
        }
        if Some(s.epoch) == self.here.epoch() {
            let knows_copies = self.here.knows_copies(s);
            self.resend.want_fence();
            self.holding().pause_for_fence(slot);
            // The answer comes about when the fence closes: the message goes again no later for it.
            if knows_copies {
                self.windows.ask_before(rule, &self.known, &self.here, &mut self.orders);
            }
        }
        self.resend.wait_for_fence(slot, &mut self.line);
    }

    /// Settles messages that waited to learn why they got no acknowledgement. They may be acknowledged, or settled otherwise, since. Returns when to come back.
    #[inline(always)]
    pub(super) fn say_why(&mut self) -> Nanos {
        let (ready, others) = self.silences.take_ready();
        for (slot, id) in ready {
            if let Some(s) = self.line.get(slot).filter(|s| s.id == id && s.stage == Stage::InFlight)
                && let Some(last_word) = last_word(s, &self.here)
            {
                self.settle_unanswered(slot, Status::AckTimeout, 0, last_word);
                self.carry_out();
            }
        }
        if others { self.here.now() } else { Nanos::MAX }
    }

    // ---- Fences ----

    /// A message that waited for its fence, and for acks behind it, waits no more.
    fn leave_fence(&mut self, slot: u32) {
        if self.settle_suspect(slot) {
            return;
        }
        let Some(s) = self.line.get(slot) else { return };
        if self.resend.was_read(s, &self.here) {
            return self.go_again(slot);
        }
        self.line.wait_for_deadline(slot);
    }

    /// The message goes again. Errors under the mark of its last attempt may still be about that.
    fn go_again(&mut self, slot: u32) {
        if self.permissions.have_trouble()
            && let Some(s) = self.line.get(slot)
            && self.permissions.doubt(s.epoch, s.mark)
        {
            self.permissions.give_up(s.epoch, s.mark);
        }
        self.holding().requeue(slot);
    }

    /// A fence closed: who waited for it is sent again.
    pub(super) fn resend_fenced(&mut self) {
        let permissions = &self.permissions;
        for slot in self.resend.take_fenced(&mut self.line, &self.here, |epoch, mark| permissions.doubt(epoch, mark)) {
            self.holding().requeue(slot);
        }
        let closed = self.here.epoch().map(|epoch| (epoch, self.resend.fenced()));
        self.holding().end_silent_pauses(closed);
    }

    /// An epoch ended: what it had taken whole is unknown, the rest was not stored. All of it goes again, oldest first.
    pub(super) fn lose_epoch(&mut self, epoch: u32, loss: &Loss) {
        self.quarantine.suspect(epoch, loss, &mut self.line, &mut self.orders);
        self.carry_out();
        self.holding().end_silent_pauses(None);
        self.carry_out();
        for slot in self.line.chosen(|s| s.epoch == epoch && s.stage.is_under_way()) {
            self.holding().leave_probe(slot);
            let Some(s) = self.line.get_mut(slot) else { continue };
            if s.stage != Stage::Staged {
                s.taint();
                if last_word(s, &self.here).is_some() {
                    // The inbox is the same on the next connection: the ack may still come.
                    let due = self.here.ack_due().min(s.deadline);
                    self.line.set_stage(slot, Stage::InFlight);
                    self.line.set_due(slot, due);
                    continue;
                }
            }
            self.holding().requeue(slot);
            self.carry_out();
        }
    }

    // ---- Questions ----

    /// Questions that nobody answered in time. Returns when the next one's time is over.
    pub(super) fn give_up_questions(&mut self) -> Nanos {
        let next = self.asking.next_due();
        if self.here.now() < next {
            return next;
        }
        for ask in self.asking.overdue(self.here.now()) {
            self.answered(ask, StreamAnswer::Unavailable { text: "the server did not answer in time".into() });
            self.carry_out();
        }
        self.asking.next_due()
    }

    // ---- Denials ----

    /// Weighs again what is due. Returns when the next is.
    pub(super) fn tend_denials(&mut self) -> Nanos {
        if !self.permissions.have_trouble() {
            return Nanos::MAX;
        }
        self.denying().tend();
        self.carry_out();
        self.permissions.next_due()
    }

    /// The time for proof is over: finds the messages under this mark that its errors may be about.
    pub(super) fn judge_denials(&mut self, epoch: u32, mark: u64) {
        self.denying().weigh(epoch, mark);
        self.carry_out();
        self.denying().mark_suspects(epoch, mark);
    }

    /// `ack_wait`, or a message's time, is over. One that permission errors may be about is told so, and does not go again. Returns whether it has its outcome.
    fn settle_suspect(&mut self, slot: u32) -> bool {
        if !self.permissions.have_trouble() && self.line.get(slot).is_some_and(|s| !s.suspect) {
            return false;
        }
        let Some(s) = self.line.get(slot).filter(|s| s.stage.is_under_way()) else { return false };
        let (id, epoch, mark) = (s.id, s.epoch, s.mark);
        self.judge_denials(epoch, mark);
        let Some(s) = self.line.get(slot).filter(|s| s.id == id) else { return true };
        if !s.suspect {
            return false;
        }
        let text = self.denying().suspicion(slot);
        self.orders.settle_unanswered(slot, Status::Denied, 0, text);
        true
    }

    // ---- Deadlines ----

    /// The delivery deadline: tells what was last known.
    fn expire(&mut self, slot: u32) {
        if self.settle_suspect(slot) {
            return;
        }
        let Some(s) = self.line.get(slot) else { return };
        let seconds = in_seconds(s.deadline.saturating_sub(s.accepted_at));
        let (attempts, stage, gate) = (s.attempts, s.stage, s.gate);
        let (status, code, text) = if let Some((status, code, text)) = self.last_refusal(slot) {
            (status, code, format!("{text}; gave up at the delivery deadline of {seconds} s after {attempts} attempts"))
        } else if attempts > 0 {
            (Status::AckTimeout, 0, format!("no acknowledgement came within {seconds} s and {attempts} attempts"))
        } else if !self.here.is_online() {
            let why = self.here.shared().last_error().map_or_else(String::new, |error| format!(": {}", error.message()));
            (Status::Disconnected, 0, format!("not sent within {seconds} s: no connection{why}"))
        } else if stage == Stage::Gated {
            let (status, code, trouble) = self.holding().trouble(gate);
            (status, code, format!("not sent within {seconds} s: {trouble}"))
        } else {
            (Status::AckTimeout, 0, format!("not sent within {seconds} s"))
        };
        self.settle_unanswered(slot, status, code, text);
    }

    /// P4: sent again it could be stored twice.
    pub(super) fn settle_too_late(&mut self, slot: u32, why: &str) {
        let (status, code, text) = match self.last_refusal(slot) {
            // Before its deadline nobody knows whether its stream comes.
            Some((Status::NoStream, code, text)) => (Status::Unavailable, code, format!("{text}; {why}")),
            Some((status, code, text)) => (status, code, format!("{text}; {why}")),
            None => (Status::AckTimeout, 0, why.to_owned()),
        };
        self.settle_unanswered(slot, status, code, text);
    }

    /// Why an attempt of this message was refused, if one was: status, code and words.
    fn last_refusal(&mut self, slot: u32) -> Option<(Status, u32, String)> {
        let last = self.line.get(slot)?.last()?;
        let (status, code, text) = (last.status, last.server_code, last.text.clone());
        // That nobody took it does not prove that there is no stream. Where the server said so, and messages wait for it, the gate knows.
        let (status, code) = if status == Status::NoStream { self.last_absence(slot, code) } else { (status, code) };
        Some((status, code, text))
    }

    /// What became of a message that nobody took until its deadline. Its stream may exist, and is then not to be created, but waited for.
    fn last_absence(&mut self, slot: u32, code: u32) -> (Status, u32) {
        if let Some(absence) = self.holding().absence_at(slot) {
            return absence;
        }
        let is_there = self.line.get(slot).is_some_and(|s| !self.known.takers(s.rule).are_none() || self.silences.has_stream(&self.gates.key_of(s), s));
        (if is_there { Status::Unavailable } else { Status::NoStream }, code)
    }

    /// Again after a pause of its own.
    pub(super) fn retry_later(&mut self, slot: u32) {
        let Some(s) = self.line.get(slot) else { return };
        let (failures, deadline) = (s.attempts.saturating_sub(1), s.deadline);
        let at = self.here.now().saturating_add(self.line.backoff(failures));
        self.line.set_stage(slot, Stage::Backoff);
        self.line.set_due(slot, at.min(deadline));
    }
}

fn in_seconds(nanos: u64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}
