//! Receiving: what the wire tells, one call for each thing that happened, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use super::Handler;
use super::asking::{About, What};
use super::orders::{Ending, News};
use crate::base::error::{Error, Status};
use crate::base::level::Level;
use crate::config::settings::OnNoStream;
use crate::desk::events::EventKind;
use crate::desk::report::{REPORT_DUPLICATE, REPORT_EPHEMERAL};
use crate::ledger::refusal::{Refusal, Retry, Trouble};
use crate::ledger::slot::{Stage, StreamId};
use crate::wire::{Denials, ID_MASK, Limits, Loss, Notice, Peer, Question, Receiver, StreamAnswer, Token, Verdict, attempt_in_token};

/// Of so many acks one is looked at: is its topic one of its stream's subjects? A mapping can reach a stream by some topics of a rule alone.
const LOOK_EVERY: u64 = 256;
/// For so long after the store was not there its word that a stream is not there does not count: with many messages its recovery takes seconds.
const RECOVERY: u64 = 5_000_000_000;

impl Receiver for Handler {
    fn connected(&mut self, epoch: u32) {
        // The last connection may still be read to its end.
        let before = self.here.begin_epoch(epoch);
        self.permissions.retain(|e| Some(e) == before);
        self.permissions.begin_epoch();
        self.resend.begin_epoch();
    }

    fn online(&mut self, peer: Peer<'_>) {
        let Peer { name: server, software, version, domain, limits } = peer;
        let max_payload = limits.max_payload;
        let connects = self.here.go_online(server, limits);
        let (kind, what) = if connects == 1 { (EventKind::Connected, "connected to") } else { (EventKind::Reconnected, "reconnected to") };
        let of_domain = if domain.is_empty() { String::new() } else { format!(", domain {domain}") };
        let text = format!("{what} {server} ({software} {version}, max_payload {max_payload}{of_domain})");
        let event = self.logged(News { kind, status: Status::Ok, value: u64::from(connects), topic: String::new(), text });
        self.here.shared().connected(self.here.lane(), server, version, max_payload, event);
        self.known.enter_domain(domain, &self.here);
        self.windows.forget_told();
        self.gates.forget_met();
        self.quarantine.apply_limits(&mut self.line, &self.here, &mut self.orders);
        self.carry_out();
        self.holding().retry_now();
        self.windows.ask_all(&mut self.line, &self.known, &self.here, &mut self.orders);
        self.carry_out();
    }

    fn offline(&mut self, error: &Error) {
        self.here.go_offline();
        self.here.shared().disconnected(self.here.lane(), error);
        self.event(EventKind::Disconnected, error.status(), 0, "", error.message());
        self.forget_questions();
        self.carry_out();
    }

    fn limits(&mut self, limits: Limits) {
        self.here.lane().set_max_payload(limits.max_payload);
        self.here.set_limits(limits);
    }

    fn lost(&mut self, epoch: u32, loss: &Loss) {
        self.here.end_epoch(epoch);
        self.permissions.retain(|e| e != epoch);
        self.resend.end_epoch(epoch);
        self.lose_epoch(epoch, loss);
        self.carry_out();
    }

    #[inline]
    fn begun(&mut self, slot: u32, id: u64, epoch: u32) {
        let (age, ack_due) = (self.here.age(), self.here.ack_due());
        let Some(s) = self.line.slot(slot, id) else { return self.resend.forget_leftover(id) };
        if s.stage != Stage::Staged || s.epoch != epoch {
            return;
        }
        s.attempts += 1;
        if s.ephemeral {
            // It is out: that is all that can be known of it.
            return self.settle(slot, Ending::written(REPORT_EPHEMERAL as u8));
        }
        s.stage = Stage::InFlight;
        s.sent(age);
        let again = s.attempts > 1;
        let due = ack_due.min(s.deadline);
        self.line.set_due(slot, due);
        if again {
            self.here.lane().counters.resent.bump(1);
        }
    }

    #[inline]
    fn verdict(&mut self, token: Token, verdict: Verdict<'_>) {
        let Some(s) = self.line.get(token.slot).filter(|s| s.id & ID_MASK == token.id && !s.ephemeral) else {
            self.here.lane().counters.late_acks.bump(1);
            return self.known.hear_late(token.id, &verdict);
        };
        if token.attempt == 0 || u32::from(token.attempt) > s.attempt {
            self.here.lane().counters.alien_replies.bump(1);
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
            Verdict::Refused(_) => self.here.lane().counters.late_acks.bump(1),
            // Counts as silence: the deadline judges.
            Verdict::Alien => self.here.lane().counters.alien_replies.bump(1),
        }
        self.carry_out();
        if let Some((epoch, mark)) = weighed {
            self.denying().note_reply(token, epoch, mark);
            self.carry_out();
        }
    }

    fn fenced(&mut self, epoch: u32, mark: u64) {
        self.permissions.close(epoch, mark);
        if self.here.epoch() == Some(epoch) {
            self.resend.set_fenced(mark + 1);
            self.resend_fenced();
            self.carry_out();
        }
    }

    fn denied(&mut self, epoch: u32, mark: u64, denials: Denials) {
        if let Some((epoch, mark)) = self.permissions.oldest_of_too_many() {
            self.judge_denials(epoch, mark);
            self.permissions.take(epoch, mark);
        }
        if self.denying().note(epoch, mark, denials) {
            self.carry_out();
            self.denying().weigh(epoch, mark);
            self.carry_out();
            self.denying().wait_for_acks(epoch, mark);
        }
        self.carry_out();
    }

    fn answer(&mut self, ask: u32, answer: StreamAnswer) {
        self.answered(ask, answer);
        self.carry_out();
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::LameDuck { server } => {
                self.event(EventKind::LameDuck, Status::Ok, 0, "", format!("{server} announced its shutdown (lame duck)"));
            }
            Notice::Discovered { servers } => self.event(EventKind::ServersDiscovered, Status::Ok, 0, "", format!("also in the cluster: {servers}")),
            Notice::Denied { topic, text } => {
                self.permissions.hear();
                self.here.shared().log(Level::Warn, || format!("{topic:?}: {text}"));
            }
            Notice::AlienReply => self.here.lane().counters.alien_replies.bump(1),
        }
    }
}

impl Handler {
    // ---- Verdicts ----

    /// The server stored it.
    #[inline]
    fn stored(&mut self, slot: u32, stream: &str, domain: &str, seq: u64, duplicate: bool) {
        let Some(s) = self.line.get(slot) else { return };
        let rule = s.rule;
        // Anyone who sees our inbox can forge an ack, and a topic can have two takers: the ack of a stream that the rule does not name is none.
        if let Some(whose) = self.foreign(rule, stream, domain) {
            if self.here.rule(rule).stream.as_deref() == Some(stream) {
                self.known.add_twin(stream);
            }
            return self.hear_foreign(slot, format!("stream {stream:?} acknowledged it, and {whose}"));
        }
        let flags = if duplicate && s.tainted().is_none() { REPORT_DUPLICATE as u8 } else { 0 };
        if duplicate {
            self.here.lane().counters.duplicates.bump(1);
        }
        let (gate, probe) = (s.gate, s.probe);
        if !self.permissions.are_quiet() {
            self.permissions.passed(s.topic());
        }
        if seq.is_multiple_of(LOOK_EVERY) || self.known.looks_at(rule) {
            self.look_at_ack(slot, rule, stream);
        }
        self.holding().somebody_takes(slot);
        let stream = match self.known.find(rule, stream, domain) {
            Some(stream) => stream,
            None => self.learn(slot, rule, stream, domain),
        };
        self.gates.acked(gate, self.here.settings().max_pending);
        if probe {
            self.holding().probe_answered(slot, Some(stream.name()));
            self.carry_out();
        }
        self.settle(slot, Ending::stored(stream, seq, flags));
    }

    /// One attempt was refused.
    pub(super) fn refused(&mut self, slot: u32, mut refusal: Refusal) {
        let Some(s) = self.line.get(slot) else { return };
        let rule = s.rule;
        if let Some(stream) = refusal.stream.clone() {
            if let Some(whose) = self.foreign(rule, &stream, "") {
                return self.hear_foreign(slot, format!("stream {stream:?} refused it ({}), and {whose}", refusal.text));
            }
            self.note_reached(slot, rule, &stream);
            if refusal.definite {
                refusal.definite = self.known.is_only_taker(rule, &stream, &self.here) && self.has_one_store(slot);
            }
        }
        let Some(s) = self.line.get_mut(slot) else { return };
        if !refusal.definite {
            s.taint();
        }
        let attempts = s.attempts;
        let settings = self.here.settings();
        let retry = match refusal.retry {
            Retry::IfStreamFull if settings.retry_stream_full => Retry::Backoff,
            Retry::IfStreamFull => Retry::No,
            // The stream's name was answered for, and it is gone: as if nobody had taken the message.
            Retry::No if refusal.status == Status::NoStream && settings.on_no_stream == OnNoStream::Wait => Retry::Hold(Trouble::NobodyThere),
            other => other,
        };
        let last = settings.max_attempts;
        let over = last != 0 && attempts >= last;
        // The doubt was noted above; this attempt is answered.
        self.line.set_stage(slot, Stage::Backoff);
        if retry == Retry::No || over {
            if retry == Retry::No {
                self.holding().probe_answered(slot, None);
                self.carry_out();
            } else {
                refusal.text = format!("{} (after {attempts} attempts, max_attempts is {last})", refusal.text);
            }
            return self.settle(slot, Ending::refused(refusal));
        }
        if let Some(s) = self.line.get_mut(slot) {
            s.set_last(refusal);
        }
        match retry {
            Retry::Hold(trouble) => self.holding().hold(slot, trouble),
            _ => {
                self.holding().probe_unclear(slot);
                self.holding().pause_behind(slot);
                if !self.holding().wait_again(slot) {
                    self.retry_later(slot);
                }
            }
        }
    }

    /// Whose word it is: `None` if this stream's counts for the rule's messages, else what is wrong with it. Refusals name no domain.
    #[inline(always)]
    fn foreign(&self, rule: u32, stream: &str, domain: &str) -> Option<String> {
        let named = self.here.rule(rule).stream.as_deref()?;
        if named == stream && (domain.is_empty() || self.here.settings().jetstream_domain.is_none()) { None } else { self.whose_word(named, stream, domain) }
    }

    #[cold]
    fn whose_word(&self, named: &str, stream: &str, domain: &str) -> Option<String> {
        if named != stream {
            return Some(format!("the rule names {named:?}"));
        }
        let wanted = self.here.settings().jetstream_domain.as_deref().filter(|wanted| !domain.is_empty() && *wanted != domain)?;
        Some(format!("it is that of the domain {domain:?}, while jetstream_domain is {wanted:?}"))
    }

    /// An answer of a stream that the rule does not name: neither an ack nor a proof. It is remembered, for whoever asks why no other came.
    #[cold]
    fn hear_foreign(&mut self, slot: u32, text: String) {
        self.here.lane().counters.alien_replies.bump(1);
        if let Some(s) = self.line.get_mut(slot) {
            s.set_foreign(text);
        }
        self.holding().probe_unclear(slot);
    }

    // ---- What acks tell of streams ----

    /// The first ack of this stream for a message of the rule, or one of many.
    #[cold]
    fn learn(&mut self, slot: u32, rule: u32, stream: &str, domain: &str) -> Arc<StreamId> {
        let new = !self.known.takers(rule).are_several();
        let id = self.known.intern(stream, domain);
        if new {
            if self.known.meet(rule, &id) {
                self.holding().join_line(rule, &id);
            } else {
                self.holding().leave_line(rule);
            }
            if !self.here.names_stream(rule)
                && let Some(topic) = self.line.get(slot).map(|s| s.topic().to_owned())
            {
                self.ask_about_taker(rule, stream, topic);
            }
            self.carry_out();
        }
        id
    }

    /// One ack of many is looked at.
    fn look_at_ack(&mut self, slot: u32, rule: u32, stream: &str) {
        self.note_reached(slot, rule, stream);
        if let Some(s) = self.line.get(slot).filter(|s| s.attempt == 1) {
            self.known.remember_acked(s.id & ID_MASK);
        }
    }

    /// This stream answered for this message. If the topic is none of its subjects, it is reached under another name.
    fn note_reached(&mut self, slot: u32, rule: u32, stream: &str) {
        let Some(s) = self.line.get(slot) else { return };
        if self.known.note_reached(rule, s.topic(), stream, &self.here) {
            let topic = s.topic().to_owned();
            self.ask_about_taker(rule, stream, topic);
        }
    }

    fn ask_about_taker(&mut self, rule: u32, stream: &str, topic: String) {
        let question = Question::Describe { stream: stream.to_owned(), rule: None };
        self.ask_soon(What::Describe, About::Taker { rule, topic }, question);
    }

    /// Whether only one store can have refused this message.
    fn has_one_store(&mut self, slot: u32) -> bool {
        let Some(topic) = self.line.get(slot).map(|s| s.topic().to_owned()) else { return false };
        self.ask_local(&topic);
        self.known.has_one_store(&topic, &self.here)
    }

    pub(super) fn ask_local(&mut self, topic: &str) {
        if self.known.asks_local(topic, &self.here) {
            let question = Question::WhoTakesHere { topic: topic.to_owned() };
            self.ask_soon(What::WhoTakesHere, About::Local { topic: topic.into() }, question);
        }
    }

    /// A question that a message's time is given for.
    pub(super) fn ask_soon(&mut self, what: What, about: About, question: Question) {
        self.asking.ask(self.here.ack_due(), what, about, question);
    }

    // ---- Answers ----

    /// An answer, or the lack of one.
    pub(super) fn answered(&mut self, ask: u32, answer: StreamAnswer) {
        let Some((what, about)) = self.asking.take(ask) else {
            self.here.lane().counters.late_acks.bump(1);
            return;
        };
        if let StreamAnswer::Exists { name, duplicate_window, subjects, differences, risks } = &answer
            && matches!(what, What::Describe | What::Create)
        {
            self.learn_description(name, *duplicate_window, subjects);
            self.warn_about(name, *duplicate_window, differences, risks);
        }
        if matches!(answer, StreamAnswer::Disabled { .. }) {
            self.known.doubt_absence(self.here.now() + RECOVERY);
        }
        match about {
            About::Silence { key } => self.silences.learn(key, what, answer, &self.here, &mut self.orders),
            About::Taker { rule, topic } => self.known.learn_taker(rule, &topic, &answer),
            About::Window { stream } => self.windows.answered(&stream, &answer, &mut self.line, &self.known, &self.here),
            About::Local { topic } => self.known.learn_local(topic, &answer),
            // The wire has learnt it, and is asked again.
            About::Place => {}
            About::Gate { gate, key, topic, rule } => {
                let Some(rules) = self.holding().expects(gate, &key, ask) else { return };
                if let StreamAnswer::Exists { subjects, .. } = &answer
                    && what != What::WhoTakes
                {
                    for rule in rules {
                        self.known.learn_subjects(rule, subjects, &self.here);
                    }
                }
                self.holding().answered(gate, rule, topic, what, answer);
            }
        }
    }

    fn learn_description(&mut self, name: &str, window: Option<Duration>, subjects: &[String]) {
        let Some(is_smaller) = self.known.learn_description(name, window, subjects, &self.here) else { return };
        self.windows.note_told(name, self.here.now());
        if is_smaller {
            self.resending().settle_what_is_too_late();
            self.carry_out();
        }
        self.holding().release_strangers(name);
        self.carry_out();
    }

    fn warn_about(&mut self, name: &str, window: Option<Duration>, differences: &[String], risks: &[String]) {
        if !differences.is_empty() {
            let text = format!("stream {name} is used as it is, though it differs from its topic rule: {}", differences.join("; "));
            self.orders.tell(EventKind::StreamDiffers, Status::Ok, 0, "", text);
        }
        let short = window.and_then(|window| short_window(window, self.here.settings().ack_wait));
        for risk in risks.iter().chain(&short) {
            self.orders.tell(EventKind::StreamRisk, Status::Ok, 0, "", format!("stream {name}: {risk}"));
        }
    }

    /// The connection is gone, and with it whoever was asked.
    fn forget_questions(&mut self) {
        self.asking.forget();
        self.silences.forget(&self.here, &mut self.orders);
        self.carry_out();
        self.windows.forget_asked(&mut self.line, &self.known, &self.here);
        self.holding().forget_asked();
    }
}

/// P4's bound is the window without the time that an answer is waited for: here nothing is left of it. A stream without a window is told of anyway.
fn short_window(window: Duration, ack_wait: Duration) -> Option<String> {
    (!window.is_zero() && window <= ack_wait).then(|| {
        let ms = ack_wait.as_millis();
        format!("its duplicate window of {window:?} is not larger than ack_wait_ms {ms}: what may have been stored is not sent again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_leaves_no_time_is_told() {
        let of = |window, ack_wait| short_window(Duration::from_millis(window), Duration::from_millis(ack_wait));
        let text = "its duplicate window of 5s is not larger than ack_wait_ms 5000: what may have been stored is not sent again";
        assert_eq!(of(5_000, 5_000).as_deref(), Some(text));
        assert!(of(100, 5_000).is_some());
        assert_eq!((of(5_001, 5_000), of(0, 5_000)), (None, None));
    }
}
