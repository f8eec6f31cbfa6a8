//! Receiving: what the wire tells, one call for each thing that happened.

use super::Handler;
use crate::base::error::{Error, Status};
use crate::base::level::Level;
use crate::base::time::nanos;
use crate::desk::events::EventKind;
use crate::ledger::slot::Stage;
use crate::wire::{Denials, Limits, Loss, Notice, Peer, Receiver, StreamAnswer, Token, Verdict};
use crate::wire::{ID_MASK, attempt_in_token};

impl Receiver for Handler {
    fn connected(&mut self, epoch: u32) {
        // The last connection may still be read to its end.
        let before = self.epoch.replace(epoch);
        self.permissions.retain(|e| Some(e) == before);
        self.permissions.begin_epoch();
        self.fenced = 0;
        self.told_silence = false;
    }

    fn online(&mut self, peer: Peer<'_>) {
        let Peer { name: server, software, version, domain, limits } = peer;
        self.online = true;
        self.epochs += 1;
        self.server = server.to_owned();
        let max_payload = limits.max_payload;
        self.limits = limits;
        let (kind, what) = if self.epochs == 1 { (EventKind::Connected, "connected to") } else { (EventKind::Reconnected, "reconnected to") };
        let of_domain = if domain.is_empty() { String::new() } else { format!(", domain {domain}") };
        let text = format!("{what} {server} ({software} {version}, max_payload {max_payload}{of_domain})");
        let event = self.logged_event(kind, Status::Ok, u64::from(self.epochs), "", text);
        self.shared.connected(&self.lane, server, version, max_payload, event);
        self.enter_domain(domain);
        self.apply_limits();
        self.retry_gates_now();
        self.ask_windows();
    }

    fn limits(&mut self, limits: Limits) {
        self.lane.set_max_payload(limits.max_payload);
        self.limits = limits;
    }

    fn offline(&mut self, error: &Error) {
        self.online = false;
        self.shared.disconnected(&self.lane, error);
        self.event(EventKind::Disconnected, error.status(), 0, "", error.message());
        self.forget_questions();
    }

    fn lost(&mut self, epoch: u32, loss: &Loss) {
        if self.epoch == Some(epoch) {
            self.epoch = None;
        }
        self.permissions.retain(|e| e != epoch);
        self.leftovers.retain(|frame| frame.epoch != epoch);
        self.lose_epoch(epoch, loss);
    }

    fn begun(&mut self, slot: u32, id: u64, epoch: u32) {
        let (now, age, ack_wait) = (self.now, self.age, nanos(self.shared.settings.ack_wait));
        let Some(s) = self.slot(slot, id) else { return self.leftovers.retain(|frame| frame.id != id) };
        if s.stage != Stage::Staged || s.epoch != epoch {
            return;
        }
        s.attempts += 1;
        if s.ephemeral {
            return self.ephemeral_written(slot);
        }
        s.stage = Stage::InFlight;
        s.sent(age);
        let again = s.attempts > 1;
        let due = now.saturating_add(ack_wait).min(s.deadline);
        self.deadlines.set(slot, due);
        if again {
            self.lane.counters.resent.bump(1);
        }
    }

    fn verdict(&mut self, token: Token, verdict: Verdict<'_>) {
        let Some(s) = self.table.get(token.slot).filter(|s| s.id & ID_MASK == token.id && !s.ephemeral) else {
            self.lane.counters.late_acks.bump(1);
            return self.hear_late(token.id, &verdict);
        };
        if token.attempt == 0 || u32::from(token.attempt) > s.attempt {
            self.lane.counters.alien_replies.bump(1);
            return;
        }
        let (slot, current) = (s.index, token.attempt == attempt_in_token(s.attempt) && matches!(s.stage, Stage::InFlight | Stage::Fencing));
        let weighed = (self.permissions.have_trouble() && current).then_some((s.epoch, s.mark));
        match verdict {
            // An ack of any attempt is proof that the message is stored.
            Verdict::Stored { stream, domain, seq, duplicate } => {
                if !current {
                    self.abandon(slot);
                }
                self.stored(slot, stream, domain, seq, duplicate);
            }
            Verdict::Refused(refusal) if current => self.refused(slot, refusal),
            // An answer to an attempt that is over, or a second answer to this one.
            Verdict::Refused(_) => self.lane.counters.late_acks.bump(1),
            // Counts as silence: the deadline judges.
            Verdict::Alien => self.lane.counters.alien_replies.bump(1),
        }
        if let Some((epoch, mark)) = weighed {
            self.note_reply(token, epoch, mark);
        }
    }

    fn fenced(&mut self, epoch: u32, mark: u64) {
        self.permissions.close(epoch, mark);
        if self.epoch == Some(epoch) {
            self.fenced = mark + 1;
            self.resend_fenced();
        }
    }

    fn denied(&mut self, epoch: u32, mark: u64, denials: Denials) {
        self.note_denials(epoch, mark, denials);
    }

    fn answer(&mut self, ask: u32, answer: StreamAnswer) {
        self.answered(ask, answer);
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::LameDuck { server } => {
                self.event(EventKind::LameDuck, Status::Ok, 0, "", format!("{server} announced its shutdown (lame duck)"));
            }
            Notice::Discovered { servers } => self.event(EventKind::ServersDiscovered, Status::Ok, 0, "", format!("also in the cluster: {servers}")),
            Notice::Denied { topic, text } => {
                self.permissions.hear();
                self.shared.log(Level::Warn, || format!("{topic:?}: {text}"));
            }
            Notice::AlienReply => self.lane.counters.alien_replies.bump(1),
        }
    }
}
