//! Resend: what may be sent again after silence or a lost connection, and when it is too late (P4).
//!
//! Nothing possibly stored is sent again without a Msg-Id, later than the duplicate window allows (P4), or before a fence proved that the server has read the frame.

use crate::base::time::Nanos;
use crate::handler::here::Here;
use crate::handler::known::Known;
use crate::handler::line::Line;
use crate::handler::orders::{Order, Orders};
use crate::ledger::slot::{Slot, Stage};

/// Clocks that drift apart by less than this did not sleep.
const A_NAP: Nanos = 100_000_000;

/// What waits for a fence, and what must leave in time.
#[derive(Debug, Default)]
pub(crate) struct Resend {
    /// A connection that keeps a frame for longer than it may be sent (P4).
    stale: Option<u32>,
    /// Resends that are with the wire though their messages are settled.
    leftovers: Vec<Leftover>,
    /// Slots that wait for a fence to be sent again.
    fencing: Vec<(u32, u64)>,
    /// Marks below this were read by the server of this epoch.
    fenced: u64,
    want_fence: bool,
    /// How far the age was ahead of the clock when it was last judged.
    asleep: Nanos,
    /// Operators were told that acks do not come in this epoch.
    told_silence: bool,
}

/// A resend that the wire still has when its message settles: nobody can take it back, and P4 holds for it all the same.
#[derive(Debug)]
struct Leftover {
    id: u64,
    epoch: u32,
    /// The age at which it is too late to send it.
    until: u64,
}

/// What resending looks at and changes.
pub(super) struct Resending<'a> {
    room: &'a mut Resend,
    line: &'a mut Line,
    known: &'a mut Known,
    here: &'a Here,
    orders: &'a mut Orders,
}

/// Whether a message without an answer may ever be sent again.
pub(super) fn can_repeat(slot: &Slot, here: &Here) -> bool {
    here.knows_copies(slot) || here.settings().resend_without_msg_id
}

/// What the report of a message says that was silent, and is not sent again. `None`: it is sent again.
pub(super) fn last_word(slot: &Slot, here: &Here) -> Option<String> {
    let last = here.settings().max_attempts;
    if last != 0 && slot.attempts >= last {
        Some(format!("no acknowledgement came to {} attempts (max_attempts)", slot.attempts))
    } else if !can_repeat(slot, here) {
        Some("no acknowledgement came within ack_wait, and without a Msg-Id it is not sent again".to_owned())
    } else {
        None
    }
}

impl Resend {
    // ---- Fences ----

    /// A new epoch: no fence of it closed, and no silence of it was told.
    pub(super) fn begin_epoch(&mut self) {
        self.fenced = 0;
        self.told_silence = false;
    }

    /// An epoch is over: its frames went with it.
    pub(super) fn end_epoch(&mut self, epoch: u32) {
        self.leftovers.retain(|frame| frame.epoch != epoch);
    }

    /// The server of this epoch has read all marks below this.
    pub(super) fn set_fenced(&mut self, below: u64) {
        self.fenced = below;
    }

    pub(super) fn fenced(&self) -> u64 {
        self.fenced
    }

    /// The server has read the frame of this message's last attempt.
    pub(super) fn was_read(&self, slot: &Slot, here: &Here) -> bool {
        Some(slot.epoch) == here.epoch() && slot.mark < self.fenced
    }

    /// The message waits for the fence behind its frame.
    pub(super) fn wait_for_fence(&mut self, slot: u32, line: &mut Line) {
        line.set_stage(slot, Stage::Fencing);
        if let Some(s) = line.get(slot) {
            self.fencing.push((slot, s.id));
        }
        line.wait_for_deadline(slot);
    }

    /// A fence is wanted behind what was staged.
    pub(super) fn want_fence(&mut self) {
        self.want_fence = true;
    }

    #[inline(always)]
    pub(super) fn take_wanted_fence(&mut self) -> bool {
        std::mem::take(&mut self.want_fence)
    }

    /// Who waited for a fence that closed, and is not in doubt for another reason.
    pub(super) fn take_fenced(&mut self, line: &mut Line, here: &Here, is_in_doubt: impl Fn(u32, u64) -> bool) -> Vec<u32> {
        let fenced = self.fenced;
        let mut ready = Vec::new();
        self.fencing.retain(|&(slot, id)| {
            let Some(s) = line.slot(slot, id).filter(|s| s.stage == Stage::Fencing) else { return false };
            let closed = Some(s.epoch) == here.epoch() && s.mark < fenced && !is_in_doubt(s.epoch, s.mark);
            if closed {
                ready.push(slot);
            }
            !closed
        });
        ready
    }

    /// The first silence of an epoch is worth a word: peers' users see it as a timeout and guess.
    pub(super) fn is_first_silence(&mut self) -> bool {
        !std::mem::replace(&mut self.told_silence, true)
    }

    // ---- Frames that outlive their messages ----

    /// The frame left after all.
    pub(super) fn forget_leftover(&mut self, id: u64) {
        if !self.leftovers.is_empty() {
            self.leftovers.retain(|frame| frame.id != id);
        }
    }

    /// A connection to end, since it keeps a frame for too long.
    #[inline(always)]
    pub(super) fn take_stale(&mut self) -> Option<u32> {
        self.stale.take()
    }

    /// The connection of a frame that outlived its message goes before the frame does, if that is too late. Gives the time of the next one.
    #[inline(always)]
    pub(super) fn judge_leftovers(&mut self, here: &Here) -> Nanos {
        if self.leftovers.is_empty() { Nanos::MAX } else { self.judge_some_leftovers(here) }
    }

    fn judge_some_leftovers(&mut self, here: &Here) -> Nanos {
        let age = here.age();
        if self.stale.is_none()
            && let Some(late) = self.leftovers.iter().find(|frame| age > frame.until)
        {
            let epoch = late.epoch;
            self.leftovers.retain(|frame| frame.epoch != epoch);
            self.stale = Some(epoch);
        }
        let until = self.leftovers.iter().map(|frame| frame.until).min();
        until.map_or(Nanos::MAX, |until| here.now().saturating_add(until.saturating_sub(age)).saturating_add(1))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn size(&self) -> usize {
        self.leftovers.len()
    }

    /// Whether this message waits for a fence.
    #[cfg(test)]
    pub(super) fn fences(&self, slot: &Slot) -> bool {
        self.fencing.contains(&(slot.index, slot.id))
    }
}

impl<'a> Resending<'a> {
    #[inline(always)]
    pub(super) fn new(room: &'a mut Resend, line: &'a mut Line, known: &'a mut Known, here: &'a Here, orders: &'a mut Orders) -> Self {
        Resending { room, line, known, here, orders }
    }

    /// P4. If not, the message is settled.
    pub(super) fn may_send_again(&mut self, slot: u32) -> bool {
        let Some(s) = self.line.get(slot) else { return false };
        let Some(first) = s.tainted() else { return true };
        let rule = s.rule;
        if !can_repeat(s, self.here) {
            self.orders.push(Order::TooLate { slot, why: "no acknowledgement came, and without a Msg-Id it is not sent again".to_owned() });
            return false;
        }
        if self.resend_until(slot).is_some_and(|until| self.here.age() > until) {
            let window = self.known.window_of(rule, self.here, self.orders);
            let why = format!(
                "no acknowledgement came, and sending it again after {} ms could store a second copy (duplicate window {} ms)",
                (self.here.age() - first) / 1_000_000,
                window / 1_000_000
            );
            self.orders.push(Order::TooLate { slot, why });
            return false;
        }
        true
    }

    /// The age at which it is too late to send it again (P4). `None`: never, because nothing of it may be stored, or because the user wants it without a Msg-Id.
    fn resend_until(&mut self, slot: u32) -> Option<u64> {
        let s = self.line.get(slot).filter(|s| self.here.knows_copies(s))?;
        let (first, rule) = (s.tainted()?, s.rule);
        let bound = self.known.window_of(rule, self.here, self.orders).saturating_sub(self.here.ack_wait());
        Some(first.saturating_add(bound))
    }

    /// A resend that is staged must also leave in time.
    pub(super) fn watch_staged(&mut self, slot: u32) {
        if let Some(until) = self.resend_until(slot)
            && let Some(s) = self.line.get(slot)
        {
            let left = until.saturating_sub(self.here.age()).saturating_add(1);
            let due = self.here.now().saturating_add(left).min(s.deadline);
            self.line.set_due(slot, due);
        }
    }

    /// A staged frame cannot be taken back. When it is too late to send it, the connection goes before the frame does.
    pub(super) fn fall_stale(&mut self, slot: u32) {
        let Some(epoch) = self.line.get(slot).map(|s| s.epoch) else { return };
        self.line.wait_for_deadline(slot);
        if self.resend_until(slot).is_some_and(|until| self.here.age() > until) {
            self.room.stale = Some(epoch);
        } else {
            self.watch_staged(slot);
        }
    }

    /// The message settles, and its frame stays behind in the wire.
    pub(super) fn leave_frame(&mut self, slot: u32) {
        let Some(until) = self.resend_until(slot) else { return };
        if let Some(s) = self.line.get(slot) {
            self.room.leftovers.push(Leftover { id: s.id, epoch: s.epoch, until });
        }
    }

    /// After a sleep of the machine more is too late than the deadlines know.
    #[inline(always)]
    pub(super) fn judge_after_sleep(&mut self) {
        let asleep = self.here.age().saturating_sub(self.here.now());
        if asleep >= self.room.asleep + A_NAP {
            self.judge_all_staged(asleep);
        }
    }

    fn judge_all_staged(&mut self, asleep: Nanos) {
        self.room.asleep = asleep;
        for slot in self.line.chosen(|s| s.stage == Stage::Staged && s.tainted().is_some()) {
            self.fall_stale(slot);
        }
    }

    /// A window is smaller than was believed: what may no longer be sent is settled, and what is about to be sent is looked at again.
    pub(super) fn settle_what_is_too_late(&mut self) {
        for slot in self.line.chosen(|s| s.tainted().is_some()) {
            match self.line.get(slot).map(|s| s.stage) {
                Some(Stage::Queued | Stage::Gated | Stage::Backoff) => {
                    self.may_send_again(slot);
                }
                Some(Stage::Staged) => self.fall_stale(slot),
                Some(Stage::InFlight | Stage::Fencing | Stage::Settled) | None => {}
            }
        }
    }
}
