//! When a message may end before its time without being stored: above all because no stream takes it.

use super::check::Case;
use super::history::{Message, Report};
use super::said::{Said, said};
use super::truth::{Asking, Attempt, Says, Told};
use crate::base::error::Persistence;

/// How long after the last fault a message may still wait: for a connection that is silent to be given up, for questions without an answer, for a probe.
const TO_RECOVER: u64 = 6_000_000_000;

impl Case<'_> {
    /// P2, *Absence*: that there is no stream, or that one cannot be made, is told early with a reason only; and nobody gives up early on a silent stream.
    pub(super) fn ends_have_reasons(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let Some(report) = self.report_of(message).filter(|report| report.persistence != Persistence::Persisted) else { continue };
            let deadline = message.accepted_at + message.delivery_timeout.unwrap_or(self.limits.delivery_timeout);
            if report.at + self.limits.slack >= deadline {
                continue;
            }
            let wrong = match report.text.split(' ').next() {
                Some("NO_STREAM") => self.no_reason_for_absence(message, report),
                Some("CREATE_FAILED") => self.no_reason_for_failure(message, report),
                Some("ACK_TIMEOUT") => self.no_reason_for_silence(message, report),
                Some("REJECTED" | "UNAVAILABLE" | "OVERLOADED" | "QUOTA_EXCEEDED" | "STREAM_FULL") => self.no_refusal(message, report),
                _ => None,
            };
            if let Some(wrong) = wrong {
                return Err(self.story(message, wrong));
            }
        }
        Ok(())
    }

    fn attempts_are_counted(&self) -> bool {
        self.limits.max_attempts < 1_000
    }

    fn no_reason_for_absence(&self, message: &Message, report: &Report) -> Option<&'static str> {
        let at = report.at;
        if self.attempts_are_counted() && self.attempts_of(message).len() >= self.limits.max_attempts {
            return None;
        }
        if self.limits.waits_for_streams {
            return Some("absence: NO_STREAM was told before the deadline, although on_no_stream=wait");
        }
        let saying = self.history.rules.at(message.rule, at);
        let read = |question: &&Asking, says: Says| question.says == says && question.read.is_some_and(|read| read <= at);
        // Whoever acknowledged before may be reached in ways that the API does not know: then only a stream that is really gone may be told to be.
        // One that is gone is told, also where a mapping gives some of the topic's messages to another.
        // Nor does a rule without a stream of its own know of a way that no message of it went yet.
        let known_way = saying.is_some_and(|saying| saying.stream.is_some()) || self.took_before(message, at);
        let own_lives = self.truth.stream_of(&message.topic).is_none_or(|own| self.truth.lives(own, at));
        if known_way
            && own_lives
            && self.seen.before(message.rule, at).any(|stream| self.truth.lives(stream, at))
            && self.truth.takers(&message.topic, at).next().is_some()
        {
            return Some("absence: NO_STREAM was told, although a stream takes the topic and one had acknowledged the rule");
        }
        // One that exists and takes other subjects is not created.
        let named = saying.and_then(|saying| saying.stream.as_deref()).unwrap_or_default();
        let exists = self.truth.questions.iter().any(|question| question.words.ends_with(named) && read(&question, Says::Exists));
        if saying.is_some_and(|saying| saying.create) && !exists && !self.creation_was_refused(at) {
            return Some("absence: NO_STREAM was told, although the rule creates its stream and nobody refused that");
        }
        if !self.truth.questions.iter().any(|question| read(&question, Says::Absent)) {
            return Some("absence: NO_STREAM was told, although nobody said that there is none");
        }
        let named = saying.and_then(|saying| saying.stream.as_deref());
        let same = |other: &Message| other.rule == message.rule || (named.is_some() && self.history.rules.named(other.rule, at) == named);
        let probed = self
            .history
            .accepted
            .iter()
            .filter(|other| same(other))
            .any(|other| self.attempts_of(other).iter().any(|attempt| said(self.truth, attempt).any(|said| said.told == Told::Refused && said.read <= at)));
        // One that acknowledged before, was described and is gone needs no message to tell.
        let acked = self.history.accepted.iter().any(|other| named.is_some_and(|named| self.seen.before(other.rule, at).any(|stream| stream == named)));
        (!probed && !acked).then_some("absence: NO_STREAM was told, although no message was tried")
    }

    /// An ack showed before that a stream takes the topic, or that some topic is taken by a stream whose own it is not.
    fn took_before(&self, message: &Message, at: u64) -> bool {
        self.truth.attempts.iter().any(|attempt| {
            let elsewhere = |said: &Said<'_>| said.stream.is_some() && said.stream != self.truth.stream_of(&attempt.subject);
            said(self.truth, attempt).any(|said| said.told == Told::Ack && said.read < at && (attempt.subject == message.topic || elsewhere(&said)))
        })
    }

    /// Only the answer to one of its own attempts ends a message so.
    fn no_refusal(&self, message: &Message, report: &Report) -> Option<&'static str> {
        let refused = |said: &Said<'_>| matches!(said.told, Told::Refused | Told::Unclear) && said.read <= report.at;
        let refused = self.attempts_of(message).iter().any(|attempt| self.answers(message, attempt).any(|said| refused(&said)));
        // A damaged reply may be an error that says nothing.
        let nameless = report.text.contains("(code 0, error 0)");
        (!refused && !nameless).then_some("its report tells of a refusal, and none of its attempts was refused")
    }

    /// A message whose time ran out although its stream takes messages, and nothing is wrong any more.
    pub(super) fn nobody_is_stuck(&self) -> Result<(), String> {
        let healed = self.limits.healed_at;
        for message in &self.history.accepted {
            let Some(report) = self.report_of(message).filter(|report| report.persistence != Persistence::Persisted) else { continue };
            let deadline = message.accepted_at + message.delivery_timeout.unwrap_or(self.limits.delivery_timeout);
            let at_deadline = report.at >= deadline && !report.text.starts_with("CLOSED") && !report.text.starts_with("PURGED");
            if !at_deadline || deadline < healed.max(message.accepted_at) + TO_RECOVER || self.truth.mapped.iter().any(|(topic, _, _)| *topic == message.topic)
            {
                continue;
            }
            let Some(stream) = self.truth.stream_of(&message.topic).filter(|stream| self.truth.lives(stream, healed) && self.truth.lives(stream, deadline))
            else {
                continue;
            };
            let other = self.history.rules.named(message.rule, report.at).is_some_and(|named| named != stream);
            // A full stream refuses for ever, and its gate waits for one that it takes.
            let of_stream = self.truth.attempts.iter().filter(|attempt| self.truth.stream_of(&attempt.subject) == Some(stream));
            let refuses = of_stream.flat_map(|attempt| said(self.truth, attempt)).any(|said| said.read > healed && said.told != Told::Ack);
            if !other && !refuses && !self.waits_for_a_place(message, deadline) {
                return Err(self.story(message, "its time ran out, although its stream takes messages and nothing has been wrong for long"));
            }
        }
        Ok(())
    }

    /// Its rule has a limit, and a message before it, which is judged by itself, had a place until then and was not stored.
    fn waits_for_a_place(&self, message: &Message, until: u64) -> bool {
        let stored = |other: &Message| self.report_of(other).is_some_and(|report| report.persistence == Persistence::Persisted);
        let keeps = |other: &&Message| other.rule == message.rule && other.id < message.id && self.settled_at(other) + TO_RECOVER >= until && !stored(other);
        self.history.rules.is_ever_limited(message.rule) && self.history.accepted.iter().any(|other| keeps(&other) && !self.attempts_of(other).is_empty())
    }

    /// The server refused to create a stream, or the permissions did.
    fn creation_was_refused(&self, at: u64) -> bool {
        let creation = |question: &Asking| question.words.starts_with("STREAM.CREATE.") && question.says == Says::Refuses;
        self.truth.questions.iter().any(|question| creation(question) && question.read.is_some_and(|read| read <= at))
    }

    fn no_reason_for_failure(&self, _: &Message, report: &Report) -> Option<&'static str> {
        (!self.creation_was_refused(report.at)).then_some("absence: CREATE_FAILED was told, although nobody refused to create the stream")
    }

    /// Before the deadline a silent message is given up only when it may not be sent again.
    fn no_reason_for_silence(&self, message: &Message, report: &Report) -> Option<&'static str> {
        let (limits, attempts) = (self.limits, self.attempts_of(message));
        let repeats = attempts.iter().all(|attempt| attempt.msg_id.is_some()) || limits.resend_without_msg_id;
        if !repeats || self.attempts_are_counted() {
            return None;
        }
        // Where messages got second answers no refusal is proof any more.
        let answers = |attempt: &Attempt| said(self.truth, attempt).filter(|said| said.read <= report.at && said.stream.is_some()).count();
        if self.truth.attempts.iter().any(|attempt| answers(attempt) > 1) {
            return None;
        }
        // What was silent stays in doubt, and so does what one refused where the rule names none.
        let proves = |attempt: &Attempt, said: &Said<'_>| {
            let named = self.history.rules.named(message.rule, said.read).is_some();
            let in_time = said.read <= report.at.min(attempt.last_byte + limits.ack_wait);
            // Behind a leaf node nobody can tell who refuses.
            said.told == Told::Refused && in_time && limits.domain.is_none() && (named || said.stream.is_none())
        };
        let refused = |attempt: &Attempt| {
            self.answers(message, attempt).any(|said| proves(attempt, &said)) && !self.answers(message, attempt).any(|said| said.told == Told::Unclear)
        };
        let Some(first) = attempts.iter().filter(|attempt| !refused(attempt)).map(|attempt| attempt.last_byte).min() else {
            // What was written to a connection that was cut may be an attempt that the server never saw.
            return (self.truth.opened.len() <= 1).then_some("ACK_TIMEOUT was told, although every attempt was refused");
        };
        let windows = self.truth.windows.values().flatten().map(|(_, window)| *window);
        let least = windows.chain([limits.duplicate_window]).min().unwrap_or(0);
        let until = limits.age(first) + least.saturating_sub(limits.ack_wait);
        (limits.age(report.at) + limits.slack < until).then_some("ACK_TIMEOUT was told, although there was time and leave to send it again")
    }
}
