//! P2: whose word counts, and whether what was told is true.

use super::check::Case;
use super::history::{Message, Report};
use super::said::{Said, first_ack, said};
use super::truth::{Attempt, Effect, StoredCopy, Told};
use crate::base::error::Persistence;

impl Case<'_> {
    /// The answers to an attempt that are none by another stream, and were read.
    pub(super) fn answers<'b>(&'b self, message: &'b Message, attempt: &'b Attempt) -> impl Iterator<Item = Said<'b>> {
        said(self.truth, attempt).filter(|said| said.told != Told::Nothing && !said.is_foreign(&self.history.rules, self.limits, message.rule))
    }

    /// P2, seen from the reports.
    pub(super) fn reports_are_true(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let Some(report) = self.report_of(message) else { continue };
            if let Some(wrong) = self.untrue(message, report).or_else(|| self.judged_unread(message, report)) {
                return Err(self.story(message, wrong));
            }
        }
        Ok(())
    }

    fn untrue(&self, message: &Message, report: &Report) -> Option<&'static str> {
        let (copies, attempts) = (self.copies_of(message), self.attempts_of(message));
        let acked = first_ack(&self.history.rules, self.truth, self.limits, message, attempts).map(|(at, _)| at);
        // A frame whose payload never reached the server cannot be told from others on its subject.
        let sent =
            report.staged || !attempts.is_empty() || self.truth.attempts.iter().any(|attempt| attempt.payload.is_empty() && attempt.subject == message.topic);
        let named = self.history.rules.named(message.rule, report.at);
        let is_reported = |copy: &&StoredCopy| copy.seq == report.seq && (report.stream.is_empty() || report.stream == copy.stream);
        let wrong = match report.persistence {
            Persistence::Persisted if copies.is_empty() => "P2: reported PERSISTED, but no stream holds it",
            Persistence::Persisted if !report.stream.is_empty() && named.is_some_and(|named| named != report.stream) => {
                "P2: reported PERSISTED by a stream that its rule does not name"
            }
            Persistence::Persisted if report.seq != 0 && !copies.iter().copied().any(|copy| is_reported(&copy)) => {
                "P2: reported with another message's sequence, or another stream's"
            }
            Persistence::Persisted if report.duplicate && !self.may_be_flagged(message, named) => {
                "P2: flagged as a duplicate, although only its own attempts carry its id"
            }
            Persistence::Persisted if acked.is_none_or(|at| at > report.at) => "P2: reported PERSISTED before any ack was read",
            Persistence::NotPersisted if copies.iter().any(|copy| self.counts(named, copy) && !self.was_disproved(message, report, copy)) => {
                "P2: reported NOT_PERSISTED, but a stream holds it"
            }
            Persistence::PossiblyPersisted if !sent => "P2: reported POSSIBLY_PERSISTED, but it never left",
            Persistence::PossiblyPersisted | Persistence::NotPersisted if acked.is_some_and(|at| self.limits.latest(at) < report.at) => {
                "P2: its ack was read long before the report, which does not know it"
            }
            _ => return None,
        };
        Some(wrong)
    }

    /// Whether its time was judged with an ack there to be read. What somebody refused, the user purged or closed ends without.
    fn judged_unread(&self, message: &Message, report: &Report) -> Option<&'static str> {
        let judged = report.persistence != Persistence::Persisted && (report.text.starts_with("ACK_TIMEOUT") || report.text.contains("deadline"));
        let unread = self.history.unread.get(&report.at).into_iter().flatten().filter_map(|&attempt| self.truth.attempts.get(attempt));
        let mine = |attempt: &Attempt| attempt.payload == message.payload && attempt.told == Told::Ack;
        // One of another stream than the rule's is none.
        let named = self.history.rules.named(message.rule, report.at);
        let counts = |attempt: &&Attempt| mine(attempt) && named.is_none_or(|named| attempt.said_by.as_deref() == Some(named));
        (judged && unread.into_iter().any(|attempt| counts(&attempt))).then_some("P2: its time was judged with its ack there to be read")
    }

    /// What others say may be believed where the rule names no stream: then an earlier attempt counts as not stored, and the flag is right.
    fn may_be_flagged(&self, message: &Message, named: Option<&str>) -> bool {
        let others = self.attempts_of(message).iter().any(|attempt| !attempt.words.is_empty());
        (named.is_none() && others) || self.copies_of(message).iter().any(|copy| copy.abroad)
    }

    /// Whether this copy makes the message stored: it is in the stream that the rule names, in the domain that is asked; in any, if the rule names none.
    fn counts(&self, named: Option<&str>, copy: &StoredCopy) -> bool {
        named.is_none_or(|named| named == copy.stream && (self.limits.domain.is_none() || !copy.abroad))
    }

    /// Where several streams take a topic and the rule names none, a refusal is believed as long as no other stream's acknowledgement was seen: so nobody can do
    /// better. This copy's attempt had such a refusal.
    fn was_disproved(&self, message: &Message, report: &Report, copy: &StoredCopy) -> bool {
        if self.history.rules.named(message.rule, report.at).is_some() {
            return false;
        }
        let made = |attempt: &&&Attempt| match &attempt.effect {
            Effect::Stored { stream, seq } if !copy.abroad => (stream, *seq) == (&copy.stream, copy.seq),
            _ => attempt.conn == copy.conn && attempt.processed == Some(copy.at),
        };
        let believable = |said: &Said<'_>| {
            let Some(stream) = said.stream else { return false };
            said.told == Told::Refused && said.read <= report.at && self.seen.before(message.rule, said.read).all(|seen| seen == stream)
        };
        let attempts = self.attempts_of(message);
        attempts.iter().filter(made).all(|attempt| said(self.truth, attempt).any(|said| believable(&said))) && attempts.iter().any(|attempt| made(&attempt))
    }
}
