//! Settle: the only room that decides outcomes (P1, P2).
//!
//! R1, the rule all else follows from: once an attempt may have been stored, only an ack clears the doubt. A later refusal, however definite, is about its own attempt.

use std::sync::Arc;

use crate::error::{Persistence, Status};
use crate::gate::Learned;
use crate::handler::Core;
use crate::ledger::{Stage, empty};
use crate::report::{REPORT_DUPLICATE, REPORT_EPHEMERAL};
use crate::wire::{Nanos, Question, Refusal, Retry, nanos};

/// As reports say it, and slots keep it.
const DUPLICATE: u8 = REPORT_DUPLICATE as u8;
const EPHEMERAL: u8 = REPORT_EPHEMERAL as u8;
/// Streams that are remembered.
const MOST_STREAMS: usize = 1024;

/// A stream that took a message.
pub(crate) struct KnownStream {
    /// NUL-terminated, as reports show it.
    name: Arc<str>,
    /// Its duplicate window, once it is known.
    pub(crate) window: Option<Nanos>,
}

/// How a message ends, but for the doubt that earlier attempts left.
pub(crate) struct Ending {
    status: Status,
    server_code: u32,
    text: Option<String>,
    stored: Option<(Arc<str>, u64)>,
    flags: u8,
}

impl Ending {
    /// Not stored by the last attempt, or never sent.
    pub(crate) fn definite(status: Status, server_code: u32, text: impl Into<String>) -> Self {
        Ending { status, server_code, text: Some(text.into()), stored: None, flags: 0 }
    }
}

impl Core {
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
            let stream = ending.stored.map_or_else(empty, |(stream, _)| stream);
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
        if stage == Stage::InFlight && !s.probe && !s.counted {
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
        self.give_up_place(slot);
    }

    /// The server stored it.
    pub(crate) fn stored(&mut self, slot: u32, stream: &str, seq: u64, duplicate: bool) {
        let Some(s) = self.table.get(slot) else { return };
        let rule = s.rule;
        if let Some(named) = &self.rules.get(rule).stream
            && named != stream
        {
            // Reliability 5.2.5: anyone who sees our inbox can forge an ack; one from another stream is none.
            self.lane.counters.alien_replies.bump(1);
            return;
        }
        let flags = if duplicate && s.tainted().is_none() { DUPLICATE } else { 0 };
        if duplicate {
            self.lane.counters.duplicates.bump(1);
        }
        let (gate, probe) = (s.gate, s.probe);
        if !self.permissions.are_quiet() {
            self.permissions.passed(s.topic());
        }
        let stream = self.learn(rule, stream);
        self.gate_acked(gate);
        if probe {
            self.probe_answered(slot);
        }
        self.settle(slot, Ending { status: Status::Ok, server_code: 0, text: None, stored: Some((stream, seq)), flags });
    }

    /// Remembers which stream takes a rule's messages. Returns the name, NUL-terminated and shared.
    fn learn(&mut self, rule: u32, stream: &str) -> Arc<str> {
        let known = self.gates.rule(rule);
        match &known.learned {
            Learned::One(name) if name.strip_suffix('\0') == Some(stream) => return Arc::clone(name),
            Learned::One(_) => known.learned = Learned::Many,
            Learned::Nothing | Learned::Many => {}
        }
        // Where a rule has many streams this is looked up for every ack.
        let (name, window) = match self.streams.get(stream) {
            Some(known) => (Arc::clone(&known.name), known.window),
            None => (self.meet(rule, stream), None),
        };
        let known = self.gates.rule(rule);
        if matches!(known.learned, Learned::Nothing) {
            known.learned = Learned::One(Arc::clone(&name));
        }
        if let Some(window) = window {
            known.window = Some(known.window.map_or(window, |w| w.min(window)));
        }
        name
    }

    /// The first ack from a stream. Returns its name, NUL-terminated and shared.
    fn meet(&mut self, rule: u32, stream: &str) -> Arc<str> {
        let name: Arc<str> = Arc::from(format!("{stream}\0"));
        if self.streams.len() < MOST_STREAMS {
            self.streams.insert(stream.into(), KnownStream { name: Arc::clone(&name), window: None });
            if self.rules.get(rule).stream.is_none() {
                self.ask_in_background(rule, Question::Describe { stream: stream.to_owned(), rule: None });
            }
        }
        name
    }

    /// One attempt was refused.
    pub(crate) fn refused(&mut self, slot: u32, refusal: Refusal) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if !refusal.definite {
            s.taint();
        }
        let attempts = u32::from(s.attempts);
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
                self.probe_answered(slot);
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
                if !self.wait_again(slot) {
                    self.retry_later(slot);
                }
            }
        }
    }

    /// Again after a pause of its own.
    pub(crate) fn retry_later(&mut self, slot: u32) {
        let Some(s) = self.table.get(slot) else { return };
        let (failures, deadline) = (u32::from(s.attempts).saturating_sub(1), s.deadline);
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
        if matches!(status, Status::AckTimeout | Status::Unavailable | Status::NoStream)
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
            let status = if last.status == Status::NoStream && self.has_stream(s) { Status::Unavailable } else { last.status };
            (status, last.server_code, format!("{}; gave up at the delivery deadline of {seconds} s after {attempts} attempts", last.text))
        } else if attempts > 0 {
            (Status::AckTimeout, 0, format!("no acknowledgement came within {seconds} s and {attempts} attempts"))
        } else if self.epoch.is_none() {
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

    /// The duplicate window that holds for a rule's messages.
    pub(crate) fn window_of(&mut self, rule: u32) -> u64 {
        let assumed = nanos(self.shared.settings.assume_duplicate_window);
        let known = self.gates.rule(rule);
        if let Some(window) = known.window {
            return window;
        }
        if !std::mem::replace(&mut known.told_unknown, true) {
            let pattern = self.rules.get(rule).pattern.clone();
            let text = format!("the duplicate window of the stream for {pattern:?} is not known; {} s are assumed", nanos_as_seconds(assumed));
            self.event(crate::events::EventKind::WindowUnknown, Status::Ok, 0, &pattern, text);
        }
        assumed
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
