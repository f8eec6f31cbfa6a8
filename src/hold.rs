//! Hold: what closes gates and what opens them.
//!
//! A rule that names a stream has its gate checked before its first frame. A refusal that is about the stream and not the message holds the gate: the bus asks once
//! which stream takes the topic (`asking`), and sends the oldest message alone, with growing pauses, until one is stored.

pub(crate) mod asking;

use self::asking::{NO_RESPONDERS, STREAM_NOT_FOUND, nobody_takes};
use crate::error::Status;
use crate::events::EventKind;
use crate::gate::{Check, Gate, Held, Key, Learned, State};
use crate::handler::Core;
use crate::ledger::{NO_GATE, Stage};
use crate::settle::Ending;
use crate::wire::{Nanos, Trouble};

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
            None => self.make_rule_gate(rule).or_else(|| self.gates.of_message(self.table.get(slot)?)),
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
            self.shared.window.close_rule(rule, self.lane.bit(), true);
        }
    }

    fn open(&mut self, gate: u32) {
        self.gates.set(gate, State::Open);
        if let Some(g) = self.gates.get_mut(gate) {
            self.silences.end(&g.key);
            g.created = false;
            if std::mem::take(&mut g.share_used)
                && let Key::Topic(topic) = &g.key
            {
                self.shared.window.close_topic(topic, false);
            }
        }
        for rule in self.gates.get(gate).map(|g| g.rules.clone()).unwrap_or_default() {
            self.shared.window.close_rule(rule, self.lane.bit(), false);
        }
        self.let_pass(gate);
    }

    // ---- Trouble ----

    /// A refusal that is about the stream: its gate is held, the message waits in it.
    pub(crate) fn hold(&mut self, slot: u32, trouble: Trouble) {
        let Some(s) = self.table.get(slot) else { return };
        let (id, topic) = (s.id, s.topic().to_owned());
        let probed = self.take_probe(slot);
        if trouble == Trouble::NobodyThere && probed.is_none() && self.nobody_takes(&topic) {
            return self.settle(slot, Ending::definite(Status::NoStream, NO_RESPONDERS, nobody_takes(&topic)));
        }
        let Some(gate) = probed.or_else(|| self.gate_in_trouble(slot, trouble)) else {
            // Too many gates: alone, then.
            return self.retry_later(slot);
        };
        let now = self.now;
        let first_pause = self.probe_pause(now);
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
                self.close(gate, State::Held(Held { trouble, ask: None, probe: None, probe_at: now + first_pause, since: now, told: false }));
                // That nobody is there may mean that no stream exists: then nothing waits, and there is nothing to tell but the reports.
                if !ask {
                    self.tell_held(gate, &topic);
                }
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

    /// Tells once that messages wait at this gate.
    pub(super) fn tell_held(&mut self, gate: u32, topic: &str) {
        let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) else { return };
        if std::mem::replace(&mut held.told, true) {
            return;
        }
        let what = match held.trouble {
            Trouble::NobodyThere => "no stream took the message",
            Trouble::Overloaded => "the stream has too much to do",
        };
        self.lane.counters.gates_held.bump(1);
        self.event(EventKind::GateHeld, Status::Unavailable, 0, topic, format!("{topic}: {what}; messages wait and one at a time is tried"));
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
            let key = Key::Stream(stream.name().into());
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
        let told = matches!(self.gates.get(gate).map(|g| &g.state), Some(State::Held(Held { told: true, .. })));
        self.open(gate);
        if told {
            self.event(EventKind::GateOpened, Status::Ok, 0, "", text);
        }
    }

    /// If it was a probe: its answer says nothing of the stream.
    pub(crate) fn probe_unclear(&mut self, slot: u32) {
        if let Some(gate) = self.take_probe(slot) {
            self.probe_failed(gate);
        }
    }

    /// The next probe comes after a longer pause.
    fn probe_failed(&mut self, gate: u32) {
        let Some(Gate { state: State::Held(Held { since, .. }), .. }) = self.gates.get(gate) else { return };
        let probe_at = self.now + self.probe_pause(*since);
        if let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) {
            held.probe_at = probe_at;
        }
    }

    /// The next probe may go at once.
    fn probe_now(&mut self, gate: u32) {
        let now = self.now;
        if let Some(Gate { state: State::Held(held), .. }) = self.gates.get_mut(gate) {
            held.probe_at = now;
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

    // ---- Time and connections ----

    /// Sends probes and questions whose time has come. Returns when the next one is due.
    pub(crate) fn tend_gates(&mut self, ready: bool) -> Nanos {
        let mut next = self.give_up_questions();
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

    /// A new connection: whatever held the gates may be over.
    pub(crate) fn retry_gates_now(&mut self) {
        let now = self.now;
        for (_, gate) in self.gates.iter_mut() {
            match &mut gate.state {
                State::Checking(Check { ask: None, again_at, .. }) => *again_at = 0,
                State::Held(held) => {
                    held.probe_at = 0;
                    held.since = now;
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
