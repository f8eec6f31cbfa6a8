//! Asking: questions about streams, and what follows from their answers.
//!
//! Does the rule's stream exist, what is its duplicate window, must it be created? Which stream takes a topic that nobody took? One question at a time for each gate,
//! asked again until it is answered; messages wait meanwhile, and `publish` never does.
//!
//! That nobody took a message proves that it was not stored, not that there is no stream. That is told at once only if the server that is asked could know (P2,
//! absence); else it is an election, and the messages wait for its end.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::OnNoStream;
use crate::error::Status;
use crate::events::EventKind;
use crate::gate::{Absence, Cause, Check, Gate, Key, State};
use crate::handler::Core;
use crate::settle::Ending;
use crate::topic::overlaps;
use crate::wire::{Nanos, Question, StreamAnswer, nanos};

/// JetStream's code for a stream that does not exist.
pub(super) const STREAM_NOT_FOUND: u32 = 10059;
/// The server's status when nobody takes a subject.
pub(super) const NO_RESPONDERS: u32 = 503;
/// How long the API's word that no stream takes a topic is believed.
const NOBODY_FOR: Nanos = 250_000_000;
/// Topics of which that is remembered (P9).
const MOST_NOBODY: usize = 1024;
/// Without a usable answer about its stream for so long, a gate's oldest message goes as a probe.
pub(crate) const PATIENCE: Nanos = 1_000_000_000;
/// For so long after JetStream was not there its word that a stream is not there does not count: with many messages its recovery takes seconds.
const RECOVERY: Nanos = 5_000_000_000;
/// Questions that are with the server at a time: a thousand streams after a reconnect must not come at once.
const MOST_OPEN: usize = 16;

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

/// The topics that no stream takes, by the API's word, and until when that is believed.
#[derive(Debug, Default)]
pub(crate) struct Nobody {
    topics: HashMap<Box<str>, Nanos>,
    /// The latest of those times: after it nothing is looked up.
    until: Nanos,
}

/// A question under way, or in line for the wire.
#[derive(Debug)]
pub(crate) struct Asked {
    what: What,
    about: About,
    give_up_at: Nanos,
    /// The wire has it.
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    WhoTakes,
    Describe,
    Create,
    Condition,
    WhoTakesHere,
}

#[derive(Debug)]
pub(crate) enum About {
    Gate {
        gate: u32,
        key: Key,
        topic: String,
        rule: u32,
    },
    /// A stream that acknowledged a rule's message for the first time: its window, and whether the topic is one of its own subjects. No message waits for it.
    Taker {
        rule: u32,
        topic: String,
    },
    /// A stream's duplicate window, before what is in doubt goes to it again.
    Window {
        stream: Box<str>,
    },
    /// Whether the JetStream of the server that we are connected to takes the topic too.
    Local {
        topic: Box<str>,
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
        self.asks.insert(ask, Asked { what, about, give_up_at, open: false });
        self.questions.push_back((ask, question));
        ask
    }

    /// The next question for the wire, unless so many are with the server already.
    pub(crate) fn next_question(&mut self) -> Option<(u32, Question)> {
        while self.open_asks < MOST_OPEN {
            let (ask, question) = self.questions.pop_front()?;
            // It may have been given up in line.
            if let Some(asked) = self.asks.get_mut(&ask) {
                asked.open = true;
                self.open_asks += 1;
                return Some((ask, question));
            }
        }
        None
    }

    fn take_ask(&mut self, ask: u32) -> Option<Asked> {
        let asked = self.asks.remove(&ask)?;
        self.open_asks -= usize::from(asked.open);
        Some(asked)
    }

    pub(crate) fn ask_about_taker(&mut self, rule: u32, stream: &str, topic: &str) {
        let about = About::Taker { rule, topic: topic.to_owned() };
        self.ask(What::Describe, about, Question::Describe { stream: stream.to_owned(), rule: None });
    }

    pub(crate) fn ask_who_takes_here(&mut self, topic: &str) {
        let question = Question::WhoTakesHere { topic: topic.to_owned() };
        self.ask(What::WhoTakesHere, About::Local { topic: topic.into() }, question);
    }

    pub(crate) fn ask_for_window(&mut self, stream: Box<str>, until: Nanos) {
        let question = Question::Describe { stream: stream.to_string(), rule: None };
        self.ask_until(until, What::Describe, About::Window { stream }, question);
    }

    fn ask_of_gate(&mut self, gate: u32, rule: u32, what: What, topic: String, question: Question) {
        let Some(key) = self.gates.get(gate).map(|g| g.key.clone()) else { return };
        let ask = self.ask(what, About::Gate { gate, key, topic, rule }, question);
        match self.gates.get_mut(gate).map(|g| &mut g.state) {
            Some(State::Held(held)) => held.ask = Some(ask),
            Some(State::Checking(check)) => check.ask = Some(ask),
            _ => {}
        }
    }

    // ---- Checks ----

    /// Asks for the stream that a rule names.
    pub(crate) fn check(&mut self, gate: u32) {
        let Some(Gate { key: Key::Stream(stream), .. }) = self.gates.get(gate) else { return };
        let stream = stream.to_string();
        let check = match self.gates.get(gate).map(|g| &g.state) {
            Some(State::Checking(check)) => Check { ask: None, again_at: Nanos::MAX, ..*check },
            _ => Check { ask: None, again_at: Nanos::MAX, failures: 0, patience_until: self.now + PATIENCE, missing: false },
        };
        let patience_until = check.patience_until;
        self.close(gate, State::Checking(check));
        if self.epoch.is_none() {
            // The next connection asks.
            return;
        }
        self.gates.wake(gate, patience_until.max(self.now + 1));
        let index = self.gates.get(gate).and_then(|g| g.rules.first().copied()).unwrap_or(0);
        let rule = Some(Box::new(self.rules.get(index).clone()));
        self.ask_of_gate(gate, index, What::Describe, String::new(), Question::Describe { stream, rule });
    }

    /// Asks again later.
    fn check_later(&mut self, gate: u32) {
        let Some(Gate { state: State::Checking(check), .. }) = self.gates.get(gate) else { return };
        let check = check.clone();
        let again_at = self.now + self.backoff(check.failures);
        let wake = if check.missing { again_at } else { again_at.min(check.patience_until.max(self.now + 1)) };
        self.gates.set(gate, State::Checking(Check { ask: None, again_at, failures: check.failures + 1, ..check }));
        self.gates.wake(gate, wake);
    }

    /// The stream that a rule names does not exist, and its messages shall wait for it. Told once.
    fn tell_missing(&mut self, gate: u32) {
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

    fn oldest_topic(&self, gate: u32) -> String {
        let oldest = self.gates.get(gate).and_then(|g| g.waiting.first_key_value()).map(|(_, &slot)| slot);
        oldest.and_then(|slot| self.table.get(slot)).map_or_else(String::new, |s| s.topic().to_owned())
    }

    fn create(&mut self, gate: u32, topic: &str) -> bool {
        let rules = std::sync::Arc::clone(&self.rules);
        let Some(g) = self.gates.get(gate).filter(|g| !g.created) else { return false };
        let Some(rule) = g.rules.iter().map(|&r| rules.get(r)).find(|r| r.create) else { return false };
        self.ask_of_gate(gate, rule.index, What::Create, topic.to_owned(), Question::Create { rule: Box::new(rule.clone()) });
        true
    }

    // ---- Absence ----

    /// Nobody took a message of this topic: which stream should, and could the server that is asked know?
    pub(super) fn ask_about_absence(&mut self, gate: u32, topic: String) {
        let rule = self.rule_of(gate, &topic);
        self.ask_who_takes(gate, rule, topic);
    }

    /// The stream that takes the rule's messages, as far as it is known and was described.
    fn described_stream_of(&mut self, gate: u32, rule: u32) -> Option<String> {
        let stream = match self.gates.get(gate).map(|g| &g.key) {
            Some(Key::Stream(name)) => Some(name.to_string()),
            // Of a topic alone in trouble: the stream that took its rule's messages, if it is one.
            _ => self.gates.rule(rule).takers.only().map(|taker| taker.stream.name().to_owned()),
        };
        stream.filter(|name| self.is_described(name))
    }

    fn ask_who_takes(&mut self, gate: u32, rule: u32, topic: String) {
        self.ask_of_gate(gate, rule, What::WhoTakes, topic.clone(), Question::WhoTakes { topic });
    }

    /// The rule of this topic's messages at the gate.
    fn rule_of(&self, gate: u32, topic: &str) -> u32 {
        let Some(g) = self.gates.get(gate) else { return 0 };
        let waiting = g.waiting.values().filter_map(|&slot| self.table.get(slot));
        waiting.filter(|s| s.topic() == topic).map(|s| s.rule).next().unwrap_or_else(|| self.rules.matching(topic).index)
    }

    /// Whether the server's word that no stream takes a topic counts: every stream that ever acknowledged the rule was described by it, and has the topics that it took among its
    /// own subjects. Behind an import, a mapping or a leaf node it cannot know.
    fn could_know(&mut self, rule: u32) -> bool {
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

    /// No stream, by the word of a server that could know. The next probe's 503 confirms it; with `gone` the stream that took the messages is gone, and nothing more is asked.
    fn no_stream(&mut self, gate: u32, absence: Absence, gone: bool) {
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
    fn no_taker(&mut self, gate: u32, absence: Absence, gone: bool) {
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

    // ---- Answers ----

    /// An answer, or the lack of one.
    pub(crate) fn answered(&mut self, ask: u32, answer: StreamAnswer) {
        let Some(asked) = self.take_ask(ask) else {
            self.lane.counters.late_acks.bump(1);
            return;
        };
        if let StreamAnswer::Exists { name, duplicate_window, subjects, differences, risks } = &answer
            && matches!(asked.what, What::Describe | What::Create)
        {
            self.learn_description(name, *duplicate_window, subjects);
            self.warn_about(name, *duplicate_window, differences, risks);
        }
        if matches!(answer, StreamAnswer::Disabled { .. }) {
            self.known.unsure_until = self.now + RECOVERY;
        }
        let (gate, key, topic, rule) = match asked.about {
            About::Gate { gate, key, topic, rule } => (gate, key, topic, rule),
            About::Silence { key } => return self.learn_why(key, asked.what, answer),
            About::Taker { rule, topic } => return self.learn_taker(rule, &topic, &answer),
            About::Window { stream } => return self.window_answered(&stream, &answer),
            About::Local { topic } => return self.learn_local(topic, &answer),
        };
        let Some(g) = self.gates.get_mut(gate).filter(|g| g.key == key) else { return };
        let checking = match &mut g.state {
            State::Checking(check) if check.ask == Some(ask) => {
                check.ask = None;
                true
            }
            State::Held(held) if held.ask == Some(ask) => {
                held.ask = None;
                false
            }
            _ => return,
        };
        if let StreamAnswer::Exists { subjects, .. } = &answer
            && asked.what != What::WhoTakes
        {
            self.learn_subjects(gate, subjects);
        }
        match (asked.what, checking) {
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
                    self.event(EventKind::GateOpened, Status::Ok, 0, "", format!("stream {name} is there now"));
                }
            }
            StreamAnswer::None => self.missing(gate),
            // Nothing can be known: the window is assumed (P4), the messages go.
            StreamAnswer::Denied => self.open(gate),
            // Nothing can be known of a stream behind an import either, or there is no JetStream at all: the first message tells.
            StreamAnswer::Disabled { text, nobody } => {
                self.shared.log(crate::trace::Level::Debug, || format!("no answer about a stream: {text}"));
                self.try_unanswered(gate);
                if let Some(held) = self.gates.held_mut(gate) {
                    held.no_jetstream = Some((text, nobody));
                }
            }
            StreamAnswer::Refused { text, .. } => {
                self.shared.log(crate::trace::Level::Debug, || format!("no answer about a stream: {text}"));
                self.try_unanswered(gate);
            }
            StreamAnswer::Unavailable { text } => {
                self.shared.log(crate::trace::Level::Debug, || format!("no answer about a stream: {text}"));
                self.check_later(gate);
            }
            // Nobody asks this of a gate.
            StreamAnswer::Condition { .. } => {}
        }
    }

    /// At a check: the stream that the rule names is not there, by the word of the server that was asked.
    fn missing(&mut self, gate: u32) {
        let Some(Key::Stream(name)) = self.gates.get(gate).map(|g| g.key.clone()) else { return };
        if self.now >= self.known.unsure_until && self.create(gate, &self.oldest_topic(gate)) {
            return;
        }
        let rules = self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default();
        let acked = rules.iter().any(|&rule| !self.gates.rule(rule).takers.are_none());
        let was_described = self.is_described(&name);
        let confirmed = self.gates.get(gate).is_some_and(|g| self.now < g.absent_until);
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

    fn no_such(&self, name: &str) -> Absence {
        let creates = self.gates.find(&Key::Stream(name.into())).and_then(|gate| self.gates.get(gate)).is_some_and(|g| g.created);
        let advice = if creates { "" } else { "; create it, or give the rule create=if_missing" };
        Absence { topic: None, server_code: STREAM_NOT_FOUND, text: format!("there is no stream {name:?}{advice}") }
    }

    fn create_answered(&mut self, gate: u32, checking: bool, topic: &str, answer: StreamAnswer) {
        match answer {
            StreamAnswer::Exists { name, .. } => {
                if let Some(g) = self.gates.get_mut(gate) {
                    g.created = true;
                }
                self.event(EventKind::StreamCreated, Status::Ok, 0, topic, format!("created stream {name}"));
                if checking {
                    let was_missing = matches!(self.gates.get(gate).map(|g| &g.state), Some(State::Checking(Check { missing: true, .. })));
                    self.open(gate);
                    if was_missing {
                        self.event(EventKind::GateOpened, Status::Ok, 0, "", format!("stream {name} is there now"));
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
                self.shared.log(crate::trace::Level::Debug, || format!("no answer to the creation of a stream: {text}"));
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
                if self.could_know(rule) && self.could_know_all(gate, &topic) {
                    let text = format!("{}, although stream {name:?} exists; look at its subjects", nobody_takes(&topic));
                    // What goes to the stream need not wait for this topic.
                    let alone = self.leave_alone(gate, &topic);
                    return self.no_taker(alone, Absence { topic: Some(topic), server_code: NO_RESPONDERS, text }, false);
                }
                if let Some(held) = self.gates.held_mut(gate) {
                    held.alive = true;
                }
                self.tell_held(gate, &topic);
            }
            StreamAnswer::None => {
                let acked = !self.gates.rule(rule).takers.are_none();
                match &key {
                    Key::Stream(name) if unanswered && !acked => self.no_stream(gate, self.no_such(name), false),
                    _ => {
                        // It was described before; now it is gone.
                        let text = match &key {
                            Key::Stream(name) => format!("{}: stream {name:?} is gone", nobody_takes(&topic)),
                            _ => nobody_takes(&topic),
                        };
                        self.no_stream(gate, Absence { topic: Some(topic), server_code: NO_RESPONDERS, text }, acked);
                    }
                }
            }
            StreamAnswer::Denied if unanswered => self.open_if_nobody_probes(gate),
            StreamAnswer::Disabled { text, nobody } => self.tell_no_jetstream(gate, &topic, text, nobody),
            StreamAnswer::Denied | StreamAnswer::Refused { .. } | StreamAnswer::Unavailable { .. } if !unanswered => {
                self.tell_held(gate, &topic);
                self.explain_held(key, &topic, answer);
            }
            _ => {}
        }
    }

    /// A topic that the gate's stream does not take waits at a gate of its own from now on, unless the rule names the stream. Returns its gate.
    fn leave_alone(&mut self, gate: u32, topic: &str) -> u32 {
        if self.is_named(gate) || !self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Stream(_))) {
            return gate;
        }
        self.isolate(gate, topic);
        let Some(own) = self.gates.of_topic(topic) else { return gate };
        self.go_on(gate);
        own
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
                let is_named = self.rules.get(rule).stream.is_some();
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
                    return self.explain_held(key, &topic, answer);
                }
                self.tell_held(gate, &topic);
                self.explain_held(key, &topic, answer);
            }
            StreamAnswer::None => match self.described_stream_of(gate, rule) {
                // Is that one gone, or does it take other topics?
                Some(stream) => self.ask_of_gate(gate, rule, What::Describe, topic, Question::Describe { stream, rule: None }),
                None if self.could_know(rule) && self.could_know_all(gate, &topic) => {
                    let text = nobody_takes(&topic);
                    self.no_stream(gate, Absence { topic: Some(topic), server_code: NO_RESPONDERS, text }, false);
                }
                None => {
                    self.tell_held(gate, &topic);
                    self.explain_held(key, &topic, answer);
                }
            },
            StreamAnswer::Disabled { text, nobody } => self.tell_no_jetstream(gate, &topic, text, nobody),
            StreamAnswer::Denied | StreamAnswer::Refused { .. } | StreamAnswer::Unavailable { .. } => {
                self.tell_held(gate, &topic);
                self.explain_held(key, &topic, answer);
            }
            StreamAnswer::Condition { .. } => {}
        }
    }

    /// A message and the question about it found nobody: the commonest mistake of beginners, said in those words. Said once, whatever the number of topics.
    pub(super) fn tell_no_jetstream(&mut self, gate: u32, topic: &str, text: String, nobody: bool) {
        let rule = self.rule_of(gate, topic);
        let acked = !self.gates.rule(rule).takers.are_none();
        let Some(Gate { state: State::Held(held), key, .. }) = self.gates.get_mut(gate) else { return };
        let key = key.clone();
        held.no_jetstream = None;
        // Who was acknowledged before made no mistake.
        let text =
            if acked && nobody { "nobody answers JetStream here any more: the leaf connection to it is down, or it was switched off".to_owned() } else { text };
        if !std::mem::replace(&mut held.told, true) {
            self.lane.counters.gates_held.bump(1);
        }
        if self.shared.desk.set_standing(Some(text.clone())) {
            self.event(EventKind::GateHeld, Status::Unavailable, 0, topic, format!("{topic}: {text}; messages wait and one at a time is tried"));
        }
        self.explain_held(key, topic, StreamAnswer::Disabled { text, nobody });
    }

    /// For a moment each further 503 is proof enough: a service that publishes 3,000 messages a second to no stream must not ask as often. The messages still go,
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
    fn reset(&mut self, gate: u32, to_the_start: bool) {
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

    fn warn_about(&mut self, name: &str, window: Option<Duration>, differences: &[String], risks: &[String]) {
        if !differences.is_empty() {
            let text = format!("stream {name} is used as it is, though it differs from its topic rule: {}", differences.join("; "));
            self.event(EventKind::StreamDiffers, Status::Ok, 0, "", text);
        }
        let short = window.and_then(|window| short_window(window, self.shared.settings.ack_wait));
        for risk in risks.iter().chain(&short) {
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
        self.open_asks = 0;
        self.questions.clear();
        self.forget_silences();
        self.forget_windows_asked();
        for (_, gate) in self.gates.iter_mut() {
            match &mut gate.state {
                State::Checking(check) => check.ask = None,
                State::Held(held) => held.ask = None,
                State::Open | State::Unchecked => {}
            }
        }
    }

    /// The rules of the gate name this stream, or are known by it: are their topics its own subjects?
    fn learn_subjects(&mut self, gate: u32, subjects: &[String]) {
        let rules = self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default();
        for rule in rules {
            let pattern = self.rules.get(rule).pattern.clone();
            self.gates.rule(rule).reached_otherwise = !subjects.iter().any(|subject| overlaps(subject, &pattern));
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
