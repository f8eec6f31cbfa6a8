//! The promises, held against the truth: what the publisher accepted and reported, and what the server knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::truth::{Attempt, Effect, StoredCopy, Told, Truth};
use crate::error::Persistence;

/// A message that `publish` accepted. Its payload is unlike all others.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) thread: u32,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// The caller's own id, if it gave one.
    pub(crate) msg_id: Option<String>,
    pub(crate) accepted_at: u64,
    /// Its own time to be delivered in; else that of all.
    pub(crate) delivery_timeout: Option<u64>,
}

/// An outcome as the user saw it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) persistence: Persistence,
    /// The stream's sequence, or 0 when the report gives none.
    pub(crate) seq: u64,
    pub(crate) duplicate: bool,
    /// The wire had the message at least once, whether or not it left.
    pub(crate) staged: bool,
    /// Status and text, for the story.
    pub(crate) text: String,
}

/// One run as its user saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Each thread's messages in the order in which it published them.
    pub(crate) accepted: Vec<Message>,
    pub(crate) reports: Vec<Report>,
    /// The highest figures ever seen.
    pub(crate) pending: u64,
    pub(crate) pending_bytes: u64,
}

/// What was configured. Times in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_pending: u64,
    pub(crate) max_pending_bytes: u64,
    pub(crate) ack_wait: u64,
    pub(crate) delivery_timeout: u64,
    /// The duplicate window that the handler reckons with.
    pub(crate) duplicate_window: u64,
    pub(crate) resend_without_msg_id: bool,
    /// How much later than due a report or a resend may be, its way through buffers included.
    pub(crate) slack: u64,
    /// How long a frame that cannot be taken back may wait for a slow network.
    pub(crate) outbox: u64,
    /// When the client's process stood still, and how long.
    pub(crate) client_pauses: Vec<(u64, u64)>,
    /// When the client's machine slept for how long, as far as only its wall clock noticed.
    pub(crate) suspends: Vec<(u64, u64)>,
    pub(crate) max_attempts: usize,
    /// Attempts of all messages together.
    pub(crate) max_attempts_total: usize,
    /// Streams whose rule says `in_flight=1`: refusals do not excuse disorder there.
    pub(crate) strictly_ordered: BTreeSet<String>,
}

impl Limits {
    /// The latest time at which something due at `due` may be seen.
    fn latest(&self, due: u64) -> u64 {
        self.client_pauses.iter().fold(due + self.slack, |latest, &(from, len)| if from <= latest { latest.max(from + len + self.slack) } else { latest })
    }
}

impl Limits {
    /// What the wall clock says.
    fn age(&self, at: u64) -> u64 {
        at + self.suspends.iter().filter(|(from, _)| *from <= at).map(|(_, len)| len).sum::<u64>()
    }
}

/// Compares a run with the truth. The error is the story of the first promise that was broken.
pub(crate) fn check(history: &History, truth: &Truth, limits: &Limits) -> Result<(), String> {
    let case = Case::new(history, truth, limits)?;
    case.protocol()?;
    case.one_report_each()?;
    case.pending_within_limits()?;
    case.reports_are_true()?;
    case.nothing_else_is_stored()?;
    case.one_copy_each()?;
    case.resends_are_allowed()?;
    case.attempts_are_few()?;
    case.order_is_kept()
}

struct Case<'a> {
    history: &'a History,
    truth: &'a Truth,
    limits: &'a Limits,
    messages: BTreeMap<&'a [u8], &'a Message>,
    reports: BTreeMap<u64, Vec<&'a Report>>,
    copies: BTreeMap<&'a [u8], Vec<&'a StoredCopy>>,
    attempts: BTreeMap<&'a [u8], Vec<&'a Attempt>>,
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
        Ok(Self { history, truth, limits, messages, reports, copies, attempts })
    }

    fn attempts_of(&self, message: &Message) -> &[&'a Attempt] {
        self.attempts.get(&message.payload[..]).map_or(&[], Vec::as_slice)
    }

    fn copies_of(&self, message: &Message) -> &[&'a StoredCopy] {
        self.copies.get(&message.payload[..]).map_or(&[], Vec::as_slice)
    }

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

    /// P2, seen from the reports.
    fn reports_are_true(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let Some([report]) = self.reports.get(&message.id).map(Vec::as_slice) else { continue };
            let (copies, attempts) = (self.copies_of(message), self.attempts_of(message));
            let acks = attempts.iter().filter(|attempt| attempt.told == Told::Ack).filter_map(|attempt| attempt.answered);
            let acked = acks.min();
            // A frame whose payload never reached the server cannot be told from others on its subject.
            let sent = report.staged
                || !attempts.is_empty()
                || self.truth.attempts.iter().any(|attempt| attempt.payload.is_empty() && attempt.subject == message.topic);
            let wrong = match report.persistence {
                Persistence::Persisted if copies.is_empty() => "P2: reported PERSISTED, but no stream holds it",
                Persistence::Persisted if report.seq != 0 && copies.iter().all(|copy| copy.seq != report.seq) => "P2: reported with another message's sequence",
                Persistence::Persisted if report.duplicate => "P2: flagged as a duplicate, although only its own attempts carry its id",
                Persistence::Persisted if acked.is_none_or(|at| at > report.at) => "P2: reported PERSISTED before any ack was read",
                Persistence::NotPersisted if !copies.is_empty() => "P2: reported NOT_PERSISTED, but a stream holds it",
                Persistence::PossiblyPersisted if !sent => "P2: reported POSSIBLY_PERSISTED, but it never left",
                Persistence::PossiblyPersisted | Persistence::NotPersisted if acked.is_some_and(|at| self.limits.latest(at) < report.at) => {
                    "P2: its ack was read long before the report, which does not know it"
                }
                _ => continue,
            };
            return Err(self.story(message, wrong));
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

    /// P4: as long as the server remembers the id.
    fn one_copy_each(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let copies = self.copies_of(message);
            let has_id = copies.iter().all(|copy| copy.msg_id.is_some());
            if let Some(pair) = copies.windows(2).find(|pair| has_id && pair[1].at < pair[0].at + self.limits.duplicate_window) {
                return Err(self.story(message, &format!("P4: two copies, at sequences {} and {}", pair[0].seq, pair[1].seq)));
            }
        }
        let ids = group(self.truth.attempts.iter().filter_map(|attempt| Some((attempt.msg_id.as_deref()?, &attempt.payload))));
        for (id, payloads) in ids {
            if payloads.iter().any(|payload| *payload != payloads[0] && !payload.is_empty() && !payloads[0].is_empty()) {
                return Err(format!("P4: two messages share the id {id}"));
            }
        }
        Ok(())
    }

    /// P4 and its fences: each attempt against those before it.
    fn resends_are_allowed(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let attempts = self.attempts_of(message);
            for (n, attempt) in attempts.iter().enumerate() {
                // Attempts are in the order in which the server saw them; a zombie's bytes may come after newer ones.
                let earlier = attempts.iter().enumerate().filter(|&(m, other)| (other.first_byte, m) < (attempt.first_byte, n)).map(|(_, other)| *other);
                for other in earlier {
                    if let Some(wrong) = self.forbidden(other, attempt) {
                        return Err(self.story(message, &format!("{wrong} (the attempt at {})", time(attempt.first_byte))));
                    }
                }
            }
        }
        Ok(())
    }

    /// Why `later` should not have been sent after `earlier`.
    fn forbidden(&self, earlier: &Attempt, later: &Attempt) -> Option<&'static str> {
        let limits = self.limits;
        if earlier.msg_id != later.msg_id {
            return Some("P4: sent again with another id");
        }
        if later.first_byte < earlier.last_byte {
            return Some("sent again while an earlier attempt was still going out");
        }
        let answered = earlier.answered.is_some_and(|at| at <= later.first_byte);
        if earlier.conn == later.conn && !answered {
            if later.first_byte < earlier.last_byte + limits.ack_wait {
                return Some("sent again before ack_wait was over");
            }
            if earlier.fenced.is_none_or(|at| at > later.first_byte) {
                return Some("sent again on the same connection before a PONG told that the first was read");
            }
        }
        match earlier.told {
            Told::Ack if earlier.answered.is_some_and(|at| later.first_byte > limits.latest(at) + limits.outbox) => {
                return Some("sent again although its ack had been read");
            }
            Told::Refused if answered => return None,
            // Whether an -ERR proves anything depends on the fences around it; the server at least stored nothing.
            Told::Denied => return None,
            _ => {}
        }
        if later.msg_id.is_none() {
            // Where the user allows it there is no window either: the stream knows no id to compare.
            return (!limits.resend_without_msg_id).then_some("P4: sent again without an id, although it may be stored");
        }
        let bound = limits.age(earlier.last_byte) + limits.duplicate_window.saturating_sub(limits.ack_wait);
        (limits.age(later.first_byte) > bound + limits.slack).then_some("P4: sent again too late for the duplicate window")
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
        Ok(())
    }

    /// P10: per stream and thread, where the server refused and swallowed nothing.
    fn order_is_kept(&self) -> Result<(), String> {
        let refused: BTreeSet<&str> = self
            .truth
            .attempts
            .iter()
            .filter(|attempt| matches!(attempt.effect, Effect::NotStored(_)))
            .filter_map(|attempt| self.truth.stream_of(&attempt.subject))
            .collect();
        let place: BTreeMap<u64, usize> = self.history.accepted.iter().enumerate().map(|(place, message)| (message.id, place)).collect();
        let mut newest: BTreeMap<(&str, u32), &Message> = BTreeMap::new();
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for copy in &self.truth.copies {
            let Some(message) = self.messages.get(&copy.payload[..]) else { continue };
            let excused = refused.contains(&copy.stream[..]) && !self.limits.strictly_ordered.contains(&copy.stream);
            // A second copy, which P4 judges, says nothing about the order.
            if excused || !seen.insert(message.id) {
                continue;
            }
            let before = newest.insert((&copy.stream, message.thread), message);
            if let Some(before) = before.filter(|before| place[&before.id] > place[&message.id]) {
                return Err(
                    self.story(message, &format!("P10: stored behind message {}, which was accepted later", before.id)) + &self.story(before, "The other")
                );
            }
        }
        Ok(())
    }

    /// All that is known of a message.
    fn story(&self, message: &Message, what: &str) -> String {
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
        }
        for copy in self.copies_of(message) {
            line(format!("{} stored in {} at sequence {}, from connection {}", time(copy.at), copy.stream, copy.seq, copy.conn));
        }
        for report in self.reports.get(&message.id).into_iter().flatten() {
            let flag = if report.duplicate { ", duplicate" } else { "" };
            line(format!("{} reported {:?}, sequence {}{flag}: {}", time(report.at), report.persistence, report.seq, report.text));
        }
        story.push('\n');
        story
    }
}

fn group<K: Ord, V>(pairs: impl Iterator<Item = (K, V)>) -> BTreeMap<K, Vec<V>> {
    let mut groups: BTreeMap<K, Vec<V>> = BTreeMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}

fn time(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000)
}
