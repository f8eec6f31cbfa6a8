//! P10: the order of what is stored, what may overtake what, and how many go at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Case, time};
use super::history::Message;
use super::said::{Said, said};
use super::truth::{Attempt, Effect, Told};

/// How late a turn may notice what is due, and how late its fence may be followed.
const NOTICE: u64 = 20_000_000;

/// A time at which a message may not be passed any more, until it goes again or is settled.
struct Barrier<'a> {
    message: &'a Message,
    from: u64,
    until: u64,
    why: &'static str,
}

impl<'a> Case<'a> {
    /// The stream that the bus can know this rule's messages to go to: the one that it names, else the only one that acknowledged.
    fn known_stream(&self, rule: u32, at: u64) -> Option<&str> {
        // Behind a leaf node two streams may have one name: then no rule goes to one stream.
        self.history.rules.named(rule, at).or_else(|| self.seen.only(rule, at).filter(|_| self.limits.domain.is_none()))
    }

    fn stagings(&self, message: &Message) -> &[u64] {
        self.history.stagings.get(&message.id).map_or(&[], Vec::as_slice)
    }

    /// P10: per stream and thread. Only what was refused or swallowed may be overtaken.
    pub(super) fn order_is_kept(&self) -> Result<(), String> {
        let place: BTreeMap<u64, usize> = self.history.accepted.iter().enumerate().map(|(place, message)| (message.id, place)).collect();
        type Line<'m> = Vec<(&'m Message, u64)>;
        let mut lines: BTreeMap<(&str, u64, u32), Line<'_>> = BTreeMap::new();
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for copy in self.truth.copies.iter().filter(|copy| !copy.abroad) {
            let Some(message) = self.messages.get(&copy.payload[..]) else { continue };
            // A second copy, which P4 judges, says nothing about the order.
            if seen.insert(message.id) {
                lines.entry((&copy.stream, copy.born, message.thread)).or_default().push((message, copy.at));
            }
        }
        let troubled: BTreeSet<&str> = self.refused_streams();
        for ((stream, _, _), line) in lines {
            for (n, &(late, _)) in line.iter().enumerate() {
                let before = line[..n].iter().filter(|(early, _)| place[&early.id] > place[&late.id]);
                for &(early, at) in before {
                    if !self.may_overtake(early, late, (stream, at), troubled.contains(stream)) {
                        let what = format!("P10: stored behind message {}, which was accepted later", early.id);
                        return Err(self.story(late, &what) + &self.story(early, "The other"));
                    }
                }
            }
        }
        Ok(())
    }

    fn refused_streams(&self) -> BTreeSet<&'a str> {
        let refused = self.truth.copies.iter().map(|copy| copy.stream.as_str()).collect::<BTreeSet<_>>();
        let attempts = self.truth.attempts.iter().filter(|attempt| matches!(attempt.effect, Effect::NotStored(_)));
        let topics: BTreeSet<&str> = attempts.map(|attempt| attempt.subject.as_str()).collect();
        // By topic: what was refused may have been meant for each stream that ever took the topic.
        let takes = |stream: &&str| {
            let here = self.truth.copies.iter().filter(|copy| copy.stream == *stream);
            here.map(|copy| copy.subject.as_str()).any(|topic| topics.contains(topic)) || topics.iter().any(|topic| self.truth.stream_of(topic) == Some(stream))
        };
        refused.into_iter().filter(takes).collect()
    }

    /// Whether `early`, which was accepted later and stored there and then, may be stored before `late`.
    fn may_overtake(&self, early: &Message, late: &Message, (stream, at): (&str, u64), troubled: bool) -> bool {
        let rules = &self.history.rules;
        if early.rule == late.rule && rules.is_strict(late.rule, late.accepted_at, at) {
            return false;
        }
        // Another rule's limit held it back.
        if early.rule != late.rule && rules.is_ever_limited(late.rule) {
            return true;
        }
        let failed = |attempt: &&Attempt| matches!(attempt.effect, Effect::NotStored(_)) && attempt.first_byte < at;
        if self.attempts_of(late).iter().any(failed) {
            return true;
        }
        // That nobody took it may be this topic's trouble alone, where the rule names no stream.
        let alone = rules.named(late.rule, late.accepted_at).is_none() && late.topic != early.topic;
        if alone && self.nobody_took(&late.topic, at) {
            return true;
        }
        let sent = self.stagings(early).first().copied().unwrap_or(0);
        // Its rule names a stream that was still to be asked for.
        let since = rules.at(late.rule, late.accepted_at).map_or(0, |saying| saying.at);
        let since_then = |other: &Message| other.rule == late.rule && self.stagings(other).first().is_some_and(|at| (since..sent).contains(at));
        let waited = || !self.history.accepted.iter().any(since_then);
        if early.rule != late.rule && waited() {
            return true;
        }
        let known = self.known_stream(late.rule, sent);
        match known {
            // Nobody can tell that they go to one stream.
            _ if known != self.known_stream(early.rule, sent) => true,
            // What was held before the stream was known waits where it is, and with it what is new to its topic.
            Some(known) => {
                known != stream || (troubled && (self.known_stream(late.rule, late.accepted_at) != Some(known) || self.held_before(late, known, at)))
            }
            None => troubled,
        }
    }

    /// Whether the message's topic was refused, before this time, when the stream was not known yet.
    fn held_before(&self, message: &Message, stream: &str, at: u64) -> bool {
        let to_topic = self.truth.attempts.iter().filter(|attempt| attempt.subject == message.topic);
        let unknown = |said: &Said<'_>| {
            matches!(said.told, Told::Refused | Told::Unclear) && said.read < at && self.known_stream(message.rule, said.read) != Some(stream)
        };
        to_topic.flat_map(|attempt| said(self.truth, attempt)).any(|said| unknown(&said))
    }

    /// Whether a 503 to this topic was read before this time.
    fn nobody_took(&self, topic: &str, at: u64) -> bool {
        let to_topic = self.truth.attempts.iter().filter(|attempt| attempt.subject == topic);
        to_topic.flat_map(|attempt| said(self.truth, attempt)).any(|said| said.told == Told::Refused && said.stream.is_none() && said.read < at)
    }

    /// P10: a refused message is overtaken by what was in flight behind it, a silent one by what was sent until that was noticed; by nothing new.
    pub(super) fn nothing_new_passes(&self) -> Result<(), String> {
        if self.history.stagings.is_empty() {
            return Ok(());
        }
        let mut first: Vec<(u64, &Message)> =
            self.history.accepted.iter().filter_map(|message| Some((self.stagings(message).first().copied()?, message))).collect();
        first.sort_by_key(|(at, message)| (*at, message.id));
        for message in &self.history.accepted {
            for barrier in self.barriers(message) {
                let begin = first.partition_point(|(at, _)| *at <= barrier.from);
                let end = first.partition_point(|(at, _)| *at < barrier.until);
                let passed = first.get(begin..end).into_iter().flatten().find(|(at, new)| self.is_passed_by(&barrier, new, *at));
                if let Some((at, new)) = passed {
                    let what = format!("P10: {}, and message {} was sent for the first time at {} all the same", barrier.why, new.id, time(*at));
                    return Err(self.story(message, &what) + &self.story(new, "The other"));
                }
            }
        }
        Ok(())
    }

    fn is_passed_by(&self, barrier: &Barrier<'_>, new: &Message, at: u64) -> bool {
        if new.id < barrier.message.id {
            return false;
        }
        // That nobody took it may be this topic's trouble alone, where the rule names no stream: then it waits alone, and is tried alone.
        let alone = |topic: &str| self.nobody_took(topic, at);
        if self.history.rules.named(new.rule, at).is_none() && new.topic != barrier.message.topic && (alone(&new.topic) || alone(&barrier.message.topic)) {
            return false;
        }
        let known = self.known_stream(barrier.message.rule, barrier.from);
        // What was held at its topic before the stream was known waits there.
        let held_alone = |message: &Message| known.is_some_and(|known| self.held_before(message, known, at));
        if new.topic != barrier.message.topic && (held_alone(new) || held_alone(barrier.message)) {
            return false;
        }
        // One that goes to several, of which the rule names one, is silent or refused by turns.
        let goes_there = |message: &Message| {
            let mut takers = self.truth.takers(&message.topic, at);
            takers.next() == known && takers.next().is_none()
        };
        // What was held before its stream was known, or named, waits where it is.
        let known_still = known == self.known_stream(barrier.message.rule, at)
            && known == self.known_stream(new.rule, at)
            && known == self.known_stream(new.rule, new.accepted_at);
        // A topic that goes elsewhere waits for no other stream; whether it does is asked.
        known.is_some() && known_still && ((goes_there(new) && goes_there(barrier.message)) || self.truth.lives.is_empty())
    }

    fn barriers(&self, message: &'a Message) -> Vec<Barrier<'a>> {
        let (settled, mut barriers) = (self.settled_at(message), Vec::new());
        let named = self.history.rules.named(message.rule, message.accepted_at);
        for attempt in self.attempts_of(message) {
            // Where others take the topic too, what they refuse may be no answer.
            let own = |said: &Said<'_>| Some(said.read) == attempt.answered && said.told == attempt.told;
            let answers = self.answers(message, attempt).filter(|said| matches!(said.told, Told::Refused | Told::Unclear) && own(said));
            // That nobody took it may be this topic's trouble alone, where the rule names no stream.
            // Another stream's refusal is nobody's.
            let counts = |said: &Said<'_>| match named {
                Some(named) => said.stream.is_none_or(|stream| stream == named),
                None => said.stream.is_some(),
            };
            // Behind ack_wait the attempt is over, and its message goes again as a silent one.
            let in_time = attempt.last_byte.saturating_add(self.limits.ack_wait);
            let refused = answers.filter(|said| counts(said) && said.read <= in_time).map(|said| said.read).min();
            // Behind a leaf node nobody can tell who refuses: that is no answer.
            if let Some(from) = refused.filter(|from| *from < settled && self.limits.domain.is_none()) {
                barriers.push(Barrier { message, from, until: settled, why: "it was refused and is not settled" });
            }
            let answered = self.answers(message, attempt).map(|said| said.read).min().unwrap_or(u64::MAX);
            let Some(fenced) = attempt.fenced else { continue };
            let noticed = (attempt.last_byte + self.limits.ack_wait).max(fenced);
            let from = self
                .limits
                .client_pauses
                .iter()
                .fold(noticed + NOTICE, |from, &(begin, len)| if begin <= from { from.max(begin + len + NOTICE) } else { from });
            let again = self.stagings(message).iter().copied().find(|at| *at > attempt.last_byte).unwrap_or(u64::MAX);
            let until = settled.min(again).min(answered);
            if from < until && answered > from && attempt.msg_id.is_some() && self.limits.max_attempts >= 1_000 {
                barriers.push(Barrier { message, from, until, why: "it was silent, that was noticed, and its fence closed" });
            }
        }
        barriers
    }

    /// P10: never more messages of a rule are sent and not answered than it allows.
    pub(super) fn in_flight_is_kept(&self) -> Result<(), String> {
        let rules: BTreeSet<u32> = self.history.accepted.iter().map(|message| message.rule).filter(|rule| self.history.rules.is_ever_limited(*rule)).collect();
        for rule in rules {
            self.in_flight_of(rule)?;
        }
        Ok(())
    }

    /// Whether an attempt until then was not refused: the message keeps its place.
    fn is_in_doubt(&self, message: &Message, at: u64) -> bool {
        let refused = |attempt: &Attempt| self.answers(message, attempt).any(|said| said.told == Told::Refused && said.read <= at);
        self.attempts_of(message).iter().any(|attempt| attempt.first_byte < at && !refused(attempt))
    }

    fn in_flight_of(&self, rule: u32) -> Result<(), String> {
        // Ends come before beginnings of the same time: what is answered makes room.
        let mut steps: Vec<(u64, bool, &Message)> = Vec::new();
        for message in self.history.accepted.iter().filter(|message| message.rule == rule) {
            steps.extend(self.stagings(message).iter().map(|at| (*at, true, message)));
            let answers = self.attempts_of(message).iter().flat_map(|attempt| self.answers(message, attempt));
            let ends = answers.filter(|said| said.told == Told::Refused && !self.is_in_doubt(message, said.read));
            steps.extend(ends.map(|said| (said.read, false, message)));
            steps.push((self.settled_at(message), false, message));
        }
        steps.sort_by_key(|(at, begins, message)| (*at, *begins, message.id));
        let mut out: BTreeSet<u64> = BTreeSet::new();
        for (at, begins, message) in steps {
            if !begins {
                out.remove(&message.id);
                continue;
            }
            let new = out.insert(message.id);
            let Some(limit) = self.history.rules.limit(rule, at) else { continue };
            let had = self.history.rules.at(rule, at).is_some_and(|saying| saying.under_way.contains(&message.id));
            if new && !had && out.len() > limit as usize {
                let what = format!("P10: sent at {} as number {} of its rule that is not answered, in_flight is {limit}", time(at), out.len());
                return Err(self.story(message, &what));
            }
        }
        Ok(())
    }
}
