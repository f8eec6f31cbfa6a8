//! Gates: one mechanism for stream checks, missing streams, overload and elections (P10).
//!
//! A gate stands before what goes to one stream. While it is closed, refused and unsent messages wait behind it in the order of their ids and the oldest alone is
//! sent as a probe; so a leader election costs a few frames instead of a storm, and order survives it. Topics in trouble whose stream is not known get a gate of
//! their own, so that one bad topic holds nobody else. An open gate pauses new messages behind one that was refused, or that nobody answered: they would overtake
//! it. This room keeps the gates; what opens and closes them is decided in `hold`, who may pass in `passing`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::budget::Budget;
use super::nobody::Nobody;
use super::rule::RuleState;
use crate::base::time::Nanos;
use crate::ledger::refusal::Trouble;
use crate::ledger::slot::Slot;

/// What a gate stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A stream that a rule names, or that alone acknowledged a rule's messages.
    Stream(Box<str>),
    /// A rule with an in-flight limit whose stream is not known.
    Rule(u32),
    /// A topic in trouble.
    Topic(Box<str>),
}

#[derive(Debug)]
pub(crate) enum State {
    /// Nobody asked yet; the first message does.
    Unchecked,
    Checking(Check),
    Open,
    Held(Held),
}

/// A question about the stream is under way, or will be asked again at a time.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(super) ask: Option<u32>,
    pub(super) again_at: Nanos,
    pub(super) failures: u32,
    /// Without an answer until then the oldest message goes as a probe.
    pub(super) patience_until: Nanos,
    /// The last answer was that there is no such stream, and its messages shall wait for it.
    pub(super) missing: bool,
}

/// Why a gate is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The stream refuses, or nobody is there.
    Trouble(Trouble),
    /// The server gave no usable answer about the stream that a rule names: the first ack tells.
    Unanswered,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(super) cause: Cause,
    pub(super) ask: Option<u32>,
    /// When it may be asked again.
    pub(super) ask_at: Nanos,
    /// Slot and id of the message that was sent to try.
    pub(super) probe: Option<(u32, u64)>,
    pub(super) probe_at: Nanos,
    /// Pauses between probes grow with the time since then.
    pub(super) since: Nanos,
    /// It was told that messages wait.
    pub(super) told: bool,
    /// The API, which could know, said that there is no stream. If the next probe finds nobody either, that is told.
    pub(super) absence: Option<Absence>,
    /// The stream's leader answered since the gate is held: if a probe finds nobody all the same, the trouble is its topic's.
    pub(super) alive: bool,
    /// The check was answered with these words: nobody has streams. If a message finds nobody either, that is told.
    pub(super) no_store: Option<(String, Option<&'static str>)>,
    /// There is no stream, by the word of a server that could know, and messages wait for it: so many probes failed since.
    pub(super) missing: Option<u32>,
    /// A topic that this gate's stream takes, by the API's word: who takes none of its messages takes no others.
    pub(super) own: Option<String>,
    /// The topic of the last probe that found nobody, and how many in a row were of that topic.
    pub(super) failed: Option<(String, u32)>,
}

/// The word that no stream takes the messages of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    /// The topic that was asked about; `None`: the stream itself is not there, so it is about all that wait.
    pub(super) topic: Option<String>,
    pub(super) server_code: u32,
    pub(super) text: String,
}

impl Held {
    /// The topic of the last probe that found nobody, unless the stream is known to take it.
    pub(crate) fn stranger(&self) -> Option<&String> {
        self.failed.as_ref().map(|(topic, _)| topic).filter(|topic| self.own.as_ref() != Some(topic))
    }

    pub(crate) fn new(cause: Cause, now: Nanos, probe_at: Nanos) -> Self {
        Held {
            cause,
            ask: None,
            ask_at: now,
            probe: None,
            probe_at,
            since: now,
            told: false,
            absence: None,
            alive: false,
            no_store: None,
            missing: None,
            own: None,
            failed: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    pub(super) key: Key,
    pub(super) state: State,
    /// By id, the slots that wait.
    pub(super) waiting: BTreeMap<u64, u32>,
    /// Messages that passed and have no answer yet.
    pub(super) in_flight: usize,
    /// After an overload: half of what was in flight, one more per ack.
    ramp: Option<usize>,
    /// Refused messages that go again. Nothing new passes them before they are settled (P10).
    pub(super) refused: BTreeSet<u64>,
    /// A message fell silent: nothing new passes before the fence behind it closed (P10). Epoch and mark.
    pub(super) silent: Option<(u32, u64)>,
    /// The rules whose messages all pass here.
    pub(super) rules: Vec<u32>,
    /// The stream was created since the gate was closed; if it still takes nothing, creating it again will not help.
    pub(super) created: bool,
    /// A probe confirmed that the stream is not there: until then the next message is not tried.
    pub(super) absent_until: Nanos,
    /// The share of the window is used up (topics only).
    pub(super) share_used: bool,
    /// Kept although idle: a rule names it.
    permanent: bool,
    /// When something must be done about it; [`NEVER`] while it waits for an answer.
    due: Nanos,
}

/// Without a usable answer about its stream for so long, a gate's oldest message goes as a probe.
pub(super) const PATIENCE: Nanos = 1_000_000_000;
/// Nothing is due.
pub(super) const NEVER: Nanos = Nanos::MAX;

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether one more may pass. New messages also wait for older ones that must go again first.
    pub(crate) fn passes(&self, id: u64, fresh: bool) -> bool {
        self.is_open() && self.in_flight < self.ramp.unwrap_or(usize::MAX) && !(fresh && self.pauses(id))
    }

    /// Something older than this new message must go again before it.
    pub(crate) fn pauses(&self, id: u64) -> bool {
        self.silent.is_some() || self.refused.first().is_some_and(|&first| first < id)
    }

    /// Nobody older waits.
    pub(crate) fn is_next(&self, id: u64) -> bool {
        self.waiting.first_key_value().is_none_or(|(&first, _)| id < first)
    }

    /// An overload: come back with half the load.
    pub(crate) fn slow_down(&mut self) {
        self.ramp = Some((self.in_flight / 2).max(1));
    }

    /// An ack came.
    pub(crate) fn speed_up(&mut self, most: usize) {
        if let Some(ramp) = &mut self.ramp {
            *ramp += 1;
            if *ramp >= most {
                self.ramp = None;
            }
        }
    }

    fn is_idle(&self) -> bool {
        !self.permanent
            && matches!(self.state, State::Open)
            && self.waiting.is_empty()
            && self.in_flight == 0
            && self.refused.is_empty()
            && self.silent.is_none()
    }
}

/// All gates of a publisher.
///
/// Their number has no limit of its own: each stands for a rule, or has a message that waits or is under way, and those are limited by the window (P9).
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Vec<Option<Gate>>,
    by_key: HashMap<Key, u32>,
    free: Vec<u32>,
    /// How many gates stand for topics: while none does, no topic is looked up.
    topics: usize,
    /// The gates of which something is due, the earliest first.
    due: BTreeSet<(Nanos, u32)>,
    rules: Vec<RuleState>,
    /// How many probes may go.
    pub(super) probes: Budget,
    /// Topics that nobody takes.
    pub(super) nobody: Nobody,
    /// Gates whose new messages wait for a fence.
    pub(super) silent: Vec<u32>,
    /// Places of the window for what waits behind one gate.
    pub(super) share: usize,
}

impl Gates {
    /// `share`: the places of the window for what waits behind one gate.
    pub(in crate::handler) fn new(share: usize) -> Self {
        Gates { share, ..Gates::default() }
    }

    pub(super) fn get(&self, gate: u32) -> Option<&Gate> {
        self.gates.get(gate as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, gate: u32) -> Option<&mut Gate> {
        self.gates.get_mut(gate as usize)?.as_mut()
    }

    pub(super) fn held(&self, gate: u32) -> Option<&Held> {
        match &self.get(gate)?.state {
            State::Held(held) => Some(held),
            _ => None,
        }
    }

    pub(super) fn held_mut(&mut self, gate: u32) -> Option<&mut Held> {
        match &mut self.get_mut(gate)?.state {
            State::Held(held) => Some(held),
            _ => None,
        }
    }

    pub(super) fn rule(&mut self, rule: u32) -> &mut RuleState {
        let rule = rule as usize;
        if rule >= self.rules.len() {
            self.rules.resize_with(rule + 1, RuleState::default);
        }
        &mut self.rules[rule]
    }

    /// The same, of a rule that may not have been used.
    pub(super) fn rule_if_used(&self, rule: u32) -> Option<&RuleState> {
        self.rules.get(rule as usize)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = (u32, &RuleState)> {
        self.rules.iter().enumerate().map(|(index, rule)| (index as u32, rule))
    }

    /// A new connection: nothing of any rule was seen on it.
    pub(in crate::handler) fn forget_met(&mut self) {
        for rule in &mut self.rules {
            rule.met = false;
        }
    }

    /// What a message's silence is known by: its gate; without one, its rule.
    pub(in crate::handler) fn key_of(&self, slot: &Slot) -> Key {
        self.get(slot.gate).map_or(Key::Rule(slot.rule), |gate| gate.key.clone())
    }

    /// A message that passed this gate is stored.
    #[inline(always)]
    pub(in crate::handler) fn acked(&mut self, gate: u32, most: usize) {
        if let Some(g) = self.get_mut(gate) {
            g.speed_up(most);
        }
    }

    /// No topic has a gate of its own.
    #[inline(always)]
    pub(super) fn have_no_topics(&self) -> bool {
        self.topics == 0
    }

    /// The gates of all topics in trouble.
    pub(super) fn of_topics(&self) -> Vec<u32> {
        let mut gates: Vec<u32> = self.by_key.iter().filter(|(key, _)| matches!(key, Key::Topic(_))).map(|(_, &gate)| gate).collect();
        gates.sort_unstable(); // A hash map has no order, and runs of one seed are alike.
        gates
    }

    /// The gate of a topic in trouble.
    pub(super) fn of_topic(&self, topic: &str) -> Option<u32> {
        self.by_key.get(&Key::Topic(topic.into())).copied()
    }

    /// The gate of a message's topic, if that is in trouble: while none is, nobody's topic is read.
    pub(super) fn of_message(&self, slot: &Slot) -> Option<u32> {
        if self.topics == 0 { None } else { self.of_topic(slot.topic()) }
    }

    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The gate of this key; a new one in this state, if there is none.
    pub(super) fn find_or_add(&mut self, key: &Key, state: State, permanent: bool) -> u32 {
        match self.find(key) {
            Some(gate) => gate,
            None => self.add(key.clone(), state, permanent),
        }
    }

    pub(super) fn add(&mut self, key: Key, state: State, permanent: bool) -> u32 {
        let index = self.free.pop().unwrap_or(self.gates.len() as u32);
        if index as usize == self.gates.len() {
            self.gates.push(None);
        }
        if matches!(key, Key::Topic(_)) {
            self.topics += 1;
        }
        self.by_key.insert(key.clone(), index);
        let gate = Gate {
            key,
            state,
            waiting: BTreeMap::new(),
            in_flight: 0,
            ramp: None,
            refused: BTreeSet::new(),
            silent: None,
            rules: Vec::new(),
            created: false,
            absent_until: 0,
            share_used: false,
            permanent,
            due: NEVER,
        };
        if let Some(place) = self.gates.get_mut(index as usize) {
            *place = Some(gate);
        }
        index
    }

    /// The gate stands for something else from now on.
    pub(super) fn rename(&mut self, index: u32, key: Key, permanent: bool) {
        let Some(gate) = self.gates.get_mut(index as usize).and_then(Option::as_mut) else { return };
        gate.permanent = permanent;
        let before = std::mem::replace(&mut gate.key, key.clone());
        self.by_key.remove(&before);
        self.by_key.insert(key, index);
    }

    /// Sets a gate's state. Nothing is due of it until [`wake`](Self::wake) says so.
    pub(super) fn set(&mut self, index: u32, state: State) {
        if let Some(gate) = self.get_mut(index) {
            gate.state = state;
        }
        self.wake(index, NEVER);
    }

    /// Something must be done about the gate at this time.
    pub(super) fn wake(&mut self, index: u32, at: Nanos) {
        let Some(gate) = self.gates.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let before = std::mem::replace(&mut gate.due, at);
        if before != NEVER {
            self.due.remove(&(before, index));
        }
        if at != NEVER {
            self.due.insert((at, index));
        }
    }

    /// When something must be done about which gate first.
    pub(in crate::handler) fn next_due(&self) -> Option<(Nanos, u32)> {
        self.due.first().copied()
    }

    /// Forgets a gate that nobody needs. Returns it.
    pub(super) fn drop_if_idle(&mut self, index: u32) -> Option<Gate> {
        if !self.get(index)?.is_idle() {
            return None;
        }
        self.remove(index)
    }

    /// Forgets a gate whatever it holds.
    pub(super) fn remove(&mut self, index: u32) -> Option<Gate> {
        self.wake(index, NEVER);
        let gate = self.gates.get_mut(index as usize)?.take()?;
        self.by_key.remove(&gate.key);
        if matches!(gate.key, Key::Topic(_)) {
            self.topics -= 1;
        }
        for &rule in &gate.rules {
            if let Some(rule) = self.rules.get_mut(rule as usize).filter(|rule| rule.gate == Some(index)) {
                rule.gate = None;
            }
        }
        self.free.push(index);
        Some(gate)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Gate)> {
        self.gates.iter_mut().enumerate().filter_map(|(index, gate)| Some((index as u32, gate.as_mut()?)))
    }

    /// The numbers of all gates.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> + use<> {
        let there: Vec<u32> = self.gates.iter().enumerate().filter(|(_, gate)| gate.is_some()).map(|(index, _)| index as u32).collect();
        there.into_iter()
    }
}

#[cfg(test)]
impl Gates {
    /// Whether the message waits at its gate.
    pub(in crate::handler) fn has_in_line(&self, slot: &Slot) -> bool {
        self.get(slot.gate).is_some_and(|gate| gate.waiting.get(&slot.id) == Some(&slot.index))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn new_messages_wait_behind_a_refused_one_and_older_ones_do_not() {
        let mut gates = Gates::default();
        let index = gates.add(Key::Rule(1), State::Open, true);
        let gate = gates.get_mut(index).unwrap();
        assert!(gate.passes(5, true));
        gate.refused.insert(4);
        assert!(!gate.passes(5, true), "4 goes again first");
        assert!(gate.passes(5, false), "it was sent before");
        assert!(gate.passes(3, true), "it is older");
        gate.refused.clear();
        gate.silent = Some((1, 0));
        assert!(!gate.passes(5, true));
        assert!(gate.passes(5, false));
        gate.waiting.insert(6, 60);
        assert!(gate.is_next(5) && !gate.is_next(7));
    }

    #[test]
    fn slows_down_and_recovers() {
        let mut gates = Gates::default();
        let index = gates.add(Key::Topic("t".into()), State::Open, false);
        let gate = gates.get_mut(index).unwrap();
        gate.in_flight = 10;
        gate.slow_down();
        assert!(!gate.passes(1, true));
        gate.in_flight = 4;
        assert!(gate.passes(1, true));
        gate.in_flight = 5;
        assert!(!gate.passes(1, true));
        gate.speed_up(100);
        assert!(gate.passes(1, true));
    }

    #[test]
    fn idle_topic_gates_go_and_their_numbers_are_used_again() {
        let mut gates = Gates::default();
        for i in 0..3_000 {
            gates.add(Key::Topic(i.to_string().into()), State::Open, false);
        }
        let index = gates.of_topic("7").unwrap();
        gates.get_mut(index).unwrap().in_flight = 1;
        assert!(gates.drop_if_idle(index).is_none());
        gates.get_mut(index).unwrap().in_flight = 0;
        assert!(gates.drop_if_idle(index).is_some());
        assert!(gates.of_topic("7").is_none());
        assert_eq!(gates.add(Key::Topic("one more".into()), State::Open, false), index);
    }

    #[test]
    fn the_earliest_gate_is_due_first() {
        let mut gates = Gates::default();
        let (a, b) = (gates.add(Key::Rule(1), State::Open, true), gates.add(Key::Rule(2), State::Open, true));
        gates.wake(a, 20);
        gates.wake(b, 10);
        assert_eq!(gates.next_due(), Some((10, b)));
        gates.wake(b, 30);
        assert_eq!(gates.next_due(), Some((20, a)));
        gates.set(a, State::Open);
        assert_eq!(gates.next_due(), Some((30, b)));
        gates.wake(b, NEVER);
        assert_eq!(gates.next_due(), None);
    }
}
