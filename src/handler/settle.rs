//! Settle: the only room that decides outcomes (P1, P2).
//!
//! R1, the rule all else follows from: once an attempt may have been stored, only an ack clears the doubt. A later refusal, however definite, is about its own attempt.

use std::sync::Arc;

use crate::base::error::{Persistence, Status};
use crate::desk::report::{REPORT_DUPLICATE, REPORT_EPHEMERAL};
use crate::handler::Handler;
use crate::ledger::refusal::{Refusal, Retry};
use crate::ledger::slot::{Stage, StreamId};
use crate::wire::ID_MASK;

/// As reports say it, and slots keep it.
const DUPLICATE: u8 = REPORT_DUPLICATE as u8;
const EPHEMERAL: u8 = REPORT_EPHEMERAL as u8;
/// Of so many acks one is looked at: is its topic one of its stream's subjects? A mapping can reach a stream by some topics of a rule alone.
const LOOK_EVERY: u64 = 256;

/// How a message ends, but for the doubt that earlier attempts left.
pub(crate) struct Ending {
    status: Status,
    server_code: u32,
    text: Option<String>,
    stored: Option<(Arc<StreamId>, u64)>,
    flags: u8,
}

impl Ending {
    /// Not stored by the last attempt, or never sent.
    pub(crate) fn definite(status: Status, server_code: u32, text: impl Into<String>) -> Self {
        Ending { status, server_code, text: Some(text.into()), stored: None, flags: 0 }
    }
}

impl Handler {
    /// Settles a message: takes it out of the ledger, once and for ever.
    pub(crate) fn settle(&mut self, slot: u32, ending: Ending) {
        let Some(s) = self.table.get(slot) else { return };
        let persistence = if ending.stored.is_some() {
            Persistence::Persisted
        } else if ending.flags & EPHEMERAL != 0 {
            Persistence::PossiblyPersisted
        } else {
            self.doubt(s)
        };
        self.leave_rooms(slot);
        let Some(mut slot) = self.table.take(slot) else { return };
        self.deadlines.clear(slot.index);
        for flush in &mut self.flushes {
            if slot.id <= flush.upto {
                flush.left = flush.left.saturating_sub(1);
            }
        }
        let latency = self.now.saturating_sub(slot.accepted_at);
        let counters = &self.lane.counters;
        if slot.ephemeral {
            if ending.status == Status::Ok { counters.ephemeral.bump(1) } else { counters.ephemeral_dropped.bump(1) }
        } else if persistence == Persistence::Persisted {
            counters.published.bump(1);
            counters.latency.record(latency);
        } else {
            counters.publish_errors.bump(1);
            counters.failures.note(ending.status, ending.text.as_deref(), self.now, || self.shared.clock.unix_nanos());
        }
        slot.flags = ending.flags;
        let outcome = &mut slot.outcome;
        outcome.status = ending.status;
        outcome.persistence = persistence;
        outcome.latency = latency;
        outcome.stream_seq = ending.stored.as_ref().map_or(0, |(_, seq)| *seq);
        if self.shared.desk.wants(&slot) {
            let stream = ending.stored.map_or_else(StreamId::none, |(stream, _)| stream);
            if !Arc::ptr_eq(&slot.outcome.stream, &stream) {
                slot.outcome.stream = stream;
            }
            slot.explain(ending.server_code, ending.text.map(terminated));
            self.reports.push(slot);
        } else {
            self.done.push(slot);
        }
    }

    /// Takes the message out of wherever it waits.
    fn leave_rooms(&mut self, slot: u32) {
        let Some(s) = self.table.get_mut(slot) else { return };
        let (id, stage, gate) = (s.id, s.stage, s.gate);
        if stage == Stage::InFlight && !s.probe && !s.counted && !s.placed {
            // Nearly every message: it waits nowhere but for its ack.
            s.stage = Stage::Settled;
            self.live -= 1;
            return self.acquit(id);
        }
        match stage {
            Stage::Queued => {
                // `fresh` is left alone: its entries are checked by id when their turn comes.
                self.again.remove(&id);
            }
            Stage::Gated => self.leave_gate(gate, id),
            Stage::Staged => self.leave_frame(slot),
            _ => {}
        }
        self.leave_probe(slot);
        self.acquit(id);
        self.set_stage(slot, Stage::Settled);
        self.give_up_places(slot);
    }

    /// The server stored it.
    pub(crate) fn stored(&mut self, slot: u32, stream: &str, domain: &str, seq: u64, duplicate: bool) {
        let Some(s) = self.table.get(slot) else { return };
        let rule = s.rule;
        // Anyone who sees our inbox can forge an ack, and a topic can have two takers: the ack of a stream that the rule does not name is none.
        if let Some(whose) = self.foreign(rule, stream, domain) {
            if self.rules.get(rule).stream.as_deref() == Some(stream) {
                self.known.seconds.add_twin(stream);
            }
            return self.hear_foreign(slot, format!("stream {stream:?} acknowledged it, and {whose}"));
        }
        let flags = if duplicate && s.tainted().is_none() { DUPLICATE } else { 0 };
        if duplicate {
            self.lane.counters.duplicates.bump(1);
        }
        let (gate, probe) = (s.gate, s.probe);
        if !self.permissions.are_quiet() {
            self.permissions.passed(s.topic());
        }
        if seq.is_multiple_of(LOOK_EVERY) || self.gates.rule(rule).to_look_at > 0 {
            self.note_reached(slot, rule, stream);
            if let Some(s) = self.table.get(slot).filter(|s| s.attempt == 1) {
                self.known.seconds.remember(s.id & ID_MASK);
            }
        }
        self.somebody_takes(slot);
        let stream = self.learn(slot, rule, stream, domain);
        self.gate_acked(gate);
        if probe {
            self.probe_answered(slot, Some(stream.name()));
        }
        self.settle(slot, Ending { status: Status::Ok, server_code: 0, text: None, stored: Some((stream, seq)), flags });
    }

    /// One attempt was refused.
    pub(crate) fn refused(&mut self, slot: u32, mut refusal: Refusal) {
        let Some(s) = self.table.get(slot) else { return };
        let rule = s.rule;
        if let Some(stream) = &refusal.stream {
            if let Some(whose) = self.foreign(rule, stream, "") {
                return self.hear_foreign(slot, format!("stream {stream:?} refused it ({}), and {whose}", refusal.text));
            }
            let stream = stream.clone();
            self.note_reached(slot, rule, &stream);
            if refusal.definite
                && let Some(s) = self.table.get(slot)
            {
                let topic = s.topic().to_owned();
                refusal.definite = self.is_only_taker(rule, &stream) && self.has_one_jetstream(&topic);
            }
        }
        let Some(s) = self.table.get_mut(slot) else { return };
        if !refusal.definite {
            s.taint();
        }
        let attempts = s.attempts;
        let retry = match refusal.retry {
            Retry::IfStreamFull if self.shared.settings.retry_stream_full => Retry::Backoff,
            Retry::IfStreamFull => Retry::No,
            other => other,
        };
        let last = self.shared.settings.max_attempts;
        let over = last != 0 && attempts >= last;
        // The doubt was noted above; this attempt is answered.
        self.set_stage(slot, Stage::Backoff);
        if retry == Retry::No || over {
            if retry == Retry::No {
                self.probe_answered(slot, None);
            }
            let text = if over && retry != Retry::No { format!("{} (after {attempts} attempts, max_attempts is {last})", refusal.text) } else { refusal.text };
            self.settle(slot, Ending::definite(refusal.status, refusal.server_code, text));
            return;
        }
        if let Some(s) = self.table.get_mut(slot) {
            s.set_last(refusal);
        }
        match retry {
            Retry::Hold(trouble) => self.hold(slot, trouble),
            _ => {
                self.probe_unclear(slot);
                self.pause_behind(slot);
                if !self.wait_again(slot) {
                    self.retry_later(slot);
                }
            }
        }
    }

    /// Whose word it is: `None` if this stream's counts for the rule's messages, else what is wrong with it. Refusals name no domain.
    #[inline(always)]
    fn foreign(&self, rule: u32, stream: &str, domain: &str) -> Option<String> {
        let named = self.rules.get(rule).stream.as_deref()?;
        if named == stream && (domain.is_empty() || self.shared.settings.jetstream_domain.is_none()) { None } else { self.whose_word(named, stream, domain) }
    }

    #[cold]
    fn whose_word(&self, named: &str, stream: &str, domain: &str) -> Option<String> {
        if named != stream {
            return Some(format!("the rule names {named:?}"));
        }
        let wanted = self.shared.settings.jetstream_domain.as_deref().filter(|wanted| !domain.is_empty() && *wanted != domain)?;
        Some(format!("it is that of the domain {domain:?}, while jetstream_domain is {wanted:?}"))
    }

    /// An answer of a stream that the rule does not name: neither an ack nor a proof. It is remembered, for whoever asks why no other came.
    fn hear_foreign(&mut self, slot: u32, text: String) {
        self.lane.counters.alien_replies.bump(1);
        if let Some(s) = self.table.get_mut(slot) {
            s.set_foreign(text);
        }
        self.probe_unclear(slot);
    }

    /// Again after a pause of its own.
    pub(crate) fn retry_later(&mut self, slot: u32) {
        let Some(s) = self.table.get(slot) else { return };
        let (failures, deadline) = (s.attempts.saturating_sub(1), s.deadline);
        let at = self.now.saturating_add(self.backoff(failures));
        self.set_stage(slot, Stage::Backoff);
        self.deadlines.set(slot, at.min(deadline));
    }

    /// An ephemeral message is out: that is all that can be known of it.
    pub(crate) fn ephemeral_written(&mut self, slot: u32) {
        self.settle(slot, Ending { status: Status::Ok, server_code: 0, text: None, stored: None, flags: EPHEMERAL });
    }

    /// The attempt that is under way will have no answer that counts: it may be one of those that permission errors are counted against.
    pub(crate) fn abandon(&mut self, slot: u32) {
        if let Some(s) = self.table.get(slot).filter(|s| s.stage.is_under_way()) {
            self.permissions.give_up(s.epoch, s.mark);
        }
    }

    /// Settles a message that got no (further) answer. Whatever is under way stays in doubt.
    pub(crate) fn settle_unanswered(&mut self, slot: u32, status: Status, server_code: u32, text: &str) {
        self.abandon(slot);
        let Some(s) = self.table.get(slot) else { return };
        let mut text = text.to_owned();
        if self.doubt(s) == Persistence::PossiblyPersisted && !s.ephemeral {
            text.push_str("; an attempt may have been stored");
        }
        if let Some(foreign) = s.foreign() {
            text.push_str("; why: ");
            text.push_str(foreign);
        } else if matches!(status, Status::AckTimeout | Status::Unavailable | Status::NoStream)
            && let Some(why) = self.why(s)
        {
            text.push_str("; why: ");
            text.push_str(&why);
        }
        self.settle(slot, Ending::definite(status, server_code, text));
    }

    /// The delivery deadline: tells what was last known.
    pub(crate) fn expire(&mut self, slot: u32) {
        if self.settle_suspect(slot) {
            return;
        }
        let Some(s) = self.table.get(slot) else { return };
        let seconds = nanos_as_seconds(s.deadline.saturating_sub(s.accepted_at));
        let attempts = s.attempts;
        let (status, code, text) = if let Some(last) = s.last() {
            // Nobody took it, and yet its stream exists: not to be created, but waited for.
            // That nobody took it does not prove that there is no stream. Where the server said so, and messages wait for it, the gate knows.
            let (status, code) = match last.status {
                Status::NoStream => self.absence_at(s).unwrap_or_else(|| {
                    let taken_before = self.gates.rule_if_used(s.rule).is_some_and(|rule| !rule.takers.are_none());
                    (if taken_before || self.has_stream(s) { Status::Unavailable } else { Status::NoStream }, last.server_code)
                }),
                status => (status, last.server_code),
            };
            (status, code, format!("{}; gave up at the delivery deadline of {seconds} s after {attempts} attempts", last.text))
        } else if attempts > 0 {
            (Status::AckTimeout, 0, format!("no acknowledgement came within {seconds} s and {attempts} attempts"))
        } else if !self.online {
            let why = self.shared.last_error().map_or_else(String::new, |error| format!(": {}", error.message()));
            (Status::Disconnected, 0, format!("not sent within {seconds} s: no connection{why}"))
        } else if s.stage == Stage::Gated {
            let (status, code, trouble) = self.gate_trouble(s.gate);
            (status, code, format!("not sent within {seconds} s: {trouble}"))
        } else {
            (Status::AckTimeout, 0, format!("not sent within {seconds} s"))
        };
        self.settle_unanswered(slot, status, code, &text);
    }
}

fn nanos_as_seconds(nanos: u64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}

/// Text as reports carry it: with a NUL byte behind, and none inside.
fn terminated(mut text: String) -> Box<str> {
    if text.contains('\0') {
        text = text.replace('\0', "?");
    }
    text.push('\0');
    text.into_boxed_str()
}
