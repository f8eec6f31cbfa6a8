//! P4: one copy, as far as the bus can know the window; and how often it asks.

use super::check::{Case, group, time};
use super::history::Message;
use super::truth::{Asking, Attempt, Says, StoredCopy, Told};

const SECOND: u64 = 1_000_000_000;
/// A window that was told is believed for so long.
const FRESH: u64 = SECOND;
/// One that could not be had is asked for again after so long.
const DEAF: u64 = 5 * SECOND;
/// Questions about streams that may be open at a time.
const MOST_QUESTIONS: usize = 16;

impl Case<'_> {
    /// P4: as long as the server remembers the id.
    pub(super) fn one_copy_each(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let copies = self.copies_of(message).iter().filter(|copy| !copy.abroad && copy.msg_id.is_some());
            for copies in group(copies.map(|copy| ((&copy.stream, copy.born), *copy))).into_values() {
                if let Some(pair) = copies.windows(2).find(|pair| pair[1].at < pair[0].at + self.least_window(pair[0], pair[1])) {
                    return Err(self.story(message, &format!("P4: two copies, at sequences {} and {}", pair[0].seq, pair[1].seq)));
                }
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

    /// The least window between two copies.
    fn least_window(&self, first: &StoredCopy, second: &StoredCopy) -> u64 {
        self.windows(&first.stream, first.at, second.at).min().unwrap_or(self.limits.duplicate_window)
    }

    /// The windows of a stream that held at any time between these.
    fn windows(&self, stream: &str, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let changes = self.truth.windows.get(stream).map_or(&[][..], Vec::as_slice);
        let ends = changes.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
        changes.iter().zip(ends).filter(move |((begin, _), end)| *begin <= to && *end > from).map(|((_, window), _)| *window)
    }

    /// P4 and its fences: each attempt against those before it.
    pub(super) fn resends_are_allowed(&self) -> Result<(), String> {
        for message in &self.history.accepted {
            let attempts = self.attempts_of(message);
            // Attempts are in the order in which the server saw them; a zombie's bytes may come after newer ones.
            let mut sent: Vec<&Attempt> = attempts.to_vec();
            sent.sort_by_key(|attempt| attempt.first_byte);
            for (n, attempt) in sent.iter().enumerate() {
                // What is far behind was judged when the attempts between were.
                let earlier = sent[..n].iter().enumerate().filter(|(m, other)| n - m < 50 || !matches!(other.told, Told::Refused | Told::Denied));
                for (_, other) in earlier {
                    if let Some(wrong) = self.forbidden(message, other, attempt) {
                        let (at, window) = (time(attempt.first_byte), time(self.believed_window(message, attempt)));
                        return Err(self.story(message, &format!("{wrong} (the attempt at {at}; the window may be believed to be {window})")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Why `later` should not have been sent after `earlier`.
    fn forbidden(&self, message: &Message, earlier: &Attempt, later: &Attempt) -> Option<&'static str> {
        let limits = self.limits;
        if earlier.msg_id != later.msg_id {
            return Some("P4: sent again with another id");
        }
        if later.first_byte < earlier.last_byte {
            return Some("sent again while an earlier attempt was still going out");
        }
        let answered = self.answers(message, earlier).any(|said| said.read <= later.first_byte);
        if earlier.conn == later.conn && !answered {
            if later.first_byte < earlier.last_byte + limits.ack_wait {
                return Some("sent again before ack_wait was over");
            }
            if earlier.fenced.is_none_or(|at| at > later.first_byte) {
                return Some("sent again on the same connection before a PONG told that the first was read");
            }
        }
        if self.answers(message, earlier).any(|said| said.told == Told::Ack && later.first_byte > limits.latest(said.read) + limits.outbox) {
            return Some("sent again although its ack had been read");
        }
        if self.answers(message, earlier).any(|said| said.told == Told::Refused && said.read <= later.first_byte) {
            return None;
        }
        // Whether an -ERR proves anything depends on the fences around it; the server at least stored nothing.
        if earlier.told == Told::Denied {
            return None;
        }
        if later.msg_id.is_none() {
            // Where the user allows it there is no window either: the stream knows no id to compare.
            return (!limits.resend_without_msg_id).then_some("P4: sent again without an id, although it may be stored");
        }
        let bound = limits.age(earlier.last_byte) + self.believed_window(message, later).saturating_sub(limits.ack_wait);
        (limits.age(later.first_byte) > bound + limits.slack).then_some("P4: sent again too late for the duplicate window")
    }

    /// The largest window that the bus may believe in when it sends this attempt.
    fn believed_window(&self, message: &Message, attempt: &Attempt) -> u64 {
        let (at, assumed) = (attempt.first_byte, self.limits.duplicate_window);
        let opened = self.truth.opened.get(&attempt.conn).copied().unwrap_or(0);
        if let Some(named) = self.history.rules.named(message.rule, message.accepted_at.max(opened)) {
            return self.believed_of(named, attempt.conn, opened, at);
        }
        let known: Vec<&str> = self.seen.before(message.rule, opened).collect();
        let newer = self.seen.before(message.rule, at).count() > known.len();
        let windows = known.iter().map(|stream| self.believed_of(stream, attempt.conn, opened, at));
        match known.as_slice() {
            [_] if !newer => windows.max().unwrap_or(assumed),
            // Met on this connection: it is asked for in the background.
            _ if newer => self.seen.before(message.rule, at).flat_map(|stream| self.windows(stream, 0, at)).max().unwrap_or(0).max(assumed),
            _ => windows.min().map_or(assumed, |least| least.min(assumed)),
        }
    }

    /// The largest window that this stream may be believed to have: what holds since the connection began, if the API tells it or is still to be waited for; else
    /// whatever was known before.
    fn believed_of(&self, stream: &str, conn: u64, opened: u64, at: u64) -> u64 {
        // A gate that opens has its window asked for again.
        let gates = self.history.gates_opened.iter().filter(|(opened, name)| name == stream && *opened <= at).map(|(opened, _)| *opened);
        let opened = gates.max().unwrap_or(0).max(opened);
        let asked = self.truth.questions.iter().filter(|question| question.conn == conn && is_about(question, stream) && question.asked <= at);
        let (mut asked_at, mut told, mut deaf) = (None, false, false);
        let mut newest = None;
        for question in asked {
            let read = question.read.filter(|read| *read <= at);
            if question.read.is_none_or(|read| read >= opened) {
                asked_at.get_or_insert(question.asked);
            }
            if question.says == Says::Exists {
                // One that was told a moment ago is believed.
                let fresh = read.is_some_and(|read| read + FRESH >= at);
                told |= fresh || read.is_some_and(|read| read >= opened);
                newest = if fresh { newest.max(Some(question.asked)) } else { newest };
            } else {
                // Nor is one that could not be had.
                deaf |= read.is_some_and(|read| read + DEAF >= at.min(opened));
            }
        }
        let waited = asked_at.is_some_and(|asked| at + self.limits.slack >= asked + SECOND);
        let since = newest.unwrap_or(opened).min(opened);
        let since = if told || !(deaf || waited) { since } else { 0 };
        let assumed = self.limits.duplicate_window;
        let known = self.windows(stream, since, at).max().unwrap_or(assumed);
        if since == 0 && !told { known.max(assumed) } else { known }
    }

    /// What a stream's window is is asked again after each reconnect: not of all streams at once.
    pub(super) fn questions_are_few(&self) -> Result<(), String> {
        let questions = &self.truth.questions;
        for (n, question) in questions.iter().enumerate() {
            let known = |words: &str| questions[..n].iter().any(|other| other.conn < question.conn && other.words == words && other.says == Says::Exists);
            if !is_description(question) || !known(&question.words) {
                continue;
            }
            let open = |other: &&Asking| {
                other.conn == question.conn
                    && is_description(other)
                    && other.asked + SECOND > question.asked
                    && other.read.is_none_or(|read| read > question.asked)
                    && known(&other.words)
            };
            let open = questions[..=n].iter().filter(open).count();
            if open > MOST_QUESTIONS {
                let at = time(question.asked);
                return Err(format!(
                    "{open} questions about streams that were known are open at {at} on connection {}, {MOST_QUESTIONS} are allowed",
                    question.conn
                ));
            }
        }
        Ok(())
    }
}

fn is_description(question: &Asking) -> bool {
    question.words.starts_with("STREAM.INFO.")
}

fn is_about(question: &Asking, stream: &str) -> bool {
    question.words.strip_prefix("STREAM.INFO.") == Some(stream)
}
