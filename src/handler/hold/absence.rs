//! Absence: that nobody took a message proves that it was not stored, not that there is no stream.
//!
//! NO_STREAM is told at once only if the server that is asked could know (P2, absence): it described the streams that acknowledged, and none is reached by an import, a mapping
//! or a leaf node. Else it is an election, and the messages wait for its end.

use super::Holding;
use super::gates::{Absence, Cause, Gate, Key, State};
use super::nobody::NOBODY_FOR;
use crate::base::error::Status;
use crate::config::settings::OnNoStream;
use crate::desk::events::EventKind;
use crate::handler::orders::{Ending, Order};
use crate::wire::StreamAnswer;

impl Holding<'_> {
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
            _ => self.known.takers(rule).only().map(|taker| taker.name().to_owned()),
        };
        stream.filter(|name| self.known.is_described(name))
    }

    /// The rule of this topic's messages at the gate.
    pub(super) fn rule_of(&self, gate: u32, topic: &str) -> u32 {
        let Some(g) = self.gates.get(gate) else { return 0 };
        let waiting = g.waiting.values().filter_map(|&slot| self.line.get(slot));
        waiting.filter(|s| s.topic() == topic).map(|s| s.rule).next().unwrap_or_else(|| self.here.rules().matching(topic).index)
    }

    /// Whether the server's word that no stream takes the topic counts, for all rules whose messages to it wait at the gate: rules may have changed meanwhile.
    pub(super) fn could_know_all(&mut self, gate: u32, topic: &str) -> bool {
        let mut rules = Vec::new();
        if let Some(g) = self.gates.get(gate) {
            let slots = g.waiting.values().copied().chain(self.gates.held(gate).and_then(|held| held.probe).map(|(slot, _)| slot));
            rules.extend(slots.filter_map(|slot| self.line.get(slot)).filter(|s| s.topic() == topic).map(|s| s.rule));
            rules.sort_unstable();
            rules.dedup();
        }
        rules.into_iter().all(|rule| self.known.could_know(rule, self.here))
    }

    /// Settles what no stream takes. `tried`: a message found nobody just now. For a moment the next ones of a stream that is not there need not be tried: no longer, for
    /// behind an import or a leaf node only a message can tell that it is there.
    pub(super) fn conclude_absence(&mut self, gate: u32, absence: Absence, tried: bool) {
        if self.here.settings().on_no_stream == OnNoStream::Wait {
            self.tell_missing(gate);
            return self.probe_failed(gate);
        }
        let Absence { topic, server_code, text } = absence;
        match &topic {
            Some(topic) => self.gates.nobody.remember(topic, self.here.now()),
            None if tried => {
                let until = self.here.now() + NOBODY_FOR;
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
        if self.known.doubts_absence(self.here.now()) {
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
        if self.here.settings().on_no_stream == OnNoStream::Wait && !(untried && absence.topic.is_none()) {
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
        Absence { topic: None, server_code: self.here.no_stream_code(), text: format!("there is no stream {name:?}{advice}") }
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
    pub(super) fn tell_no_store(&mut self, gate: u32, topic: &str, text: String, nobody: Option<&'static str>) {
        let rule = self.rule_of(gate, topic);
        let acked = !self.known.takers(rule).are_none();
        let Some(Gate { state: State::Held(held), key, .. }) = self.gates.get_mut(gate) else { return };
        let key = key.clone();
        held.no_store = None;
        // Who was acknowledged before made no mistake.
        let text = nobody.filter(|_| acked).map_or(text, str::to_owned);
        if !std::mem::replace(&mut held.told, true) {
            self.here.lane().counters.gates_held.bump(1);
        }
        self.orders.push(Order::NothingStores { topic: topic.to_owned(), text: text.clone() });
        self.orders.explain(key, topic, StreamAnswer::Disabled { text, nobody });
    }

    /// The API said a moment ago that nobody takes this topic, and is still believed.
    pub(super) fn nobody_takes(&self, rule: u32, topic: &str) -> bool {
        self.gates.nobody.takes(topic, self.here.now()) && self.known.could_know(rule, self.here)
    }

    /// A message was stored: somebody takes its topic.
    #[inline(always)]
    pub(in crate::handler) fn somebody_takes(&mut self, slot: u32) {
        if self.gates.nobody.is_remembered(self.here.now())
            && let Some(s) = self.line.get(slot)
        {
            self.gates.nobody.forget(s.topic());
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
        self.here.lane().counters.gates_held.bump(1);
        self.orders.tell(EventKind::GateHeld, Status::NoStream, 0, &topic, text);
    }

    pub(super) fn oldest_topic(&self, gate: u32) -> String {
        let oldest = self.gates.get(gate).and_then(|g| g.waiting.first_key_value()).map(|(_, &slot)| slot);
        oldest.and_then(|slot| self.line.get(slot)).map_or_else(String::new, |s| s.topic().to_owned())
    }

    /// Settles what waits: all of it, or one topic's. It waits no longer.
    pub(super) fn fail_waiting(&mut self, gate: u32, topic: Option<&str>, status: Status, server_code: u32, text: &str) {
        let Some(g) = self.gates.get_mut(gate) else { return };
        let line = &*self.line;
        let orders = &mut *self.orders;
        g.waiting.retain(|_, &mut slot| {
            let fails = topic.is_none_or(|t| line.get(slot).is_some_and(|s| s.topic() == t));
            if fails {
                orders.settle(slot, Ending::definite(status, server_code, text));
            }
            !fails
        });
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
                self.orders.push(Order::CloseRule { rule, closed: false });
            }
        } else {
            self.open(gate);
        }
    }
}
