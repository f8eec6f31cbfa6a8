//! Hold: what closes gates and what opens them.
//!
//! A rule that names a stream has its gate checked before its first frame. A refusal that is about the stream and not the message holds the gate: the bus asks whether
//! the stream is there and which one takes the topic (`asking`), and sends the oldest message alone, with growing pauses, until one is stored.

mod absence;
mod answers;
mod budget;
pub(super) mod gates;
mod lines;
mod nobody;
mod passing;
mod probing;
mod rule;

use self::gates::{Cause, Check, Gate, Gates, Held, Key, PATIENCE, State};
use crate::base::error::Status;
use crate::base::time::Nanos;
use crate::desk::events::EventKind;
use crate::handler::here::Here;
use crate::handler::known::Known;
use crate::handler::line::Line;
use crate::handler::orders::{Ending, Order, Orders};
use crate::ledger::refusal::Trouble;
use crate::ledger::slot::{NO_GATE, Stage};

/// What reports of a topic say that nobody takes.
fn nobody_takes(topic: &str) -> String {
    format!("no stream takes {topic:?}")
}

/// The gates at work: what they need of other rooms, and where their orders go.
pub(super) struct Holding<'a> {
    gates: &'a mut Gates,
    line: &'a mut Line,
    known: &'a Known,
    here: &'a Here,
    orders: &'a mut Orders,
}

impl<'a> Holding<'a> {
    #[inline(always)]
    pub(super) fn new(gates: &'a mut Gates, line: &'a mut Line, known: &'a Known, here: &'a Here, orders: &'a mut Orders) -> Self {
        Holding { gates, line, known, here, orders }
    }

    /// The message is in line again, or waits at its gate.
    pub(super) fn requeue(&mut self, slot: u32) {
        if !self.wait_again(slot) {
            self.line.requeue(slot);
        }
    }

    // ---- Closing and opening ----

    fn close(&mut self, gate: u32, state: State) {
        self.gates.set(gate, state);
        for rule in self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default() {
            self.orders.push(Order::CloseRule { rule, closed: true });
        }
    }

    /// Holds the gate; the next probe goes at this time.
    pub(super) fn close_held(&mut self, gate: u32, cause: Cause, probe_at: Nanos) {
        self.close(gate, State::Held(Held::new(cause, self.here.now(), probe_at)));
        self.gates.wake(gate, probe_at);
    }

    pub(super) fn open(&mut self, gate: u32) {
        let Some(g) = self.gates.get_mut(gate) else { return };
        let was_held = matches!(g.state, State::Held(_));
        // Now: what waits is about to leave.
        let in_doubt = was_held && g.waiting.values().any(|&slot| self.line.get(slot).is_some_and(|s| s.tainted().is_some()));
        g.created = false;
        let key = g.key.clone();
        if std::mem::take(&mut g.share_used)
            && let Key::Topic(topic) = &g.key
        {
            self.orders.push(Order::CloseTopic { topic: topic.clone(), closed: false });
        }
        for &rule in &g.rules {
            self.orders.push(Order::CloseRule { rule, closed: false });
        }
        self.gates.set(gate, State::Open);
        self.orders.push(Order::Opened { key, was_held, in_doubt });
        self.join_lines(gate);
        self.let_pass(gate);
    }

    // ---- Trouble ----

    /// A refusal that is about the stream: its gate is held, the message waits in it.
    pub(in crate::handler) fn hold(&mut self, slot: u32, trouble: Trouble) {
        let Some(s) = self.line.get(slot) else { return };
        let (rule, topic) = (s.rule, s.topic().to_owned());
        let probed = self.take_probe(slot);
        if trouble == Trouble::NobodyThere && probed.is_none() && self.nobody_takes(rule, &topic) {
            return self.orders.settle(slot, Ending::definite(Status::NoStream, self.here.nobody_code(), nobody_takes(&topic)));
        }
        let named = self.here.names_stream(rule);
        // A rule that names its stream only now: its messages wait no longer at their topics.
        let left = probed.filter(|&gate| named && self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Topic(_))));
        let probed = probed.filter(|_| left.is_none());
        let gate = probed.unwrap_or_else(|| self.gate_in_trouble(slot, trouble));
        self.wait_at(slot, gate);
        if let Some(left) = left {
            self.go_on(left);
        }
        let now = self.here.now();
        let Some(g) = self.gates.get_mut(gate) else { return };
        match &mut g.state {
            State::Held(_) if probed.is_some() => return self.probe_refused(gate, trouble, topic),
            State::Held(_) | State::Checking(_) => return,
            State::Open | State::Unchecked => {
                if trouble == Trouble::Overloaded {
                    g.slow_down();
                }
            }
        }
        let first_pause = self.line.probe_pause(0);
        self.close_held(gate, Cause::Trouble(trouble), now + first_pause);
        // That nobody is there may mean that no stream exists: then nothing waits, and there is nothing to tell but the reports.
        if trouble == Trouble::NobodyThere {
            self.ask_about_absence(gate, topic);
        } else {
            self.tell_held(gate, &topic);
        }
    }

    /// The message waits at this gate, wherever it was counted before. Only now: its place in the line goes to nobody.
    fn wait_at(&mut self, slot: u32, gate: u32) {
        self.uncount(slot);
        let Some(s) = self.line.get_mut(slot) else { return };
        let (id, before) = (s.id, std::mem::replace(&mut s.gate, gate));
        // When the gate opens, nothing new goes before it is settled (P10).
        s.pausing = true;
        if before != gate
            && let Some(g) = self.gates.get_mut(before)
        {
            g.refused.remove(&id);
        }
        if let Some(g) = self.gates.get_mut(gate) {
            g.waiting.insert(id, slot);
            g.refused.insert(id);
        }
        self.line.set_stage(slot, Stage::Gated);
        self.line.wait_for_deadline(slot);
        self.note_share(gate);
        if before != gate && before != NO_GATE {
            self.let_pass(before);
        }
        self.lend_place(slot, gate);
    }

    /// Tells once that messages wait at this gate.
    pub(super) fn tell_held(&mut self, gate: u32, topic: &str) {
        let Some(Gate { state: State::Held(held), key, .. }) = self.gates.get_mut(gate) else { return };
        if std::mem::replace(&mut held.told, true) {
            return;
        }
        let what = match held.cause {
            Cause::Trouble(Trouble::NobodyThere) => "no stream took the message".to_owned(),
            Cause::Trouble(Trouble::Overloaded) => "the stream has too much to do".to_owned(),
            Cause::Unanswered => match key {
                Key::Stream(name) => format!("the server gave no answer about stream {name:?}"),
                _ => "the server gave no answer about its stream".to_owned(),
            },
        };
        self.here.lane().counters.gates_held.bump(1);
        self.orders.tell(EventKind::GateHeld, Status::Unavailable, 0, topic, format!("{topic}: {what}; messages wait and one at a time is tried"));
    }

    /// The gate to hold for this message: that of its topic, if that is in trouble alone; that of the stream which takes all of its rule's messages; else one for its topic.
    fn gate_in_trouble(&mut self, slot: u32, trouble: Trouble) -> u32 {
        let topic = self.line.get(slot).map_or_else(String::new, |s| s.topic().to_owned());
        if trouble == Trouble::NobodyThere
            && let Some(gate) = self.gate_of_topic(slot)
        {
            return gate;
        }
        if let Some(gate) = self.line_of(slot).filter(|&gate| self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Stream(_)))) {
            return gate;
        }
        let key = Key::Topic(topic.into());
        self.gates.find_or_add(&key, State::Open, false)
    }

    /// This topic's trouble is its own, since its stream takes other messages: it waits alone from now on, and holds nobody else.
    pub(super) fn isolate(&mut self, gate: u32, topic: &str) {
        let Some(g) = self.gates.get(gate) else { return };
        let chosen: Vec<(u64, u32)> =
            g.waiting.iter().filter(|&(_, &slot)| self.line.get(slot).is_some_and(|s| s.topic() == topic)).map(|(&id, &slot)| (id, slot)).collect();
        let since = self.gates.held(gate).map_or(self.here.now(), |held| held.since);
        if !chosen.is_empty() {
            let key = Key::Topic(topic.into());
            let own = self.gates.find_or_add(&key, State::Open, false);
            if self.gates.held(own).is_none() {
                let probe_at = self.here.now() + self.line.probe_pause(0);
                self.close_held(own, Cause::Trouble(Trouble::NobodyThere), probe_at);
                if let Some(held) = self.gates.held_mut(own) {
                    held.since = since;
                }
            }
            for (id, slot) in chosen {
                if let Some(rule) = self.line.get(slot).map(|s| s.rule) {
                    self.move_waiting(slot, id, rule, gate, own);
                }
            }
            self.note_share(own);
            self.tell_held(own, topic);
            let waiting: Vec<u32> = self.gates.get(own).map(|g| g.waiting.values().copied().collect()).unwrap_or_default();
            for slot in waiting {
                self.lend_place(slot, own);
            }
        }
    }

    /// What was waited for is answered: who still waits is tried at once, and without anybody the gate is open.
    pub(super) fn go_on(&mut self, gate: u32) {
        let Some(g) = self.gates.get_mut(gate) else { return };
        let nobody_waits = g.waiting.is_empty();
        let State::Held(held) = &mut g.state else { return };
        held.absence = None;
        if held.probe.is_some() {
            return;
        }
        if nobody_waits {
            self.open(gate);
        } else {
            self.probe_now(gate);
        }
    }

    /// A new connection: whatever held the gates may be over.
    pub(in crate::handler) fn retry_now(&mut self) {
        let now = self.here.now();
        let patience = now + PATIENCE;
        for gate in self.gates.indexes() {
            match self.gates.get_mut(gate).map(|g| &mut g.state) {
                Some(State::Checking(check)) if check.ask.is_none() => {
                    check.again_at = now;
                    check.patience_until = patience;
                    self.gates.wake(gate, now);
                }
                Some(State::Held(held)) => {
                    held.probe_at = now;
                    held.ask_at = now;
                    held.since = now;
                    held.absence = None;
                    held.alive = false;
                    self.gates.wake(gate, now);
                }
                _ => {}
            }
        }
    }

    /// What the server said of the stream of this message, which nobody took: that there is none.
    pub(in crate::handler) fn absence_at(&self, slot: u32) -> Option<(Status, u32)> {
        let slot = self.line.get(slot)?;
        let gate = self.gates.get(slot.gate)?;
        let State::Held(Held { missing: Some(_), .. }) = &gate.state else { return None };
        let names = matches!(&gate.key, Key::Stream(name) if !self.known.is_described(name));
        Some((Status::NoStream, if names { self.here.no_stream_code() } else { self.here.nobody_code() }))
    }

    /// Why a message at this gate was never sent.
    pub(in crate::handler) fn trouble(&self, gate: u32) -> (Status, u32, String) {
        let unavailable = |text| (Status::Unavailable, 0, text);
        if gate == NO_GATE {
            return unavailable("it waited".to_owned());
        }
        match self.gates.get(gate).map(|g| (&g.key, &g.state)) {
            Some((Key::Stream(name), State::Checking(Check { missing: true, .. }))) => {
                (Status::NoStream, self.here.no_stream_code(), format!("there is no stream {name:?}"))
            }
            Some((Key::Stream(name), State::Checking(_))) => unavailable(format!("the server gave no answer about stream {name:?}")),
            Some((Key::Stream(name), State::Held(Held { missing: Some(_), .. }))) if !self.known.is_described(name) => {
                (Status::NoStream, self.here.no_stream_code(), format!("there is no stream {name:?}"))
            }
            // The API says so, and no message was refused that would confirm it.
            Some((Key::Stream(name), State::Held(Held { absence: Some(absence), .. }))) if absence.topic.is_none() => {
                (Status::NoStream, self.here.no_stream_code(), format!("there is no stream {name:?}"))
            }
            Some((Key::Stream(_), State::Held(Held { missing: Some(_), .. }))) => unavailable("messages before it found no stream that takes them".to_owned()),
            Some((Key::Topic(topic), State::Held(Held { missing: Some(_), .. }))) => (Status::NoStream, self.here.nobody_code(), nobody_takes(topic)),
            Some((Key::Stream(name), State::Held(_))) => unavailable(format!("stream {name:?} took no messages")),
            Some((Key::Topic(topic), State::Held(_))) => unavailable(format!("no stream took {topic:?}")),
            Some((Key::Rule(_), _)) => unavailable("messages before it have all places of its rule (in_flight)".to_owned()),
            Some((_, _)) | None => unavailable("messages before it were not answered".to_owned()),
        }
    }
}

#[cfg(test)]
impl Holding<'_> {
    /// What does not fit together in the books of the gates, if anything.
    pub(super) fn audit(&mut self) -> Result<(), String> {
        let mut counted: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
        for s in self.line.iter().filter(|s| s.counted) {
            if s.gate == NO_GATE {
                return Err(format!("message {} is counted at no gate", s.id));
            }
            *counted.entry(s.gate).or_default() += 1;
        }
        let line = &*self.line;
        for (index, gate) in self.gates.iter_mut() {
            let passed = counted.remove(&index).unwrap_or(0);
            if gate.in_flight != passed {
                return Err(format!("gate {:?} counts {} in flight, {passed} slots say so", gate.key, gate.in_flight));
            }
            let gone = gate.waiting.iter().find(|&(&id, &slot)| line.get(slot).is_none_or(|s| s.id != id || s.stage != Stage::Gated));
            if let Some((id, _)) = gone {
                return Err(format!("message {id} waits at gate {:?} and is not there", gate.key));
            }
            if let State::Held(held) = &gate.state
                && let Some((slot, id)) = held.probe
                && line.get(slot).is_none_or(|s| s.id != id || !s.probe)
            {
                return Err(format!("gate {:?} waits for its probe {id}, which is none", gate.key));
            }
        }
        counted.keys().next().map_or(Ok(()), |gate| Err(format!("slots are counted at gate {gate}, which is gone")))
    }
}
