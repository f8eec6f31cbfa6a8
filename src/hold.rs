//! Hold: what closes gates and what opens them.
//!
//! A rule that names a stream has its gate checked before its first frame: does the stream exist, what is its duplicate window, must it be created? A refusal that is
//! about the stream and not the message holds the gate: the bus asks once which stream takes the topic, and sends the oldest message alone, with growing pauses, until one is stored.

use std::collections::HashMap;

use crate::config::OnNoStream;
use crate::error::Status;
use crate::events::EventKind;
use crate::gate::{Check, Gate, Held, Key, Learned, State};
use crate::handler::Core;
use crate::ledger::{NO_GATE, Stage};
use crate::settle::Ending;
use crate::wire::{Nanos, Question, StreamAnswer, Trouble, nanos};

/// JetStream's code for a stream that does not exist.
const STREAM_NOT_FOUND: u32 = 10059;
/// The server's status when nobody takes a subject.
const NO_RESPONDERS: u32 = 503;

/// A question under way.
#[derive(Debug)]
pub(crate) struct Asked {
    what: What,
    about: About,
    give_up_at: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    WhoTakes,
    Describe,
    Create,
}

#[derive(Debug)]
enum About {
    Gate {
        gate: u32,
        key: Key,
        topic: String,
    },
    /// To learn a stream's duplicate window; no message waits for it.
    Background {
        rule: u32,
    },
}

impl Core {
    // ---- Passing ----

    /// May this message pass its gate now? If not, it waits there.
    pub(crate) fn pass_gate(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        if s.counted {
            return !self.wait_again(slot);
        }
        let (id, rule) = (s.id, s.rule);
        let gate = match self.gates.rule(rule).gate {
            Some(gate) => Some(gate),
            None => self.make_rule_gate(rule).or_else(|| self.gates.of_topic(self.table.get(slot)?.topic())),
        };
        let Some(index) = gate else { return true };
        let Some(gate) = self.gates.get_mut(index) else { return true };
        let passes = gate.lets_pass(id);
        if passes {
            gate.in_flight += 1;
        } else {
            gate.waiting.insert(id, slot);
        }
        let unchecked = matches!(gate.state, State::Unchecked);
        if let Some(s) = self.table.get_mut(slot) {
            s.gate = index;
            s.counted = passes;
            if !passes {
                s.stage = Stage::Gated;
            }
        }
        if unchecked {
            self.check(index);
        }
        if !passes {
            self.note_share(index);
        }
        passes
    }

    /// A gate that closed since the message passed it takes it back: it waits there, before all that is younger (P10). Only the probe goes on.
    pub(crate) fn wait_again(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get_mut(slot).filter(|s| s.counted && !s.probe) else { return false };
        let (id, gate, deadline) = (s.id, s.gate, s.deadline);
        let Some(g) = self.gates.get_mut(gate).filter(|g| !g.is_open()) else { return false };
        g.waiting.insert(id, slot);
        g.in_flight = g.in_flight.saturating_sub(1);
        s.counted = false;
        self.set_stage(slot, Stage::Gated);
        self.deadlines.set(slot, deadline);
        self.note_share(gate);
        true
    }

    /// The gate that a rule asks for by naming a stream or a limit.
    fn make_rule_gate(&mut self, rule: u32) -> Option<u32> {
        let settings = self.rules.get(rule);
        let limit = settings.in_flight.map(|n| n as usize);
        let key = match &settings.stream {
            Some(stream) => Key::Stream(stream.as_str().into()),
            None => {
                limit?;
                Key::Rule(rule)
            }
        };
        let state = if settings.stream.is_some() { State::Unchecked } else { State::Open };
        let gate = match self.gates.find(&key) {
            Some(gate) => gate,
            None => self.gates.add(key, state, limit, true)?,
        };
        self.bind(gate, rule);
        Some(gate)
    }

    fn bind(&mut self, gate: u32, rule: u32) {
        self.gates.rule(rule).gate = Some(gate);
        if let Some(g) = self.gates.get_mut(gate)
            && !g.rules.contains(&rule)
        {
            g.rules.push(rule);
        }
    }

    /// Lets go what may go, and forgets the gate when nobody needs it.
    pub(crate) fn let_pass(&mut self, gate: u32) {
        while let Some(slot) = self.gates.get_mut(gate).and_then(Gate::next_to_pass) {
            let Some(s) = self.table.get_mut(slot) else { continue };
            s.counted = true;
            if let Some(g) = self.gates.get_mut(gate) {
                g.in_flight += 1;
            }
            self.requeue(slot);
        }
        if let Some(gone) = self.gates.drop_if_idle(gate)
            && let Key::Topic(topic) = &gone.key
            && gone.share_used
        {
            self.shared.window.close_topic(topic, false);
        }
    }

    /// The message leaves the line at the gate.
    pub(crate) fn leave_gate(&mut self, gate: u32, id: u64) {
        if let Some(g) = self.gates.get_mut(gate) {
            g.waiting.remove(&id);
        }
    }

    /// What waits behind a topic's gate has used its share of the window.
    fn note_share(&mut self, gate: u32) {
        let share = self.shared.window.share();
        if let Some(g) = self.gates.get_mut(gate)
            && let Key::Topic(topic) = &g.key
            && !g.share_used
            && g.waiting.len() >= share
        {
            g.share_used = true;
            self.shared.window.close_topic(topic, true);
        }
    }

    fn close(&mut self, gate: u32, state: State) {
        self.gates.set(gate, state);
        for rule in self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default() {
            self.shared.window.close_rule(rule, true);
        }
    }

    fn open(&mut self, gate: u32) {
        self.gates.set(gate, State::Open);
        if let Some(g) = self.gates.get_mut(gate) {
            g.created = false;
            if std::mem::take(&mut g.share_used)
                && let Key::Topic(topic) = &g.key
            {
                self.shared.window.close_topic(topic, false);
            }
        }
        for rule in self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default() {
            self.shared.window.close_rule(rule, false);
        }
        self.let_pass(gate);
    }

    // ---- Trouble ----

    /// A refusal that is about the stream: its gate is held, the message waits in it.
    pub(crate) fn hold(&mut self, slot: u32, trouble: Trouble) {
        let Some(s) = self.table.get(slot) else { return };
        let (id, topic) = (s.id, s.topic().to_owned());
        let probed = self.take_probe(slot);
        let Some(gate) = probed.or_else(|| self.gate_in_trouble(slot, trouble)) else {
            // Too many gates: alone, then.
            return self.retry_later(slot);
        };
        let first_pause = self.backoff(0);
        let now = self.now;
        if probed.is_some() {
            self.probe_failed(gate);
        }
        let Some(g) = self.gates.get_mut(gate) else { return };
        let mut ask = false;
        match &mut g.state {
            State::Held(held) => {
                if probed.is_some() {
                    held.trouble = trouble;
                    ask = trouble == Trouble::NobodyThere && held.ask.is_none();
                }
            }
            State::Checking(_) => {}
            State::Open | State::Unchecked => {
                if trouble == Trouble::Overloaded {
                    g.slow_down();
                }
                ask = trouble == Trouble::NobodyThere;
                self.close(gate, State::Held(Held { trouble, ask: None, probe: None, probe_at: now + first_pause, failures: 0 }));
                self.shared.counters.gates_held.bump(1);
                let what = match trouble {
                    Trouble::NobodyThere => "no stream took the message",
                    Trouble::Overloaded => "the stream has too much to do",
                };
                self.event(EventKind::GateHeld, Status::Unavailable, 0, &topic, format!("{topic}: {what}; messages wait and one at a time is tried"));
            }
        }
        // Only now that the gate is closed: its place goes to nobody.
        self.give_up_place(slot);
        if let Some(g) = self.gates.get_mut(gate) {
            g.waiting.insert(id, slot);
        }
        self.set_stage(slot, Stage::Gated);
        if let Some(s) = self.table.get_mut(slot) {
            s.gate = gate;
            let deadline = s.deadline;
            self.deadlines.set(slot, deadline);
        }
        self.note_share(gate);
        if ask {
            self.ask_who_takes(gate, topic);
        }
    }

    /// The gate to hold for this message: its rule's, that of the stream which takes all of its rule's messages, or one for its topic.
    fn gate_in_trouble(&mut self, slot: u32, trouble: Trouble) -> Option<u32> {
        let s = self.table.get(slot)?;
        let (rule, topic) = (s.rule, s.topic().to_owned());
        if let Some(gate) = self.gates.rule(rule).gate {
            return Some(gate);
        }
        // That nobody took it may be this topic's trouble alone; an overload is the stream's.
        if trouble == Trouble::Overloaded
            && let Learned::One(stream) = &self.gates.rule(rule).learned
        {
            let key = Key::Stream(stream.trim_end_matches('\0').into());
            let gate = self.gates.find(&key).or_else(|| self.gates.add(key, State::Open, None, false))?;
            self.bind(gate, rule);
            return Some(gate);
        }
        self.gates.of_topic(&topic).or_else(|| self.gates.add(Key::Topic(topic.into()), State::Open, None, false))
    }

    /// A message that passed this gate is stored.
    pub(crate) fn gate_acked(&mut self, gate: u32) {
        let most = self.shared.settings.max_pending;
        if let Some(g) = self.gates.get_mut(gate) {
            g.speed_up(most);
        }
    }

    /// The message is stored, or refused for a reason of its own: if it was a probe, its gate opens.
    pub(crate) fn probe_answered(&mut self, slot: u32) {
        let Some(gate) = self.take_probe(slot) else { return };
        let text = match self.gates.get(gate).map(|g| &g.key) {
            Some(Key::Stream(name)) => format!("{name} takes messages again"),
            Some(Key::Topic(topic)) => format!("{topic} is taken again"),
            Some(Key::Rule(_)) | None => "messages are taken again".to_owned(),
        };
        self.open(gate);
        self.event(EventKind::GateOpened, Status::Ok, 0, "", text);
    }

    /// If it was a probe: its answer says nothing of the stream.
    pub(crate) fn probe_unclear(&mut self, slot: u32) {
        if let Some(gate) = self.take_probe(slot) {
            self.probe_failed(gate);
        }
    }

    /// The next probe comes after a longer pause.
    fn probe_failed(&mut self, gate: u32) {
        let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) else { return };
        held.failures += 1;
        let failures = held.failures;
        let probe_at = self.now + self.backoff(failures);
        if let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) {
            held.probe_at = probe_at;
        }
    }

    /// The message is no probe any more: it is settled, or its connection is gone. The next one may go at once.
    pub(crate) fn leave_probe(&mut self, slot: u32) {
        self.take_probe(slot);
    }

    /// Takes the mark of a probe off the message. Gives the gate that waited for it, if one did.
    fn take_probe(&mut self, slot: u32) -> Option<u32> {
        let s = self.table.get_mut(slot)?;
        if !std::mem::take(&mut s.probe) {
            return None;
        }
        let (id, gate) = (s.id, s.gate);
        let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) else { return None };
        if held.probe != Some((slot, id)) {
            return None;
        }
        held.probe = None;
        Some(gate)
    }

    // ---- Asking ----

    fn ask(&mut self, what: What, about: About, question: Question) -> u32 {
        let ask = self.next_ask;
        self.next_ask = self.next_ask.wrapping_add(1).max(1);
        let give_up_at = self.now + nanos(self.shared.settings.ack_wait);
        self.asks.insert(ask, Asked { what, about, give_up_at });
        self.questions.push((ask, question));
        ask
    }

    pub(crate) fn ask_in_background(&mut self, rule: u32, question: Question) {
        self.ask(What::Describe, About::Background { rule }, question);
    }

    fn ask_who_takes(&mut self, gate: u32, topic: String) {
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
    fn check(&mut self, gate: u32) {
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
            self.shared.counters.gates_held.bump(1);
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
            self.shared.counters.late_acks.bump(1);
            return;
        };
        if let StreamAnswer::Exists { name, duplicate_window: Some(window), differences, risks } = &answer {
            self.learn_window(name, nanos(*window), &asked);
            self.warn_about(name, differences, risks);
        }
        let About::Gate { gate, key, topic } = asked.about else { return };
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
                }
                // Else it exists and has no leader: the probes go on.
            }
            StreamAnswer::None => self.no_stream(gate, checking, &topic),
            StreamAnswer::Refused { server_code, text } => {
                let (status, text) = match asked.what {
                    What::Create => (Status::CreateFailed, format!("the stream could not be created: {text}")),
                    What::Describe | What::WhoTakes => (Status::Rejected, text),
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
                }
            }
            StreamAnswer::Unavailable { text } => {
                self.shared.log(crate::trace::Level::Debug, || format!("no answer about a stream: {text}"));
                if checking {
                    self.check_later(gate);
                }
            }
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
            _ => format!("no stream takes {topic:?}"),
        };
        self.fail_waiting(gate, (!checking).then_some(topic), Status::NoStream, if checking { STREAM_NOT_FOUND } else { NO_RESPONDERS }, &text);
        self.reset(gate, checking);
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
                self.shared.window.close_rule(rule, false);
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

    fn probe_now(&mut self, gate: u32) {
        let now = self.now;
        if let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) {
            held.probe_at = now;
        }
    }

    fn learn_window(&mut self, name: &str, window: Nanos, asked: &Asked) {
        for (known, value) in &mut self.windows {
            if known.trim_end_matches('\0') == name {
                *value = Some(window);
            }
        }
        let rules = match &asked.about {
            About::Background { rule } => vec![*rule],
            About::Gate { gate, .. } => self.gates.get(*gate).map(|g| g.rules.clone()).unwrap_or_default(),
        };
        for rule in rules {
            let known = self.gates.rule(rule);
            known.window = Some(known.window.map_or(window, |w| w.min(window)));
        }
    }

    fn warn_about(&mut self, name: &str, differences: &[String], risks: &[String]) {
        if !differences.is_empty() {
            let text = format!("stream {name} is used as it is, though it differs from its topic rule: {}", differences.join("; "));
            self.event(EventKind::StreamDiffers, Status::Ok, 0, "", text);
        }
        for risk in risks {
            self.event(EventKind::StreamRisk, Status::Ok, 0, "", format!("stream {name}: {risk}"));
        }
    }

    // ---- Time and connections ----

    /// Sends probes and questions whose time has come. Returns when the next one is due.
    pub(crate) fn tend_gates(&mut self, ready: bool) -> Nanos {
        let mut next = Nanos::MAX;
        if !self.asks.is_empty() {
            let now = self.now;
            let over: Vec<u32> = self.asks.iter().filter(|(_, asked)| asked.give_up_at <= now).map(|(&ask, _)| ask).collect();
            for ask in over {
                self.answered(ask, StreamAnswer::Unavailable { text: "the server did not answer in time".into() });
            }
            next = self.asks.values().map(|asked| asked.give_up_at).min().unwrap_or(next);
        }
        if self.gates.closed().is_empty() {
            return next;
        }
        for gate in self.gates.closed().to_vec() {
            next = next.min(self.tend_gate(gate, ready));
        }
        next
    }

    fn tend_gate(&mut self, gate: u32, ready: bool) -> Nanos {
        let now = self.now;
        let Some(g) = self.gates.get(gate) else { return Nanos::MAX };
        match &g.state {
            State::Checking(Check { ask: None, again_at, .. }) => {
                if !ready || *again_at > now {
                    return if ready { *again_at } else { Nanos::MAX };
                }
                self.check(gate);
            }
            State::Held(held) if held.probe.is_none() && ready => {
                if held.probe_at > now {
                    return held.probe_at;
                }
                match g.waiting.first_key_value().map(|(&id, &slot)| (id, slot)) {
                    Some((id, slot)) => self.send_probe(gate, slot, id),
                    // Everybody who waited has gone: the next message finds out.
                    None => self.open(gate),
                }
            }
            _ => {}
        }
        Nanos::MAX
    }

    fn send_probe(&mut self, gate: u32, slot: u32, id: u64) {
        if let Some(g) = self.gates.get_mut(gate) {
            g.waiting.remove(&id);
            g.in_flight += 1;
            if let State::Held(held) = &mut g.state {
                held.probe = Some((slot, id));
            }
        }
        if let Some(s) = self.table.get_mut(slot) {
            s.gate = gate;
            s.counted = true;
            s.probe = true;
        }
        self.requeue(slot);
    }

    /// The connection is gone, and with it whoever was asked.
    pub(crate) fn forget_questions(&mut self) {
        self.asks = HashMap::new();
        self.questions.clear();
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

    /// A new connection: whatever held the gates may be over.
    pub(crate) fn retry_gates_now(&mut self) {
        for (_, gate) in self.gates.iter_mut() {
            match &mut gate.state {
                State::Checking(Check { ask: None, again_at, .. }) => *again_at = 0,
                State::Held(held) => {
                    held.probe_at = 0;
                    held.failures = 0;
                }
                _ => {}
            }
        }
    }

    /// Why a message at this gate was never sent.
    pub(crate) fn gate_trouble(&self, gate: u32) -> (Status, u32, String) {
        let unavailable = |text| (Status::Unavailable, 0, text);
        if gate == NO_GATE {
            return unavailable("it waited".to_owned());
        }
        match self.gates.get(gate).map(|g| (&g.key, &g.state)) {
            Some((Key::Stream(name), State::Checking(check))) if check.missing => (Status::NoStream, STREAM_NOT_FOUND, format!("there is no stream {name:?}")),
            Some((Key::Stream(name), State::Checking(_))) => unavailable(format!("the server gave no answer about stream {name:?}")),
            Some((Key::Stream(name), State::Held(_))) => unavailable(format!("stream {name:?} took no messages")),
            Some((Key::Topic(topic), State::Held(_))) => unavailable(format!("no stream took {topic:?}")),
            _ => unavailable("messages before it were not answered".to_owned()),
        }
    }
}
