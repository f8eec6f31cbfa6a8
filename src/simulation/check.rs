//! The promises, held against the truth: what the publisher accepted and reported, and what the server knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::book::Seen;
use super::history::{History, Limits, Message, Report};
use super::said::first_ack;
use super::truth::{Attempt, StoredCopy, Told, Truth};
use crate::base::error::Persistence;

/// Compares a run with the truth. The error is the story of each promise that was broken.
pub(crate) fn check(history: &History, truth: &Truth, limits: &Limits) -> Result<(), String> {
    let case = Case::new(history, truth, limits)?;
    let stories: Vec<String> = Case::PROMISES.iter().filter_map(|promise| promise(&case).err()).collect();
    if stories.is_empty() { Ok(()) } else { Err(stories.join("\n")) }
}

/// A run, sorted.
pub(super) struct Case<'a> {
    pub(super) history: &'a History,
    pub(super) truth: &'a Truth,
    pub(super) limits: &'a Limits,
    pub(super) messages: BTreeMap<&'a [u8], &'a Message>,
    pub(super) reports: BTreeMap<u64, Vec<&'a Report>>,
    copies: BTreeMap<&'a [u8], Vec<&'a StoredCopy>>,
    attempts: BTreeMap<&'a [u8], Vec<&'a Attempt>>,
    /// The streams whose acknowledgements each rule has seen.
    pub(super) seen: Seen,
}

impl<'a> Case<'a> {
    fn new(history: &'a History, truth: &'a Truth, limits: &'a Limits) -> Result<Self, String> {
        let messages: BTreeMap<&[u8], &Message> = history.accepted.iter().map(|message| (&message.payload[..], message)).collect();
        if messages.len() != history.accepted.len() {
            return Err("the test itself is wrong: two messages have the same payload".into());
        }
        let reports = group(history.reports.iter().map(|report| (report.id, report)));
        let copies = group(truth.copies.iter().map(|copy| (&copy.payload[..], copy)));
        let attempts = group(truth.attempts.iter().map(|attempt| (&attempt.payload[..], attempt)));
        let mut case = Self { history, truth, limits, messages, reports, copies, attempts, seen: Seen::default() };
        let mut seen = Seen::default();
        for message in &history.accepted {
            let Some(report) = case.report_of(message).filter(|report| report.persistence == Persistence::Persisted) else { continue };
            let first = first_ack(&history.rules, truth, limits, message, case.attempts_of(message));
            // Of two that were read at once the report says which came first.
            let others = case.attempts_of(message).iter().any(|attempt| !attempt.words.is_empty());
            match first {
                Some((at, _)) if !report.stream.is_empty() => seen.note(message.rule, &report.stream, at),
                Some((at, stream)) if !others => seen.note(message.rule, stream, at),
                _ => {}
            }
        }
        case.seen = seen;
        Ok(case)
    }

    /// The one report of a message, if it is one.
    pub(super) fn report_of(&self, message: &Message) -> Option<&'a Report> {
        let Some([report]) = self.reports.get(&message.id).map(Vec::as_slice) else { return None };
        Some(report)
    }

    /// When the message was settled; never, if it was not.
    pub(super) fn settled_at(&self, message: &Message) -> u64 {
        self.report_of(message).map_or(u64::MAX, |report| report.at)
    }

    pub(super) fn attempts_of(&self, message: &Message) -> &[&'a Attempt] {
        self.attempts.get(&message.payload[..]).map_or(&[], Vec::as_slice)
    }

    pub(super) fn copies_of(&self, message: &Message) -> &[&'a StoredCopy] {
        self.copies.get(&message.payload[..]).map_or(&[], Vec::as_slice)
    }

    #[allow(clippy::type_complexity, reason = "one list of tests")]
    const PROMISES: [fn(&Self) -> Result<(), String>; 14] = [
        Self::protocol,
        Self::one_report_each,
        Self::pending_within_limits,
        Self::reports_are_true,
        Self::nothing_else_is_stored,
        Self::one_copy_each,
        Self::resends_are_allowed,
        Self::attempts_are_few,
        Self::questions_are_few,
        Self::ends_have_reasons,
        Self::nobody_is_stuck,
        Self::in_flight_is_kept,
        Self::nothing_new_passes,
        Self::order_is_kept,
    ];

    fn protocol(&self) -> Result<(), String> {
        self.truth.breaches.first().map_or(Ok(()), |breach| Err(format!("breach of the protocol, {} in all; the first {breach}", self.truth.breaches.len())))
    }

    /// P1, and its deadline.
    fn one_report_each(&self) -> Result<(), String> {
        let known: BTreeSet<u64> = self.history.accepted.iter().map(|message| message.id).collect();
        if let Some(stray) = self.history.reports.iter().find(|report| !known.contains(&report.id)) {
            return Err(format!("P1: a report for id {}, which was never accepted: {stray:?}", stray.id));
        }
        for message in &self.history.accepted {
            let reports = self.reports.get(&message.id).map_or(&[][..], Vec::as_slice);
            let [report] = reports else { return Err(self.story(message, &format!("P1: {} reports instead of one", reports.len()))) };
            let latest = self.limits.latest(message.accepted_at + message.delivery_timeout.unwrap_or(self.limits.delivery_timeout));
            if report.at > latest {
                return Err(self.story(message, &format!("P1: reported later than {}", time(latest))));
            }
        }
        Ok(())
    }

    /// P3.
    fn pending_within_limits(&self) -> Result<(), String> {
        let (history, limits) = (self.history, self.limits);
        if history.pending > limits.max_pending {
            return Err(format!("P3: {} messages pending, {} are allowed", history.pending, limits.max_pending));
        }
        if history.pending_bytes > limits.max_pending_bytes {
            return Err(format!("P3: {} bytes pending, {} are allowed", history.pending_bytes, limits.max_pending_bytes));
        }
        Ok(())
    }

    /// P2, seen from the streams: only what was accepted, as it was accepted.
    fn nothing_else_is_stored(&self) -> Result<(), String> {
        for copy in &self.truth.copies {
            let Some(message) = self.messages.get(&copy.payload[..]) else {
                return Err(format!("P2: {} holds what was never accepted, at sequence {}: {}", copy.stream, copy.seq, super::frame::show(&copy.payload)));
            };
            let wrong = if message.topic != copy.subject {
                format!("P2: stored under {}", copy.subject)
            } else if message.msg_id.is_some() && message.msg_id != copy.msg_id {
                format!("P2: stored with the id {:?}", copy.msg_id)
            } else {
                continue;
            };
            return Err(self.story(message, &wrong));
        }
        let mut seen = BTreeSet::new();
        let twice = self.truth.ephemeral.iter().find(|ephemeral| !seen.insert(&ephemeral.payload));
        twice.map_or(Ok(()), |ephemeral| {
            let (subject, at, conn) = (&ephemeral.subject, time(ephemeral.at), ephemeral.conn);
            Err(format!("an ephemeral message to {subject} was sent twice, the second time at {at} on connection {conn}"))
        })
    }

    fn attempts_are_few(&self) -> Result<(), String> {
        let limits = self.limits;
        for message in &self.history.accepted {
            let attempts = self.attempts_of(message).len();
            if attempts > limits.max_attempts {
                return Err(self.story(message, &format!("{attempts} attempts, {} are enough", limits.max_attempts)));
            }
        }
        if self.truth.attempts.len() > limits.max_attempts_total {
            let (all, messages) = (self.truth.attempts.len(), self.history.accepted.len());
            return Err(format!("{all} attempts for {messages} messages, {} are enough", limits.max_attempts_total));
        }
        self.truth.storms.iter().try_for_each(|(stream, from, to)| self.storm_is_weathered(stream, *from, *to))
    }

    /// While a stream answers everything with 10023, what was in flight comes once and probes come alone.
    fn storm_is_weathered(&self, stream: &str, from: u64, to: u64) -> Result<(), String> {
        let refused = |attempt: &&Attempt| {
            attempt.said_by.as_deref() == Some(stream) && attempt.told == Told::Unclear && attempt.processed.is_some_and(|at| from <= at && at < to)
        };
        let refused: Vec<&Attempt> = self.truth.attempts.iter().filter(refused).collect();
        let messages = refused.iter().map(|attempt| &attempt.payload).collect::<BTreeSet<_>>().len();
        let connections = refused.iter().map(|attempt| attempt.conn).collect::<BTreeSet<_>>().len();
        // Topics whose stream is not known have gates of their own.
        let topics = refused.iter().map(|attempt| &attempt.subject).collect::<BTreeSet<_>>().len();
        // When everybody who waited is settled, the gate is open, and the next message begins anew.
        let given_up = self.history.accepted.iter().filter(|message| (from..to).contains(&self.settled_at(message))).count();
        let holds = 1 + given_up.min(messages);
        let most = messages + connections * topics * holds * self.limits.probes_within((to - from) / holds as u64);
        if refused.len() > most {
            let (from, to) = (time(from), time(to));
            return Err(format!("storm: {stream} refused {} attempts of {messages} messages from {from} to {to}, {most} are enough", refused.len()));
        }
        Ok(())
    }

    /// All that is known of a message.
    pub(super) fn story(&self, message: &Message, what: &str) -> String {
        let mut story = format!("{what}\n  message {} of thread {} to {}, {} bytes", message.id, message.thread, message.topic, message.payload.len());
        let mut line = |text: String| _ = write!(story, "\n  {text}");
        line(format!("{} accepted", time(message.accepted_at)));
        for attempt in self.attempts_of(message) {
            let or_never = |at: Option<u64>| at.map_or("never".into(), time);
            line(format!(
                "{} to {} sent on connection {}, id {:?}, read {}: {:?}; told {:?}, read {}; fence {}",
                time(attempt.first_byte),
                time(attempt.last_byte),
                attempt.conn,
                attempt.msg_id,
                or_never(attempt.processed),
                attempt.effect,
                attempt.told,
                or_never(attempt.answered),
                or_never(attempt.fenced)
            ));
            for word in &attempt.words {
                line(format!("  {:?} by {:?} of {:?}, read {}", word.told, word.stream, word.domain, or_never(word.read)));
            }
        }
        for copy in self.copies_of(message) {
            let abroad = if copy.abroad { " abroad" } else { "" };
            line(format!("{} stored in {}{abroad} at sequence {}, from connection {}", time(copy.at), copy.stream, copy.seq, copy.conn));
        }
        for report in self.reports.get(&message.id).into_iter().flatten() {
            let flag = if report.duplicate { ", duplicate" } else { "" };
            line(format!("{} reported {:?}, sequence {}{flag}: {}", time(report.at), report.persistence, report.seq, report.text));
        }
        story.push('\n');
        story
    }
}

pub(super) fn group<K: Ord, V>(pairs: impl Iterator<Item = (K, V)>) -> BTreeMap<K, Vec<V>> {
    let mut groups: BTreeMap<K, Vec<V>> = BTreeMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}

pub(super) fn time(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000)
}
