//! Asking: questions about streams, and what follows from their answers.
//!
//! Does the rule's stream exist, what is its duplicate window, must it be created? Which stream takes a topic that nobody took? One question at a time for each gate,
//! asked again until it is answered; messages wait meanwhile, and `publish` never does.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::OnNoStream;
use crate::error::Status;
use crate::events::EventKind;
use crate::gate::{Check, Gate, Key, MOST_GATES, State};
use crate::handler::Core;
use crate::settle::Ending;
use crate::wire::{Nanos, Question, StreamAnswer, nanos};

/// JetStream's code for a stream that does not exist.
pub(super) const STREAM_NOT_FOUND: u32 = 10059;
/// The server's status when nobody takes a subject.
pub(super) const NO_RESPONDERS: u32 = 503;
/// How long the API's word that no stream takes a topic is believed.
const NOBODY_FOR: Nanos = 250_000_000;

/// What reports of such a topic say.
pub(super) fn nobody_takes(topic: &str) -> String {
    format!("no stream takes {topic:?}")
}

/// P4's bound is the window without the time that an answer is waited for: here nothing is left of it. A stream without a window is told of anyway.
fn short_window(window: Duration, ack_wait: Duration) -> Option<String> {
    (!window.is_zero() && window <= ack_wait).then(|| {
        let ms = ack_wait.as_millis();
        format!("its duplicate window of {window:?} is not larger than ack_wait_ms {ms}: what may have been stored is not sent again")
    })
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Asked {
    what: What,
    about: About,
    give_up_at: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    WhoTakes,
    Describe,
    Create,
    Condition,
}

#[derive(Debug)]
pub(crate) enum About {
    Gate {
        gate: u32,
        key: Key,
        topic: String,
    },
    /// To learn a stream's duplicate window; no message waits for it.
    Background {
        rule: u32,
    },
    /// Why messages are not acknowledged (`explain`).
    Silence {
        key: Key,
    },
}

impl Core {
    fn ask(&mut self, what: What, about: About, question: Question) -> u32 {
        self.ask_until(self.now + nanos(self.shared.settings.ack_wait), what, about, question)
    }

    pub(crate) fn ask_until(&mut self, give_up_at: Nanos, what: What, about: About, question: Question) -> u32 {
        let ask = self.next_ask;
        self.next_ask = self.next_ask.wrapping_add(1).max(1);
        self.asks.insert(ask, Asked { what, about, give_up_at });
        self.questions.push((ask, question));
        ask
    }

    pub(crate) fn ask_in_background(&mut self, rule: u32, question: Question) {
        self.ask(What::Describe, About::Background { rule }, question);
    }

    pub(super) fn ask_who_takes(&mut self, gate: u32, topic: String) {
        let Some(key) = self.gates.get(gate).map(|g| g.key.clone()) else { return };
        let ask = self.ask(What::WhoTakes, About::Gate { gate, key, topic: topic.clone() }, Question::WhoTakes { topic });
        self.note_ask(gate, ask);
    }

    fn note_ask(&mut self, gate: u32, number: u32) {
        match self.gates.get_mut(gate).map(|g| &mut g.state) {
            Some(State::Held(held)) => held.ask = Some(number),
            Some(State::Checking(check)) => check.ask = Some(number),
            _ => {}
        }
    }

    /// Asks for the stream that a rule names.
    pub(super) fn check(&mut self, gate: u32) {
        let Some(Gate { key: Key::Stream(stream), .. }) = self.gates.get(gate) else { return };
        let stream = stream.to_string();
        let check = match self.gates.get(gate).map(|g| &g.state) {
            Some(State::Checking(check)) => Check { ask: None, again_at: Nanos::MAX, ..*check },
            _ => Check::FIRST,
        };
        self.close(gate, State::Checking(check));
        if self.epoch.is_none() {
            // The next connection asks.
            return;
        }
        let key = Key::Stream(stream.as_str().into());
        let rule = self.gates.get(gate).and_then(|g| g.rules.first()).map(|&rule| Box::new(self.rules.get(rule).clone()));
        let ask = self.ask(What::Describe, About::Gate { gate, key, topic: String::new() }, Question::Describe { stream, rule });
        self.note_ask(gate, ask);
    }

    /// Asks again later.
    fn check_later(&mut self, gate: u32) {
        let Some(Gate { state: State::Checking(check), .. }) = self.gates.get(gate) else { return };
        let check = check.clone();
        let again_at = self.now + self.backoff(check.failures);
        self.gates.set(gate, State::Checking(Check { ask: None, again_at, failures: check.failures + 1, ..check }));
    }

    /// The stream that a rule names does not exist, and its messages shall wait for it. Told once.
    fn wait_for_stream(&mut self, gate: u32) {
        let Some(Gate { key: Key::Stream(name), state: State::Checking(check), waiting, .. }) = self.gates.get_mut(gate) else { return };
        if !std::mem::replace(&mut check.missing, true) {
            let text = format!("there is no stream {name:?}; its messages wait for it");
            let topic = waiting.first_key_value().and_then(|(_, &slot)| self.table.get(slot)).map_or_else(String::new, |s| s.topic().to_owned());
            self.lane.counters.gates_held.bump(1);
            self.event(EventKind::GateHeld, Status::NoStream, 0, &topic, text);
        }
        self.check_later(gate);
    }

    fn create(&mut self, gate: u32, topic: String) -> bool {
        let rules = std::sync::Arc::clone(&self.rules);
        let Some(g) = self.gates.get_mut(gate) else { return false };
        let Some(rule) = g.rules.iter().map(|&r| rules.get(r)).find(|r| r.create) else { return false };
        if std::mem::replace(&mut g.created, true) {
            return false;
        }
        let key = g.key.clone();
        let ask = self.ask(What::Create, About::Gate { gate, key, topic }, Question::Create { rule: Box::new(rule.clone()) });
        self.note_ask(gate, ask);
        true
    }

    /// An answer, or the lack of one.
    pub(crate) fn answered(&mut self, ask: u32, answer: StreamAnswer) {
        let Some(asked) = self.asks.remove(&ask) else {
            self.lane.counters.late_acks.bump(1);
            return;
        };
        if let StreamAnswer::Exists { name, duplicate_window: Some(window), differences, risks, .. } = &answer {
            self.learn_window(name, nanos(*window), &asked);
            self.warn_about(name, *window, differences, risks);
        }
        let (gate, key, topic) = match asked.about {
            About::Gate { gate, key, topic } => (gate, key, topic),
            About::Silence { key } => return self.learn_why(key, asked.what, answer),
            About::Background { .. } => return,
        };
        let Some(g) = self.gates.get_mut(gate).filter(|g| g.key == key) else { return };
        let mut was_missing = false;
        let checking = match &mut g.state {
            State::Checking(check) if check.ask == Some(ask) => {
                was_missing = check.missing;
                true
            }
            State::Held(held) if held.ask == Some(ask) => {
                held.ask = None;
                false
            }
            _ => return,
        };
        match answer {
            StreamAnswer::Exists { name, .. } => {
                if asked.what == What::Create {
                    self.event(EventKind::StreamCreated, Status::Ok, 0, &topic, format!("created stream {name}"));
                }
                if checking {
                    self.open(gate);
                    if was_missing {
                        self.event(EventKind::GateOpened, Status::Ok, 0, "", format!("stream {name} is there now"));
                    }
                } else if asked.what == What::Create {
                    self.probe_now(gate);
                } else {
                    // It exists and has no leader: the probes go on.
                    self.tell_held(gate, &topic);
                    let known = StreamAnswer::Exists { name, subjects: Vec::new(), duplicate_window: None, differences: Vec::new(), risks: Vec::new() };
                    self.explain_held(key, &topic, known);
                }
            }
            StreamAnswer::None => self.no_stream(gate, checking, &topic),
            StreamAnswer::Refused { server_code, text } => {
                let (status, text) = match asked.what {
                    What::Create => (Status::CreateFailed, format!("the stream could not be created: {text}")),
                    What::Describe | What::WhoTakes | What::Condition => (Status::Rejected, text),
                };
                self.fail_waiting(gate, None, status, server_code, &text);
                self.reset(gate, checking);
            }
            StreamAnswer::Denied => {
                if asked.what == What::Create {
                    self.fail_waiting(gate, None, Status::CreateFailed, 0, "the server's permissions do not allow to create the stream");
                    self.reset(gate, checking);
                } else if checking {
                    // Nothing can be known: the window is assumed (P4), the messages go.
                    self.open(gate);
                } else {
                    self.tell_held(gate, &topic);
                    self.explain_held(key, &topic, StreamAnswer::Denied);
                }
            }
            StreamAnswer::Unavailable { text } | StreamAnswer::Disabled { text } => {
                self.shared.log(crate::trace::Level::Debug, || format!("no answer about a stream: {text}"));
                if checking {
                    self.check_later(gate);
                } else {
                    self.tell_held(gate, &topic);
                    self.explain_held(key, &topic, StreamAnswer::Unavailable { text });
                }
            }
            // Nobody asks this of a gate.
            StreamAnswer::Condition { .. } => {}
        }
    }

    /// Proven: no stream takes the topic (or, at a check, the rule's stream does not exist).
    fn no_stream(&mut self, gate: u32, checking: bool, topic: &str) {
        let created = self.gates.get(gate).is_some_and(|g| g.created);
        if self.create(gate, topic.to_owned()) {
            return;
        }
        if self.shared.settings.on_no_stream == OnNoStream::Wait {
            if checking {
                self.wait_for_stream(gate);
            } else {
                self.tell_held(gate, topic);
            }
            return;
        }
        let name = match self.gates.get(gate).map(|g| &g.key) {
            Some(Key::Stream(name)) => Some(name.to_string()),
            _ => None,
        };
        let text = match (checking, &name) {
            (true, Some(name)) => format!("there is no stream {name:?}; create it, or give the rule create=if_missing"),
            (false, Some(name)) if created => format!("no stream takes {topic:?}, although stream {name:?} exists; look at its subjects"),
            _ => nobody_takes(topic),
        };
        if !checking {
            self.remember_nobody(topic);
        }
        self.fail_waiting(gate, (!checking).then_some(topic), Status::NoStream, if checking { STREAM_NOT_FOUND } else { NO_RESPONDERS }, &text);
        self.reset(gate, checking);
    }

    /// For a moment each further 503 is proof enough: a service that publishes 3,000 messages a second to no stream must not ask as often. The messages still go,
    /// so the first one after the stream's creation is stored.
    fn remember_nobody(&mut self, topic: &str) {
        if self.nobody.len() >= MOST_GATES {
            self.nobody.clear();
        }
        self.nobody.insert(topic.into(), self.now + NOBODY_FOR);
    }

    /// The API said so a moment ago.
    pub(super) fn nobody_takes(&self, topic: &str) -> bool {
        self.nobody.get(topic).is_some_and(|&until| self.now < until)
    }

    /// Settles what waits: all of it, or one topic's.
    fn fail_waiting(&mut self, gate: u32, topic: Option<&str>, status: Status, server_code: u32, text: &str) {
        let Some(g) = self.gates.get(gate) else { return };
        let waiting: Vec<u32> = g.waiting.values().copied().collect();
        for slot in waiting {
            if topic.is_none_or(|t| self.table.get(slot).is_some_and(|s| s.topic() == t)) {
                self.settle(slot, Ending::definite(status, server_code, text));
            }
        }
    }

    /// After a definite answer: what still waits is tried at once; else the gate is as before its first message.
    fn reset(&mut self, gate: u32, checking: bool) {
        let Some(g) = self.gates.get(gate) else { return };
        if checking {
            self.gates.set(gate, State::Unchecked);
            for rule in self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default() {
                self.shared.window.close_rule(rule, self.lane.bit(), false);
            }
            if let Some(g) = self.gates.get_mut(gate) {
                g.created = false;
            }
        } else if g.waiting.is_empty() {
            let probing = matches!(&g.state, State::Held(held) if held.probe.is_some());
            if !probing {
                self.open(gate);
            }
        } else {
            self.probe_now(gate);
        }
    }

    fn learn_window(&mut self, name: &str, window: Nanos, asked: &Asked) {
        // A description says nothing of its domain.
        for known in self.streams.get_mut(name).into_iter().flatten() {
            known.window = Some(window);
        }
        let rules = match &asked.about {
            About::Background { rule } => vec![*rule],
            About::Gate { gate, .. } => self.gates.get(*gate).map(|g| g.rules.clone()).unwrap_or_default(),
            About::Silence { .. } => return,
        };
        for rule in rules {
            let known = self.gates.rule(rule);
            known.window = Some(known.window.map_or(window, |w| w.min(window)));
        }
    }

    fn warn_about(&mut self, name: &str, window: Duration, differences: &[String], risks: &[String]) {
        if !differences.is_empty() {
            let text = format!("stream {name} is used as it is, though it differs from its topic rule: {}", differences.join("; "));
            self.event(EventKind::StreamDiffers, Status::Ok, 0, "", text);
        }
        for risk in risks.iter().chain(&short_window(window, self.shared.settings.ack_wait)) {
            self.event(EventKind::StreamRisk, Status::Ok, 0, "", format!("stream {name}: {risk}"));
        }
    }

    /// Questions that nobody answered in time. Returns when the next one's time is over.
    pub(super) fn give_up_questions(&mut self) -> Nanos {
        if self.asks.is_empty() {
            return Nanos::MAX;
        }
        let now = self.now;
        let over: Vec<u32> = self.asks.iter().filter(|(_, asked)| asked.give_up_at <= now).map(|(&ask, _)| ask).collect();
        for ask in over {
            self.answered(ask, StreamAnswer::Unavailable { text: "the server did not answer in time".into() });
        }
        self.asks.values().map(|asked| asked.give_up_at).min().unwrap_or(Nanos::MAX)
    }

    /// The connection is gone, and with it whoever was asked.
    pub(crate) fn forget_questions(&mut self) {
        self.asks = HashMap::new();
        self.questions.clear();
        self.forget_silences();
        for (_, gate) in self.gates.iter_mut() {
            match &mut gate.state {
                State::Checking(check) => {
                    check.ask = None;
                    check.again_at = 0;
                }
                State::Held(held) => held.ask = None,
                State::Open | State::Unchecked => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_leaves_no_time_is_told() {
        let of = |window, ack_wait| short_window(Duration::from_millis(window), Duration::from_millis(ack_wait));
        let text = "its duplicate window of 5s is not larger than ack_wait_ms 5000: what may have been stored is not sent again";
        assert_eq!(of(5_000, 5_000).as_deref(), Some(text));
        assert!(of(100, 5_000).is_some());
        assert_eq!((of(5_001, 5_000), of(0, 5_000)), (None, None));
    }
}
