//! Absence: that nobody took a message proves that it was not stored, not that there is no stream.
//!
//! NO_STREAM is told at once only if the server that is asked could know (P2, absence): it described the streams that acknowledged, and none is reached by an import, a mapping
//! or a leaf node. Else it is an election, and the messages wait for its end.

use std::collections::HashMap;

use crate::base::error::Status;
use crate::base::time::Nanos;
use crate::config::settings::OnNoStream;
use crate::desk::events::EventKind;
use crate::handler::Handler;
use crate::handler::gate::{Absence, Cause, Gate, Key, State};
use crate::handler::settle::Ending;
use crate::wire::StreamAnswer;

/// How long the API's word that no stream takes a topic is believed.
const NOBODY_FOR: Nanos = 250_000_000;
/// Topics of which that is remembered (P9).
const MOST_NOBODY: usize = 1024;

/// What reports of such a topic say.
pub(super) fn nobody_takes(topic: &str) -> String {
    format!("no stream takes {topic:?}")
}

/// The topics that no stream takes, by the API's word, and until when that is believed.
#[derive(Debug, Default)]
pub(crate) struct Nobody {
    topics: HashMap<Box<str>, Nanos>,
    /// The latest of those times: after it nothing is looked up.
    until: Nanos,
    /// The code of a message that nobody took, as the wire says it.
    pub(super) code: u32,
    /// The same, of a stream that is not there.
    pub(super) no_stream: u32,
}

impl Handler {
    /// Nobody took a message of this topic: which stream should, and could the server that is asked know?
    pub(super) fn ask_about_absence(&mut self, gate: u32, topic: String) {
        let rule = self.rule_of(gate, &topic);
        self.ask_who_takes(gate, rule, topic);
    }

    /// The stream that takes the rule's messages, as far as it is known and was described.
    pub(super) fn described_stream_of(&mut self, gate: u32, rule: u32) -> Option<String> {
        let stream = match self.gates.get(gate).map(|g| &g.key) {
            Some(Key::Stream(name)) => Some(name.to_string()),
            // Of a topic alone in trouble: the stream that took its rule's messages, if it is one.
            _ => self.gates.rule(rule).takers.only().map(|taker| taker.stream.name().to_owned()),
        };
        stream.filter(|name| self.is_described(name))
    }

    /// The rule of this topic's messages at the gate.
    pub(super) fn rule_of(&self, gate: u32, topic: &str) -> u32 {
        let Some(g) = self.gates.get(gate) else { return 0 };
        let waiting = g.waiting.values().filter_map(|&slot| self.table.get(slot));
        waiting.filter(|s| s.topic() == topic).map(|s| s.rule).next().unwrap_or_else(|| self.rules.matching(topic).index)
    }

    /// Whether the server's word that no stream takes a topic counts: every stream that ever acknowledged the rule was described by it, and has the topics that it took among its
    /// own subjects. Behind an import, a mapping or a leaf node it cannot know.
    pub(super) fn could_know(&mut self, rule: u32) -> bool {
        let takers: Vec<_> = self.gates.rule(rule).takers.iter().cloned().collect();
        takers.is_empty()
            || (!self.gates.rule(rule).takers.are_several() && takers.iter().all(|taker| self.could_describe(&taker.stream)) && !self.has_indirect())
    }

    /// The same, of all rules whose messages to this topic wait at the gate: rules may have changed meanwhile.
    pub(super) fn could_know_all(&mut self, gate: u32, topic: &str) -> bool {
        let mut rules = Vec::new();
        if let Some(g) = self.gates.get(gate) {
            let slots = g.waiting.values().copied().chain(self.gates.held(gate).and_then(|held| held.probe).map(|(slot, _)| slot));
            rules.extend(slots.filter_map(|slot| self.table.get(slot)).filter(|s| s.topic() == topic).map(|s| s.rule));
            rules.sort_unstable();
            rules.dedup();
        }
        rules.into_iter().all(|rule| self.could_know(rule))
    }

    /// Settles what no stream takes. `tried`: a message found nobody just now. For a moment the next ones of a stream that is not there need not be tried: no longer, for
    /// behind an import or a leaf node only a message can tell that it is there.
    pub(super) fn conclude_absence(&mut self, gate: u32, absence: Absence, tried: bool) {
        if self.shared.settings.on_no_stream == OnNoStream::Wait {
            self.tell_missing(gate);
            return self.probe_failed(gate);
        }
        let Absence { topic, server_code, text } = absence;
        match &topic {
            Some(topic) => self.remember_nobody(topic),
            None if tried => {
                let until = self.now + NOBODY_FOR;
                if let Some(g) = self.gates.get_mut(gate) {
                    g.absent_until = until;
                }
            }
            None => {}
        }
        self.fail_waiting(gate, topic.as_deref(), Status::NoStream, server_code, &text);
        self.reset(gate, topic.is_none());
    }

    /// No stream, by the word of a server that could know. The next probe confirms it; with `gone` the stream that took the messages is gone, and nothing more is asked.
    pub(super) fn no_stream(&mut self, gate: u32, absence: Absence, gone: bool) {
        let topic = absence.topic.clone().unwrap_or_else(|| self.oldest_topic(gate));
        if self.now < self.known.unsure_until {
            match self.gates.held(gate) {
                Some(_) => self.tell_held(gate, &topic),
                None => self.check_later(gate),
            }
        } else if !self.create(gate, &topic) {
            self.no_taker(gate, absence, gone);
        }
    }

    /// The same, where creating a stream would not help.
    pub(super) fn no_taker(&mut self, gate: u32, absence: Absence, gone: bool) {
        let topic = absence.topic.clone().unwrap_or_else(|| self.oldest_topic(gate));
        let names_stream = matches!(self.gates.get(gate).map(|g| &g.key), Some(Key::Stream(_)));
        let untried = self.gates.held(gate).is_some_and(|held| held.cause == Cause::Unanswered);
        if self.shared.settings.on_no_stream == OnNoStream::Wait && !(untried && absence.topic.is_none()) {
            if absence.topic.is_none() && names_stream {
                self.tell_missing(gate);
            } else {
                self.tell_held(gate, &topic);
            }
            match self.gates.held_mut(gate) {
                Some(held) => {
                    held.missing.get_or_insert(0);
                }
                None => self.check_later(gate),
            }
            return;
        }
        if gone {
            return self.conclude_absence(gate, absence, false);
        }
        if let Some(held) = self.gates.held_mut(gate) {
            held.absence = Some(absence);
            self.probe_now(gate);
        }
    }

    pub(super) fn no_such(&self, name: &str) -> Absence {
        let creates = self.gates.find(&Key::Stream(name.into())).and_then(|gate| self.gates.get(gate)).is_some_and(|g| g.created);
        let advice = if creates { "" } else { "; create it, or give the rule create=if_missing" };
        Absence { topic: None, server_code: self.nobody.no_stream, text: format!("there is no stream {name:?}{advice}") }
    }

    /// A topic that the gate's stream does not take waits at a gate of its own from now on, unless the rule names the stream. Returns its gate.
    pub(super) fn leave_alone(&mut self, gate: u32, topic: &str) -> u32 {
        if self.is_named(gate) || !self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Stream(_))) {
            return gate;
        }
        self.isolate(gate, topic);
        let Some(own) = self.gates.of_topic(topic) else { return gate };
        self.go_on(gate);
        own
    }

    /// A message and the question about it found nobody: the commonest mistake of beginners, said in those words. Said once, whatever the number of topics.
    pub(super) fn tell_no_jetstream(&mut self, gate: u32, topic: &str, text: String, nobody: Option<&'static str>) {
        let rule = self.rule_of(gate, topic);
        let acked = !self.gates.rule(rule).takers.are_none();
        let Some(Gate { state: State::Held(held), key, .. }) = self.gates.get_mut(gate) else { return };
        let key = key.clone();
        held.no_jetstream = None;
        // Who was acknowledged before made no mistake.
        let text = nobody.filter(|_| acked).map_or(text, str::to_owned);
        if !std::mem::replace(&mut held.told, true) {
            self.lane.counters.gates_held.bump(1);
        }
        if self.shared.desk.set_standing(Some(text.clone())) {
            self.event(EventKind::GateHeld, Status::Unavailable, 0, topic, format!("{topic}: {text}; messages wait and one at a time is tried"));
        }
        self.explain_held(key, topic, StreamAnswer::Disabled { text, nobody });
    }

    /// For a moment each further message that finds nobody is proof enough: a service that publishes 3,000 messages a second to no stream must not ask as often. The messages still go,
    /// so the first one after the stream's creation is stored.
    fn remember_nobody(&mut self, topic: &str) {
        if self.nobody.topics.len() >= MOST_NOBODY {
            self.nobody.topics.clear();
        }
        self.nobody.until = self.now + NOBODY_FOR;
        self.nobody.topics.insert(topic.into(), self.nobody.until);
    }

    /// The API said so a moment ago, and is still believed.
    pub(super) fn nobody_takes(&mut self, rule: u32, topic: &str) -> bool {
        self.nobody.topics.get(topic).is_some_and(|&until| self.now < until) && self.could_know(rule)
    }

    /// A message to this topic was stored: somebody takes it.
    #[inline(always)]
    pub(crate) fn somebody_takes(&mut self, slot: u32) {
        if self.now < self.nobody.until
            && let Some(s) = self.table.get(slot)
        {
            self.nobody.topics.remove(s.topic());
        }
    }

    /// The stream that a rule names does not exist, and its messages shall wait for it. Told once.
    pub(super) fn tell_missing(&mut self, gate: u32) {
        let Some(g) = self.gates.get_mut(gate) else { return };
        let Key::Stream(name) = &g.key else { return };
        let told = match &mut g.state {
            State::Checking(check) => std::mem::replace(&mut check.missing, true),
            State::Held(held) => {
                held.missing.get_or_insert(0);
                std::mem::replace(&mut held.told, true)
            }
            _ => return,
        };
        if told {
            return;
        }
        let text = format!("there is no stream {name:?}; its messages wait for it");
        let topic = self.oldest_topic(gate);
        self.lane.counters.gates_held.bump(1);
        self.event(EventKind::GateHeld, Status::NoStream, 0, &topic, text);
    }

    pub(super) fn oldest_topic(&self, gate: u32) -> String {
        let oldest = self.gates.get(gate).and_then(|g| g.waiting.first_key_value()).map(|(_, &slot)| slot);
        oldest.and_then(|slot| self.table.get(slot)).map_or_else(String::new, |s| s.topic().to_owned())
    }

    /// Settles what waits: all of it, or one topic's.
    pub(super) fn fail_waiting(&mut self, gate: u32, topic: Option<&str>, status: Status, server_code: u32, text: &str) {
        let Some(g) = self.gates.get(gate) else { return };
        let waiting: Vec<u32> = g.waiting.values().copied().collect();
        for slot in waiting {
            if topic.is_none_or(|t| self.table.get(slot).is_some_and(|s| s.topic() == t)) {
                self.settle(slot, Ending::definite(status, server_code, text));
            }
        }
    }

    /// After a definite answer: what still waits is tried at once; else the gate is as before its first message.
    pub(super) fn reset(&mut self, gate: u32, to_the_start: bool) {
        let Some(g) = self.gates.get_mut(gate) else { return };
        if !to_the_start {
            return self.go_on(gate);
        }
        g.created = false;
        if matches!(g.key, Key::Stream(_)) {
            self.gates.set(gate, State::Unchecked);
            for rule in self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default() {
                self.shared.window.close_rule(rule, self.lane.bit(), false);
            }
        } else {
            self.open(gate);
        }
    }
}
