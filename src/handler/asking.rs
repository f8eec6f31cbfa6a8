//! Asking: questions about streams, and what follows from their answers.
//!
//! Does the rule's stream exist, what is its duplicate window, must it be created? Which stream takes a topic that nobody took? One question at a time for each gate,
//! asked again until it is answered; messages wait meanwhile, and `publish` never does.
//!
//! That nobody took a message proves that it was not stored, not that there is no stream. That is told at once only if the server that is asked could know (P2,
//! absence); else it is an election, and the messages wait for its end.

use std::collections::HashMap;
use std::time::Duration;

use super::absence::nobody_takes;
use crate::base::error::Status;
use crate::base::time::{Nanos, nanos};
use crate::config::topic::overlaps;
use crate::desk::events::EventKind;
use crate::handler::Handler;
use crate::handler::gate::{Absence, Cause, Check, Gate, Key, State};
use crate::wire::{Question, StreamAnswer};

/// Without a usable answer about its stream for so long, a gate's oldest message goes as a probe.
pub(crate) const PATIENCE: Nanos = 1_000_000_000;
/// For so long after JetStream was not there its word that a stream is not there does not count: with many messages its recovery takes seconds.
const RECOVERY: Nanos = 5_000_000_000;
/// Questions that are with the server at a time: a thousand streams after a reconnect must not come at once.
const MOST_OPEN: usize = 16;

/// P4's bound is the window without the time that an answer is waited for: here nothing is left of it. A stream without a window is told of anyway.
fn short_window(window: Duration, ack_wait: Duration) -> Option<String> {
    (!window.is_zero() && window <= ack_wait).then(|| {
        let ms = ack_wait.as_millis();
        format!("its duplicate window of {window:?} is not larger than ack_wait_ms {ms}: what may have been stored is not sent again")
    })
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
    /// Where a message goes. It waits for the answer, and with it all behind it.
    Place,
    /// Why messages are not acknowledged (`explain`).
    Silence {
        key: Key,
    },
}

impl Handler {
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

    /// Where does the oldest message go? One question at a time.
    pub(crate) fn ask_for_place(&mut self, question: Question) {
        if !self.asks.values().any(|asked| matches!(asked.about, About::Place)) {
            self.ask(What::Describe, About::Place, question);
        }
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
        if !self.online {
            // The next connection asks.
            return;
        }
        self.gates.wake(gate, patience_until.max(self.now + 1));
        let index = self.gates.get(gate).and_then(|g| g.rules.first().copied()).unwrap_or(0);
        let rule = Some(Box::new(self.rules.get(index).clone()));
        self.ask_of_gate(gate, index, What::Describe, String::new(), Question::Describe { stream, rule });
    }

    /// Asks again later.
    pub(super) fn check_later(&mut self, gate: u32) {
        let Some(Gate { state: State::Checking(check), .. }) = self.gates.get(gate) else { return };
        let check = check.clone();
        let again_at = self.now + self.backoff(check.failures);
        let wake = if check.missing { again_at } else { again_at.min(check.patience_until.max(self.now + 1)) };
        self.gates.set(gate, State::Checking(Check { ask: None, again_at, failures: check.failures + 1, ..check }));
        self.gates.wake(gate, wake);
    }

    pub(super) fn create(&mut self, gate: u32, topic: &str) -> bool {
        let rules = std::sync::Arc::clone(&self.rules);
        let Some(g) = self.gates.get(gate).filter(|g| !g.created) else { return false };
        let Some(rule) = g.rules.iter().map(|&r| rules.get(r)).find(|r| r.create) else { return false };
        self.ask_of_gate(gate, rule.index, What::Create, topic.to_owned(), Question::Create { rule: Box::new(rule.clone()) });
        true
    }

    pub(super) fn ask_who_takes(&mut self, gate: u32, rule: u32, topic: String) {
        self.ask_of_gate(gate, rule, What::WhoTakes, topic.clone(), Question::WhoTakes { topic });
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
        if let StreamAnswer::None { server_code, nobody } = answer {
            (self.nobody.no_stream, self.nobody.code) = (server_code, nobody);
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
            // The wire has learnt it, and is asked again.
            About::Place => return,
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
            StreamAnswer::None { .. } => self.missing(gate),
            // Nothing can be known: the window is assumed (P4), the messages go.
            StreamAnswer::Denied => self.open(gate),
            // Nothing can be known of a stream behind an import either, or there is no JetStream at all: the first message tells.
            StreamAnswer::Disabled { text, nobody } => {
                self.shared.log(crate::base::level::Level::Debug, || format!("no answer about a stream: {text}"));
                self.try_unanswered(gate);
                if let Some(held) = self.gates.held_mut(gate) {
                    held.no_jetstream = Some((text, nobody));
                }
            }
            StreamAnswer::Refused { text, .. } => {
                self.shared.log(crate::base::level::Level::Debug, || format!("no answer about a stream: {text}"));
                self.try_unanswered(gate);
            }
            StreamAnswer::Unavailable { text } => {
                self.shared.log(crate::base::level::Level::Debug, || format!("no answer about a stream: {text}"));
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
                self.shared.log(crate::base::level::Level::Debug, || format!("no answer to the creation of a stream: {text}"));
                if checking {
                    self.check_later(gate);
                } else {
                    self.tell_held(gate, topic);
                }
            }
            StreamAnswer::None { .. } | StreamAnswer::Condition { .. } => {}
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
                    return self.no_taker(alone, Absence { topic: Some(topic), server_code: self.nobody.code, text }, false);
                }
                if let Some(held) = self.gates.held_mut(gate) {
                    held.alive = true;
                }
                self.tell_held(gate, &topic);
            }
            StreamAnswer::None { .. } => {
                let acked = !self.gates.rule(rule).takers.are_none();
                match &key {
                    Key::Stream(name) if unanswered && !acked => self.no_stream(gate, self.no_such(name), false),
                    _ => {
                        // It was described before; now it is gone.
                        let text = match &key {
                            Key::Stream(name) => format!("{}: stream {name:?} is gone", nobody_takes(&topic)),
                            _ => nobody_takes(&topic),
                        };
                        self.no_stream(gate, Absence { topic: Some(topic), server_code: self.nobody.code, text }, acked);
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
            StreamAnswer::None { .. } => match self.described_stream_of(gate, rule) {
                // Is that one gone, or does it take other topics?
                Some(stream) => self.ask_of_gate(gate, rule, What::Describe, topic, Question::Describe { stream, rule: None }),
                None if self.could_know(rule) && self.could_know_all(gate, &topic) => {
                    let text = nobody_takes(&topic);
                    self.no_stream(gate, Absence { topic: Some(topic), server_code: self.nobody.code, text }, false);
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
