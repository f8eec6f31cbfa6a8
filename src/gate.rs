//! Gates: one mechanism for stream checks, missing streams, overload and elections (X4, P10).
//!
//! A gate stands before what goes to one stream. While it is closed, refused and unsent messages wait behind it in the order of their ids and the oldest alone is
//! sent as a probe; so a leader election costs a few frames instead of a storm, and order survives it. Topics in trouble whose stream is not known get a gate of
//! their own, so that one bad topic holds nobody else. This room keeps the gates; what opens and closes them is decided in `hold`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ledger::{Slot, StreamId};
use crate::wire::{Nanos, Trouble};

/// The most gates at a time. A message in trouble that finds none retries alone.
pub(crate) const MOST_GATES: usize = 1024;

/// What a gate stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A stream that a rule names, or that the first ack of a rule named.
    Stream(Box<str>),
    /// A rule without a stream but with an in-flight limit.
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
    pub(crate) ask: Option<u32>,
    pub(crate) again_at: Nanos,
    pub(crate) failures: u32,
    /// The last answer was that there is no such stream, and its messages shall wait for it.
    pub(crate) missing: bool,
}

impl Check {
    pub(crate) const FIRST: Check = Check { ask: None, again_at: Nanos::MAX, failures: 0, missing: false };
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) trouble: Trouble,
    pub(crate) ask: Option<u32>,
    /// Slot and id of the message that was sent to try.
    pub(crate) probe: Option<(u32, u64)>,
    pub(crate) probe_at: Nanos,
    /// Pauses between probes grow with the time since then.
    pub(crate) since: Nanos,
    /// It was told that messages wait.
    pub(crate) told: bool,
}

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) key: Key,
    pub(crate) state: State,
    /// By id, the slots that wait.
    pub(crate) waiting: BTreeMap<u64, u32>,
    /// Messages that passed and have no answer yet.
    pub(crate) in_flight: usize,
    /// The rule's `in_flight`.
    limit: Option<usize>,
    /// After an overload: half of what was in flight, one more per ack.
    ramp: Option<usize>,
    /// The rules whose messages all pass here.
    pub(crate) rules: Vec<u32>,
    /// The stream was created since the gate was closed; if it still takes nothing, creating it again will not help.
    pub(crate) created: bool,
    /// The share of the window is used up (topics only).
    pub(crate) share_used: bool,
    /// Kept although idle: a rule names it.
    permanent: bool,
}

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    fn passes(&self) -> bool {
        self.is_open() && self.in_flight < self.limit.unwrap_or(usize::MAX).min(self.ramp.unwrap_or(usize::MAX))
    }

    /// Whether this message may go now: the gate is open, has room, and nobody older waits.
    pub(crate) fn lets_pass(&self, id: u64) -> bool {
        self.passes() && self.waiting.first_key_value().is_none_or(|(&first, _)| id < first)
    }

    /// The oldest that waits, if it may go now.
    pub(crate) fn next_to_pass(&mut self) -> Option<u32> {
        if self.passes() { self.waiting.pop_first().map(|(_, slot)| slot) } else { None }
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
        !self.permanent && matches!(self.state, State::Open) && self.waiting.is_empty() && self.in_flight == 0
    }
}

/// What is known of a rule's streams.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    pub(crate) gate: Option<u32>,
    pub(crate) learned: Learned,
    /// The smallest duplicate window of its streams.
    pub(crate) window: Option<Nanos>,
    /// Somebody was told that the window is not known.
    pub(crate) told_unknown: bool,
}

/// Which streams acknowledged a rule's messages.
#[derive(Debug, Default)]
pub(crate) enum Learned {
    #[default]
    Nothing,
    One(Arc<StreamId>),
    Many,
}

/// All gates of a publisher.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Vec<Option<Gate>>,
    by_key: HashMap<Key, u32>,
    free: Vec<u32>,
    /// How many gates stand for topics: while none does, no topic is looked up.
    topics: usize,
    /// The gates that are not open.
    closed: Vec<u32>,
    rules: Vec<RuleState>,
}

impl Gates {
    pub(crate) fn get(&self, gate: u32) -> Option<&Gate> {
        self.gates.get(gate as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, gate: u32) -> Option<&mut Gate> {
        self.gates.get_mut(gate as usize)?.as_mut()
    }

    pub(crate) fn rule(&mut self, rule: u32) -> &mut RuleState {
        let rule = rule as usize;
        if rule >= self.rules.len() {
            self.rules.resize_with(rule + 1, RuleState::default);
        }
        &mut self.rules[rule]
    }

    /// The gate of a topic in trouble.
    pub(crate) fn of_topic(&self, topic: &str) -> Option<u32> {
        self.by_key.get(&Key::Topic(topic.into())).copied()
    }

    /// The gate of a message's topic, if that is in trouble: while none is, nobody's topic is read.
    pub(crate) fn of_message(&self, slot: &Slot) -> Option<u32> {
        if self.topics == 0 { None } else { self.of_topic(slot.topic()) }
    }

    pub(crate) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Makes a gate. `None`: there are too many.
    pub(crate) fn add(&mut self, key: Key, state: State, limit: Option<usize>, permanent: bool) -> Option<u32> {
        if self.by_key.len() >= MOST_GATES && !permanent {
            return None;
        }
        let index = self.free.pop().unwrap_or(self.gates.len() as u32);
        if index as usize == self.gates.len() {
            self.gates.push(None);
        }
        if matches!(key, Key::Topic(_)) {
            self.topics += 1;
        }
        self.by_key.insert(key.clone(), index);
        let gate =
            Gate { key, state, waiting: BTreeMap::new(), in_flight: 0, limit, ramp: None, rules: Vec::new(), created: false, share_used: false, permanent };
        if let Some(place) = self.gates.get_mut(index as usize) {
            *place = Some(gate);
        }
        Some(index)
    }

    /// Sets a gate's state and keeps the list of closed ones.
    pub(crate) fn set(&mut self, index: u32, state: State) {
        if let Some(gate) = self.get_mut(index) {
            let open = matches!(state, State::Open | State::Unchecked);
            gate.state = state;
            if open {
                self.closed.retain(|&g| g != index);
            } else if !self.closed.contains(&index) {
                self.closed.push(index);
            }
        }
    }

    /// Forgets a gate that nobody needs. Returns its key.
    pub(crate) fn drop_if_idle(&mut self, index: u32) -> Option<Gate> {
        if !self.get(index)?.is_idle() {
            return None;
        }
        let gate = self.gates.get_mut(index as usize)?.take()?;
        self.by_key.remove(&gate.key);
        if matches!(gate.key, Key::Topic(_)) {
            self.topics -= 1;
        }
        for &rule in &gate.rules {
            if let Some(rule) = self.rules.get_mut(rule as usize) {
                rule.gate = None;
            }
        }
        self.free.push(index);
        Some(gate)
    }

    pub(crate) fn closed(&self) -> &[u32] {
        &self.closed
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Gate)> {
        self.gates.iter_mut().enumerate().filter_map(|(index, gate)| Some((index as u32, gate.as_mut()?)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn passes_in_order_and_within_limits() {
        let mut gates = Gates::default();
        let index = gates.add(Key::Rule(1), State::Open, Some(1), true).unwrap();
        let gate = gates.get_mut(index).unwrap();
        assert!(gate.lets_pass(5));
        gate.waiting.insert(4, 40);
        assert!(!gate.lets_pass(5), "4 is older");
        assert!(gate.lets_pass(3));
        gate.in_flight = 1;
        assert_eq!(gate.next_to_pass(), None);
        gate.in_flight = 0;
        assert_eq!(gate.next_to_pass(), Some(40));
    }

    #[test]
    fn slows_down_and_recovers() {
        let mut gates = Gates::default();
        let index = gates.add(Key::Topic("t".into()), State::Open, None, false).unwrap();
        let gate = gates.get_mut(index).unwrap();
        gate.in_flight = 10;
        gate.slow_down();
        assert!(!gate.lets_pass(1));
        gate.in_flight = 4;
        assert!(gate.lets_pass(1));
        gate.in_flight = 5;
        assert!(!gate.lets_pass(1));
        gate.speed_up(100);
        assert!(gate.lets_pass(1));
    }

    #[test]
    fn idle_topic_gates_go_and_are_bounded() {
        let mut gates = Gates::default();
        for i in 0..MOST_GATES {
            assert!(gates.add(Key::Topic(i.to_string().into()), State::Open, None, false).is_some());
        }
        assert!(gates.add(Key::Topic("one more".into()), State::Open, None, false).is_none());
        let index = gates.of_topic("7").unwrap();
        assert!(gates.drop_if_idle(index).is_some());
        assert!(gates.of_topic("7").is_none());
        assert!(gates.add(Key::Topic("one more".into()), State::Open, None, false).is_some());
    }
}
