//! Checks and answers: what is asked about a gate's stream, and what follows from the answers.
//!
//! That nobody took a message proves that it was not stored, not that there is no stream. That is told at once only if the server that is asked could know (P2,
//! absence); else it is an election, and the messages wait for its end.

use super::gates::{Absence, Cause, Check, Gate, Key, PATIENCE, State};
use super::{Holding, nobody_takes};
use crate::base::error::Status;
use crate::base::level::Level;
use crate::base::time::Nanos;
use crate::desk::events::EventKind;
use crate::handler::asking::{About, What};
use crate::handler::orders::Order;
use crate::wire::{Question, StreamAnswer};

impl Holding<'_> {
    fn ask_of_gate(&mut self, gate: u32, rule: u32, what: What, topic: String, question: Question) {
        let Some(key) = self.gates.get(gate).map(|g| g.key.clone()) else { return };
        let give_up_at = self.here.ack_due();
        self.orders.push(Order::Ask { what, about: About::Gate { gate, key, topic, rule }, question, give_up_at });
    }

    /// The question about this gate got its number.
    pub(in crate::handler) fn note_asked(&mut self, gate: u32, ask: u32) {
        match self.gates.get_mut(gate).map(|g| &mut g.state) {
            Some(State::Held(held)) => held.ask = Some(ask),
            Some(State::Checking(check)) => check.ask = Some(ask),
            _ => {}
        }
    }

    /// The connection is gone, and with it whoever was asked.
    pub(in crate::handler) fn forget_asked(&mut self) {
        for (_, gate) in self.gates.iter_mut() {
            match &mut gate.state {
                State::Checking(check) => check.ask = None,
                State::Held(held) => held.ask = None,
                State::Open | State::Unchecked => {}
            }
        }
    }

    // ---- Checks ----

    /// Asks for the stream that a rule names.
    pub(super) fn check(&mut self, gate: u32) {
        let Some(Gate { key: Key::Stream(stream), .. }) = self.gates.get(gate) else { return };
        let stream = stream.to_string();
        let check = match self.gates.get(gate).map(|g| &g.state) {
            Some(State::Checking(check)) => Check { ask: None, again_at: Nanos::MAX, ..*check },
            _ => Check { ask: None, again_at: Nanos::MAX, failures: 0, patience_until: self.here.now() + PATIENCE, missing: false },
        };
        let patience_until = check.patience_until;
        self.close(gate, State::Checking(check));
        if !self.here.is_online() {
            // The next connection asks.
            return;
        }
        self.gates.wake(gate, patience_until.max(self.here.now() + 1));
        let index = self.gates.get(gate).and_then(|g| g.rules.first().copied()).unwrap_or(0);
        let rule = Some(Box::new(self.here.rule(index).clone()));
        self.ask_of_gate(gate, index, What::Describe, String::new(), Question::Describe { stream, rule });
    }

    /// Asks again later.
    pub(super) fn check_later(&mut self, gate: u32) {
        let Some(Gate { state: State::Checking(check), .. }) = self.gates.get(gate) else { return };
        let check = check.clone();
        let again_at = self.here.now() + self.line.backoff(check.failures);
        let wake = if check.missing { again_at } else { again_at.min(check.patience_until.max(self.here.now() + 1)) };
        self.gates.set(gate, State::Checking(Check { ask: None, again_at, failures: check.failures + 1, ..check }));
        self.gates.wake(gate, wake);
    }

    pub(super) fn create(&mut self, gate: u32, topic: &str) -> bool {
        let here = self.here;
        let Some(g) = self.gates.get(gate).filter(|g| !g.created) else { return false };
        let Some(rule) = g.rules.iter().map(|&r| here.rule(r)).find(|r| r.create) else { return false };
        self.ask_of_gate(gate, rule.index, What::Create, topic.to_owned(), Question::Create { rule: Box::new(rule.clone()) });
        true
    }

    pub(super) fn ask_who_takes(&mut self, gate: u32, rule: u32, topic: String) {
        self.ask_of_gate(gate, rule, What::WhoTakes, topic.clone(), Question::WhoTakes { topic });
    }

    // ---- Answers ----

    /// An answer to a question of this gate, if that still stands for the same. `None`: the gate asks no more, or something else. Else the rules whose messages all pass it.
    pub(in crate::handler) fn expects(&mut self, gate: u32, key: &Key, ask: u32) -> Option<Vec<u32>> {
        let g = self.gates.get_mut(gate).filter(|g| g.key == *key)?;
        let asked = match &mut g.state {
            State::Checking(check) => &mut check.ask,
            State::Held(held) => &mut held.ask,
            State::Open | State::Unchecked => return None,
        };
        asked.take_if(|asked| *asked == ask).map(|_| g.rules.clone())
    }

    /// What follows from the answer that was expected.
    pub(in crate::handler) fn answered(&mut self, gate: u32, rule: u32, topic: String, what: What, answer: StreamAnswer) {
        let checking = matches!(self.gates.get(gate).map(|g| &g.state), Some(State::Checking(_)));
        match (what, checking) {
            (What::Create, _) => self.create_answered(gate, checking, &topic, answer),
            (What::WhoTakes, _) => self.taker_of_held(gate, rule, topic, answer),
            (_, true) => self.checked(gate, answer),
            (_, false) => self.described_held(gate, rule, topic, answer),
        }
    }

    /// The answer to a check.
    fn checked(&mut self, gate: u32, answer: StreamAnswer) {
        let was_missing = matches!(self.gates.get(gate).map(|g| &g.state), Some(State::Checking(Check { missing: true, .. })));
        match answer {
            StreamAnswer::Exists { name, .. } => {
                self.open(gate);
                if was_missing {
                    self.orders.tell(EventKind::GateOpened, Status::Ok, 0, "", format!("stream {name} is there now"));
                }
            }
            StreamAnswer::None => self.missing(gate),
            // Nothing can be known: the window is assumed (P4), the messages go.
            StreamAnswer::Denied => self.open(gate),
            // Nothing can be known of a stream behind an import either, or nobody has streams at all: the first message tells.
            StreamAnswer::Disabled { text, nobody } => {
                self.orders.push(Order::Log(Level::Debug, format!("no answer about a stream: {text}")));
                self.try_unanswered(gate);
                if let Some(held) = self.gates.held_mut(gate) {
                    held.no_store = Some((text, nobody));
                }
            }
            StreamAnswer::Refused { text, .. } => {
                self.orders.push(Order::Log(Level::Debug, format!("no answer about a stream: {text}")));
                self.try_unanswered(gate);
            }
            StreamAnswer::Unavailable { text } => {
                self.orders.push(Order::Log(Level::Debug, format!("no answer about a stream: {text}")));
                self.check_later(gate);
            }
            // Nobody asks this of a gate.
            StreamAnswer::Condition { .. } => {}
        }
    }

    /// At a check: the stream that the rule names is not there, by the word of the server that was asked.
    fn missing(&mut self, gate: u32) {
        let Some(Key::Stream(name)) = self.gates.get(gate).map(|g| g.key.clone()) else { return };
        if !self.known.doubts_absence(self.here.now()) && self.create(gate, &self.oldest_topic(gate)) {
            return;
        }
        let rules = self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default();
        let acked = rules.iter().any(|&rule| !self.known.takers(rule).are_none());
        let was_described = self.known.is_described(&name);
        let confirmed = self.gates.get(gate).is_some_and(|g| self.here.now() < g.absent_until);
        if (acked && was_described) || (!acked && confirmed) {
            // The stream that took the messages is gone, or a message found nobody a moment ago.
            return self.no_stream(gate, self.no_such(&name), true);
        }
        // Perhaps it is behind an import, and this server does not know it: the first message tells.
        self.try_unanswered(gate);
        if !acked {
            self.no_stream(gate, self.no_such(&name), false);
        }
    }

    fn create_answered(&mut self, gate: u32, checking: bool, topic: &str, answer: StreamAnswer) {
        match answer {
            StreamAnswer::Exists { name, .. } => {
                if let Some(g) = self.gates.get_mut(gate) {
                    g.created = true;
                }
                self.orders.tell(EventKind::StreamCreated, Status::Ok, 0, topic, format!("created stream {name}"));
                if checking {
                    let was_missing = matches!(self.gates.get(gate).map(|g| &g.state), Some(State::Checking(Check { missing: true, .. })));
                    self.open(gate);
                    if was_missing {
                        self.orders.tell(EventKind::GateOpened, Status::Ok, 0, "", format!("stream {name} is there now"));
                    }
                } else {
                    self.probe_now(gate);
                }
            }
            StreamAnswer::Refused { server_code, text } => {
                self.fail_waiting(gate, None, Status::CreateFailed, server_code, &format!("the stream could not be created: {text}"));
                self.reset(gate, checking);
            }
            StreamAnswer::Denied => {
                self.fail_waiting(gate, None, Status::CreateFailed, 0, "the server's permissions do not allow to create the stream");
                self.reset(gate, checking);
            }
            // Lost, cut, or not now: asked again.
            StreamAnswer::Unavailable { text } | StreamAnswer::Disabled { text, .. } => {
                self.orders.push(Order::Log(Level::Debug, format!("no answer to the creation of a stream: {text}")));
                if checking {
                    self.check_later(gate);
                } else {
                    self.tell_held(gate, topic);
                }
            }
            StreamAnswer::None | StreamAnswer::Condition { .. } => {}
        }
    }

    /// Of a held gate: its stream, by name.
    fn described_held(&mut self, gate: u32, rule: u32, topic: String, answer: StreamAnswer) {
        let Some(held) = self.gates.held_mut(gate) else { return };
        let unanswered = held.cause == Cause::Unanswered;
        let key = self.gates.get(gate).map(|g| g.key.clone()).unwrap_or(Key::Rule(rule));
        match answer {
            StreamAnswer::Exists { .. } if unanswered => self.open_if_nobody_probes(gate),
            StreamAnswer::Exists { name, .. } => {
                // The stream is there, and its leader answers. By its own subjects it does not take the topic.
                if self.known.could_know(rule, self.here) && self.could_know_all(gate, &topic) {
                    let text = format!("{}, although stream {name:?} exists; look at its subjects", nobody_takes(&topic));
                    // What goes to the stream need not wait for this topic.
                    let alone = self.leave_alone(gate, &topic);
                    return self.no_taker(alone, Absence { topic: Some(topic), server_code: self.here.nobody_code(), text }, false);
                }
                if let Some(held) = self.gates.held_mut(gate) {
                    held.alive = true;
                }
                self.tell_held(gate, &topic);
            }
            StreamAnswer::None => {
                let acked = !self.known.takers(rule).are_none();
                match &key {
                    Key::Stream(name) if unanswered && !acked => self.no_stream(gate, self.no_such(name), false),
                    _ => {
                        // It was described before; now it is gone.
                        let text = match &key {
                            Key::Stream(name) => format!("{}: stream {name:?} is gone", nobody_takes(&topic)),
                            _ => nobody_takes(&topic),
                        };
                        self.no_stream(gate, Absence { topic: Some(topic), server_code: self.here.nobody_code(), text }, acked);
                    }
                }
            }
            StreamAnswer::Denied if unanswered => self.open_if_nobody_probes(gate),
            StreamAnswer::Disabled { text, nobody } => self.tell_no_store(gate, &topic, text, nobody),
            StreamAnswer::Denied | StreamAnswer::Refused { .. } | StreamAnswer::Unavailable { .. } if !unanswered => {
                self.tell_held(gate, &topic);
                self.orders.explain(key, &topic, answer);
            }
            _ => {}
        }
    }

    fn open_if_nobody_probes(&mut self, gate: u32) {
        if self.gates.held(gate).is_some_and(|held| held.probe.is_none()) {
            self.open(gate);
        }
    }

    /// Of a held gate: which stream takes the topic that nobody took?
    fn taker_of_held(&mut self, gate: u32, rule: u32, topic: String, answer: StreamAnswer) {
        let Some(g) = self.gates.get(gate) else { return };
        let key = g.key.clone();
        let own = match &key {
            Key::Stream(name) => Some(name.clone()),
            _ => None,
        };
        match answer {
            StreamAnswer::Exists { ref name, .. } => {
                let is_named = self.here.names_stream(rule);
                let is_other = own.is_some_and(|own| *own != **name);
                if let Some(held) = self.gates.held_mut(gate) {
                    // It exists and has no leader: the probes go on.
                    held.alive = false;
                    held.own = (!is_other).then(|| topic.clone());
                }
                if is_other && !is_named {
                    // Another stream's topic: what goes to this gate's stream need not wait for it.
                    self.isolate(gate, &topic);
                    self.go_on(gate);
                    let key = Key::Topic(topic.as_str().into());
                    return self.orders.explain(key, &topic, answer);
                }
                self.tell_held(gate, &topic);
                self.orders.explain(key, &topic, answer);
            }
            StreamAnswer::None => match self.described_stream_of(gate, rule) {
                // Is that one gone, or does it take other topics?
                Some(stream) => self.ask_of_gate(gate, rule, What::Describe, topic, Question::Describe { stream, rule: None }),
                None if self.known.could_know(rule, self.here) && self.could_know_all(gate, &topic) => {
                    let text = nobody_takes(&topic);
                    self.no_stream(gate, Absence { topic: Some(topic), server_code: self.here.nobody_code(), text }, false);
                }
                None => {
                    self.tell_held(gate, &topic);
                    self.orders.explain(key, &topic, answer);
                }
            },
            StreamAnswer::Disabled { text, nobody } => self.tell_no_store(gate, &topic, text, nobody),
            StreamAnswer::Denied | StreamAnswer::Refused { .. } | StreamAnswer::Unavailable { .. } => {
                self.tell_held(gate, &topic);
                self.orders.explain(key, &topic, answer);
            }
            StreamAnswer::Condition { .. } => {}
        }
    }
}
