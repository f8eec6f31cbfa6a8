//! Known: what acks and the API told of streams: which of them take a rule's messages, what was described, and their duplicate windows.
//!
//! The window is the stream's (P4). Before something in doubt goes again it is asked for again: after a reconnect, when a gate opens, and with the fence behind a
//! message that nobody answered. It may have been made smaller meanwhile, and a resend beyond it would be a second copy. What is in doubt waits for the answer for a
//! second at most, and with it all that goes to the same stream, since it would overtake it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::error::Status;
use crate::base::time::{Nanos, nanos};
use crate::config::topic::overlaps;
use crate::desk::events::EventKind;
use crate::handler::Handler;
use crate::handler::gate::Key;
use crate::handler::rule_state::{RuleState, Taker};
use crate::handler::seconds::Seconds;
use crate::ledger::slot::{Stage, StreamId};
use crate::wire::StreamAnswer;

/// Streams that are remembered (P9).
const MOST_STREAMS: usize = 1024;
/// Streams of one name that are told apart by their domains.
const MOST_DOMAINS: usize = 8;
/// Subjects of a stream that are remembered (P9).
const MOST_SUBJECTS: usize = 32;
/// So many acks are looked at when a rule's stream acknowledged for the first time, or was described.
const LOOK_AT: u32 = 64;
/// How long what is in doubt waits for its stream's window.
const PATIENCE: Nanos = 1_000_000_000;
/// How long a window that was told is believed to be the same, when something in doubt shall go again: after that it waits for the answer.
const FRESH: Nanos = 1_000_000_000;
/// From then on it is asked for again, and nobody waits: where acks are lost all the time, waiting each time would cost a tenth of the throughput.
const REFRESH: Nanos = 250_000_000;
/// A window that was not told is asked for again this often, while something is in doubt.
const AGAIN: Nanos = 5_000_000_000;

/// All that is known of streams.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Those that acknowledged, by name.
    ids: HashMap<Box<str>, Vec<Arc<StreamId>>>,
    /// Those that the API described.
    described: HashMap<Box<str>, Description>,
    pub(crate) seconds: Seconds,
    /// A JetStream that was not there a moment ago recovers its streams first, and says meanwhile that there are none: until then its word does not count.
    pub(crate) unsure_until: Nanos,
    /// The domain that the server says it belongs to; empty: none.
    pub(crate) domain: String,
    /// Streams of which the window was told on this connection, or could not be had.
    told: HashMap<Box<str>, Told>,
    /// Streams whose windows were asked for, and until when what is in doubt waits.
    awaited: HashMap<Box<str>, Nanos>,
    /// What waits for them, by id.
    parked: BTreeMap<u64, u32>,
    /// Streams that told no window: when to ask again.
    again: HashMap<Box<str>, Nanos>,
}

/// A window's age.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Until then it is believed.
    fresh_until: Nanos,
    /// From then on it is asked for again when something in doubt goes again.
    ask_from: Nanos,
}

/// What the API told of a stream.
#[derive(Debug, Default)]
struct Description {
    /// Its duplicate window, if that was told.
    window: Option<Nanos>,
    /// Its subjects, unless they are very many.
    subjects: Option<Vec<String>>,
}

impl Known {
    fn window(&self, stream: &str) -> Option<Nanos> {
        self.described.get(stream)?.window
    }

    /// Whether this stream was the first to acknowledge some message. The second: whether one of its name, in another domain, was.
    pub(crate) fn was_first(&self, stream: &str, domain: &str) -> (bool, bool) {
        let ids = self.ids.get(stream).map_or(&[][..], Vec::as_slice);
        let same = ids.iter().any(|id| id.is(stream, domain));
        (same, ids.iter().any(|id| !id.is(stream, domain)))
    }

    /// Whether anything waits for a window.
    pub(crate) fn delays(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Whether this message waits for a window.
    #[cfg(test)]
    pub(crate) fn parks(&self, id: u64, slot: u32) -> bool {
        self.parked.get(&id) == Some(&slot)
    }

    /// The largest of its lists that a server's words can make grow (P9).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn size(&self) -> usize {
        [self.ids.len(), self.described.len(), self.seconds.size(), self.told.len(), self.awaited.len(), self.again.len()].into_iter().max().unwrap_or(0)
    }
}

impl Handler {
    // ---- Acks ----

    /// Remembers which stream takes a rule's messages. Returns it, shared.
    pub(crate) fn learn(&mut self, slot: u32, rule: u32, stream: &str, domain: &str) -> Arc<StreamId> {
        let state = self.gates.rule(rule);
        if let Some(taker) = state.takers.find(stream, domain) {
            return Arc::clone(&taker.stream);
        }
        let new = !state.takers.are_several();
        let id = self.intern(stream, domain);
        if new {
            self.meet(slot, rule, &id);
        }
        id
    }

    fn intern(&mut self, stream: &str, domain: &str) -> Arc<StreamId> {
        let named = self.known.ids.get(stream);
        if let Some(id) = named.and_then(|named| named.iter().find(|id| id.is(stream, domain))) {
            return Arc::clone(id);
        }
        let id = Arc::new(StreamId::new(stream, domain));
        let full = self.known.ids.len() >= MOST_STREAMS;
        let is_second = named.is_some_and(|named| !named.is_empty());
        if named.map_or(!full, |named| named.len() < MOST_DOMAINS) {
            self.known.ids.entry(stream.into()).or_default().push(Arc::clone(&id));
        }
        self.known.seconds.is_a_first_taker(&id);
        if is_second {
            // In another domain: refusals tell no domain.
            self.known.seconds.add_twin(stream);
        }
        id
    }

    /// The first ack of this stream for a message of the rule.
    fn meet(&mut self, slot: u32, rule: u32, id: &Arc<StreamId>) {
        let state = self.gates.rule(rule);
        let first = state.takers.are_none();
        state.takers.add(Arc::clone(id));
        state.to_look_at = LOOK_AT;
        if state.reached_otherwise {
            state.takers.mark_indirect(id.name());
        }
        if first {
            self.join_line(rule, id);
        } else {
            self.leave_line(rule);
        }
        if self.rules.get(rule).stream.is_none()
            && let Some(topic) = self.table.get(slot).map(|s| s.topic().to_owned())
        {
            self.ask_about_taker(rule, id.name(), &topic);
        }
    }

    /// The API's word about a stream that acknowledged a message to this topic.
    pub(crate) fn learn_taker(&mut self, rule: u32, topic: &str, answer: &StreamAnswer) {
        let StreamAnswer::Exists { name, subjects, .. } = answer else { return };
        self.gates.rule(rule).to_look_at = LOOK_AT;
        if !subjects.is_empty() && !subjects.iter().any(|subject| overlaps(subject, topic)) {
            self.gates.rule(rule).takers.mark_indirect(name);
        }
    }

    /// This stream answered for this message. If the topic is none of its subjects, it is reached under another name.
    pub(crate) fn note_reached(&mut self, slot: u32, rule: u32, stream: &str) {
        let state = self.gates.rule(rule);
        state.to_look_at = state.to_look_at.saturating_sub(1);
        let Some(taker) = state.takers.of_name(stream).filter(|taker| !taker.indirect).cloned() else { return };
        let Some(topic) = self.table.get(slot).map(|s| s.topic()) else { return };
        if self.rules.get(rule).stream.is_some() || !self.could_describe(&taker.stream) {
            return;
        }
        let is_own = self.takes_by_its_subjects(stream, topic);
        if is_own == Some(false) {
            // Its subjects may be others by now.
            let topic = topic.to_owned();
            self.gates.rule(rule).takers.mark_indirect(stream);
            self.ask_about_taker(rule, stream, &topic);
        }
    }

    /// Some topic reaches its stream under another name: by an import, a mapping or a leaf node. So may one that was never taken.
    pub(crate) fn has_indirect(&mut self) -> bool {
        self.gates.rules_mut().any(|(_, state)| state.takers.iter().any(|taker| taker.indirect))
    }

    // ---- Descriptions ----

    /// The domain whose JetStream is asked, if that is known.
    fn api_domain(&self) -> &str {
        self.shared.settings.jetstream_domain.as_deref().unwrap_or(&self.known.domain)
    }

    /// Whether the API that is asked described this stream.
    pub(crate) fn is_described(&self, name: &str) -> bool {
        self.known.described.contains_key(name)
    }

    /// The same, of one that acknowledged: an equal name in another domain is another stream.
    pub(crate) fn could_describe(&self, id: &StreamId) -> bool {
        let asked = self.api_domain();
        (id.domain().is_empty() || asked.is_empty() || asked == id.domain()) && self.is_described(id.name())
    }

    /// Whether the stream takes this topic, by its own subjects. `None`: they are not known.
    fn takes_by_its_subjects(&self, stream: &str, topic: &str) -> Option<bool> {
        let subjects = self.known.described.get(stream)?.subjects.as_ref().filter(|subjects| !subjects.is_empty())?;
        Some(subjects.iter().any(|subject| overlaps(subject, topic)))
    }

    /// Whether this topic surely goes to another stream than the one that alone acknowledged its rule so far: that one has not got it among its subjects.
    pub(crate) fn goes_elsewhere(&self, rule: u32, topic: &str) -> bool {
        let taker = self.gates.rule_if_used(rule).and_then(|state| state.takers.only());
        taker.is_some_and(|taker| self.is_stranger(rule, taker, topic))
    }

    /// The same, of one of several.
    pub(crate) fn is_stranger_to(&self, rule: u32, stream: &str, topic: &str) -> bool {
        let taker = self.gates.rule_if_used(rule).and_then(|state| state.takers.of_name(stream));
        taker.is_some_and(|taker| self.is_stranger(rule, taker, topic))
    }

    fn is_stranger(&self, rule: u32, taker: &Taker, topic: &str) -> bool {
        self.rules.get(rule).stream.is_none()
            && !taker.indirect
            && self.could_describe(&taker.stream)
            && self.takes_by_its_subjects(taker.stream.name(), topic) == Some(false)
    }

    pub(crate) fn learn_description(&mut self, name: &str, window: Option<Duration>, subjects: &[String]) {
        if self.known.described.len() >= MOST_STREAMS && !self.is_described(name) {
            return;
        }
        let window = window.map(nanos);
        self.known.told.insert(name.into(), Told { fresh_until: self.now + FRESH, ask_from: self.now + REFRESH });
        let subjects = (subjects.len() <= MOST_SUBJECTS).then(|| subjects.to_vec());
        let before = self.known.described.insert(name.into(), Description { window, subjects }).and_then(|before| before.window);
        let assumed = nanos(self.shared.settings.assume_duplicate_window);
        if window.is_some_and(|window| window < before.unwrap_or(assumed)) {
            self.settle_what_is_too_late();
        }
        if let Some(gate) = self.gates.find(&Key::Stream(name.into())) {
            self.release_strangers(gate);
        }
    }

    /// Another server, perhaps of another domain: what it could know is not known.
    pub(crate) fn enter_domain(&mut self, domain: &str) {
        self.known.seconds.forget_local();
        self.known.told.clear();
        for (_, rule) in self.gates.rules_mut() {
            rule.met = false;
        }
        if self.known.domain != domain {
            domain.clone_into(&mut self.known.domain);
            if self.shared.settings.jetstream_domain.is_none() {
                self.known.described.clear();
            }
        }
    }

    // ---- Windows ----

    /// The streams that a rule's messages may be in: the one that it names, else those that acknowledged them.
    fn streams_of<'a>(&'a self, rule: u32, state: &'a RuleState) -> Vec<&'a str> {
        match &self.rules.get(rule).stream {
            Some(named) => vec![named.as_str()],
            None => state.takers.iter().map(|taker| taker.stream.name()).collect(),
        }
    }

    /// Whether the stream of this name that the API described is the one that acknowledged.
    fn is_its_own(&self, taker: &Taker) -> bool {
        !taker.indirect && self.could_describe(&taker.stream)
    }

    /// The duplicate window that holds for a rule's messages: its stream's; where that is not known, the least of its streams' and of what is assumed.
    pub(crate) fn window_of(&mut self, rule: u32) -> Nanos {
        let assumed = nanos(self.shared.settings.assume_duplicate_window);
        let named = self.rules.get(rule).stream.as_deref();
        // A window counts as it is only if it is surely that of the stream: one of its name may stand elsewhere, with another window.
        let window_of = |taker: &Taker| self.known.window(taker.stream.name()).map(|window| if self.is_its_own(taker) { window } else { window.min(assumed) });
        let state = self.gates.rule_if_used(rule);
        let known = match (named, state) {
            (Some(named), state) => {
                let is_other = state.is_some_and(|state| state.reached_otherwise || state.takers.iter().any(|taker| !self.is_its_own(taker)));
                self.known.window(named).map(|window| if is_other { window.min(assumed) } else { window })
            }
            (None, None) => None,
            (None, Some(state)) => match state.takers.only() {
                Some(taker) => window_of(taker),
                None => state.takers.iter().filter_map(window_of).min().map(|least| least.min(assumed)),
            },
        };
        if let Some(window) = known {
            return window;
        }
        if !std::mem::replace(&mut self.gates.rule(rule).told_unknown, true) {
            let pattern = self.rules.get(rule).pattern.clone();
            let text = format!("the duplicate window of the stream for {pattern:?} is not known; {} s are assumed", assumed as f64 / 1e9);
            self.event(EventKind::WindowUnknown, Status::Ok, 0, &pattern, text);
        }
        assumed
    }

    /// A new connection: the windows of all streams that have something in doubt.
    pub(crate) fn ask_windows(&mut self) {
        let mut asked: HashSet<Box<str>> = HashSet::new();
        let mut seen: HashSet<u32> = HashSet::new();
        for slot in self.table.iter().filter(|s| s.tainted().is_some() && !s.ephemeral) {
            if seen.insert(slot.rule)
                && let Some(state) = self.gates.rule_if_used(slot.rule)
            {
                asked.extend(self.streams_of(slot.rule, state).into_iter().map(Box::from));
            }
        }
        let mut streams: Vec<Box<str>> = asked.into_iter().collect();
        // In the same order for the same seed, and in another one for each publisher: a thousand of them must not ask for the same stream first.
        streams.sort_unstable();
        for last in (1..streams.len()).rev() {
            let other = self.chance(last as u64 + 1) as usize;
            streams.swap(last, other);
        }
        for stream in streams {
            self.ask_window(stream, true);
        }
    }

    /// The gate opens: the window of its stream, if something that waited is in doubt.
    pub(crate) fn ask_windows_of(&mut self, gate: u32) {
        let Some(g) = self.gates.get(gate) else { return };
        let Key::Stream(stream) = &g.key else { return };
        if !self.is_young(stream) && g.waiting.values().any(|&slot| self.table.get(slot).is_some_and(|s| s.tainted().is_some())) {
            let stream = stream.clone();
            self.ask_window(stream, true);
        }
    }

    /// It was told so short a time ago that it is not asked for again.
    fn is_young(&self, stream: &str) -> bool {
        self.known.told.get(stream).is_some_and(|told| self.now < told.ask_from)
    }

    /// It was told so short a time ago that it is believed.
    fn is_fresh(&self, stream: &str) -> bool {
        self.known.told.get(stream).is_some_and(|told| self.now < told.fresh_until)
    }

    fn ask_window(&mut self, stream: Box<str>, waits: bool) {
        if !self.online || self.known.awaited.contains_key(&stream) {
            return;
        }
        let until = self.now + PATIENCE;
        if waits {
            self.known.awaited.insert(stream.clone(), until);
        }
        self.ask_for_window(stream, until);
    }

    /// A message in doubt goes again, or will. Its stream's window may have become smaller since it was told.
    pub(crate) fn ask_window_before(&mut self, slot: u32) {
        let Some(rule) = self.table.get(slot).filter(|s| self.lane.framing.knows_copies(s)).map(|s| s.rule) else { return };
        let Some(state) = self.gates.rule_if_used(rule) else { return };
        let old: Vec<Box<str>> = self.streams_of(rule, state).into_iter().filter(|stream| !self.is_young(stream)).map(Box::from).collect();
        for stream in old {
            let waits = !self.is_fresh(&stream);
            if let Some(told) = self.known.told.get_mut(&stream) {
                told.ask_from = self.now + PATIENCE;
            }
            self.ask_window(stream, waits);
        }
    }

    /// Whether this message must wait until the window of its stream is known. If so, it does.
    pub(crate) fn waits_for_window(&mut self, slot: u32, id: u64) -> bool {
        let Some(rule) = self.table.get(slot).map(|s| s.rule) else { return false };
        let Some(state) = self.gates.rule_if_used(rule) else { return false };
        let waits = self.streams_of(rule, state).into_iter().any(|stream| self.known.awaited.contains_key(stream));
        if waits {
            self.known.parked.insert(id, slot);
        }
        waits
    }

    pub(crate) fn window_answered(&mut self, stream: &str, answer: &StreamAnswer) {
        if !matches!(answer, StreamAnswer::Exists { .. }) {
            self.known.told.insert(stream.into(), Told { fresh_until: self.now + AGAIN, ask_from: self.now + AGAIN });
            if !matches!(answer, StreamAnswer::None { .. }) {
                self.known.again.insert(stream.into(), self.now + AGAIN);
            }
        }
        if self.known.awaited.remove(stream).is_some() {
            self.release_parked();
        }
    }

    /// Those whose windows are known, or not to be had, go on; oldest first.
    fn release_parked(&mut self) {
        for (id, slot) in std::mem::take(&mut self.known.parked) {
            let is_still_there = self.slot(slot, id).is_some_and(|s| s.stage == Stage::Queued);
            if is_still_there && !(self.known.delays() && self.waits_for_window(slot, id)) {
                self.again.insert(id, slot);
            }
        }
    }

    /// The connection is gone, and with it whoever was asked.
    pub(crate) fn forget_windows_asked(&mut self) {
        self.known.awaited.clear();
        self.known.again.clear();
        self.release_parked();
    }

    /// Windows that were not told in time. Returns when to come back.
    pub(crate) fn tend_windows(&mut self) -> Nanos {
        let now = self.now;
        if self.known.delays() {
            let before = self.known.awaited.len();
            self.known.awaited.retain(|_, until| *until > now);
            if self.known.awaited.len() < before {
                self.release_parked();
            }
        }
        if !self.known.again.is_empty() {
            let due: Vec<Box<str>> = self.known.again.iter().filter(|(_, at)| **at <= now).map(|(stream, _)| stream.clone()).collect();
            // While nothing is in doubt nobody needs to know.
            let in_doubt = !due.is_empty() && self.table.iter().any(|s| s.tainted().is_some());
            for stream in due {
                self.known.again.remove(&stream);
                if in_doubt {
                    self.ask_window(stream, false);
                }
            }
        }
        let awaited = self.known.awaited.values().copied().min().unwrap_or(Nanos::MAX);
        awaited.min(self.known.again.values().copied().min().unwrap_or(Nanos::MAX))
    }

    /// A window is smaller than was believed: what may no longer be sent is settled, and what is about to be sent is looked at again.
    fn settle_what_is_too_late(&mut self) {
        let doubtful: Vec<(u64, u32, Stage)> = self.table.iter().filter(|s| s.tainted().is_some()).map(|s| (s.id, s.index, s.stage)).collect();
        for (id, slot, stage) in doubtful {
            if self.slot(slot, id).is_none() {
                continue;
            }
            match stage {
                Stage::Queued | Stage::Gated | Stage::Backoff => {
                    self.may_send_again(slot);
                }
                Stage::Staged => self.fall_stale(slot),
                Stage::InFlight | Stage::Fencing | Stage::Settled => {}
            }
        }
    }
}
