//! Lines: which gate stands for which rules, and how messages change from one line to another.
//!
//! What goes to one stream waits in one line, whatever its rules are (P10). Which stream that is becomes known in mid-run: by the first ack, by a second stream's ack, by a rule
//! that names it. Then what waits moves along.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Holding;
use super::gates::{Key, State};
use crate::config::topic::Rules;
use crate::handler::orders::Order;
use crate::ledger::slot::{Slot, Stage, StreamId};

impl Holding<'_> {
    /// The first message of a rule on this connection.
    #[cold]
    pub(super) fn meet_rule(&mut self, slot: u32) {
        if self.here.settings().jetstream_domain.is_some()
            && let Some(topic) = self.line.get(slot).map(|s| s.topic().to_owned())
        {
            self.orders.push(Order::AskLocal { topic });
        }
    }

    /// The gate that a rule asks for by naming a stream or a limit.
    pub(super) fn make_rule_gate(&mut self, rule: u32) -> Option<u32> {
        let settings = self.here.rule(rule);
        let (key, state) = match &settings.stream {
            Some(stream) => (Key::Stream(stream.as_str().into()), State::Unchecked),
            None => {
                settings.in_flight?;
                match self.known.takers(rule).only() {
                    Some(taker) => (Key::Stream(taker.name().into()), State::Open),
                    None => (Key::Rule(rule), State::Open),
                }
            }
        };
        let permanent = settings.stream.is_some();
        let gate = self.gates.find_or_add(&key, state, permanent);
        self.bind(gate, rule);
        if let Key::Stream(stream) = &key {
            self.bind_all_of(gate, stream);
        }
        Some(gate)
    }

    /// The gate of the stream that takes this message, as far as that is known.
    pub(super) fn line_of(&mut self, slot: u32) -> Option<u32> {
        let s = self.line.get(slot)?;
        let rule = s.rule;
        if self.known.goes_elsewhere(rule, s.topic(), self.here) { None } else { self.stream_gate(rule) }
    }

    /// The gate of the stream that takes this rule's messages, as far as that is known.
    fn stream_gate(&mut self, rule: u32) -> Option<u32> {
        if self.gates.rule(rule).gate.is_none() && self.here.names_stream(rule) {
            // It names one only now.
            return self.make_rule_gate(rule);
        }
        if let Some(gate) = self.gates.rule(rule).gate {
            return Some(gate);
        }
        let stream: Box<str> = self.known.takers(rule).only()?.name().into();
        let gate = self.gates.find_or_add(&Key::Stream(stream.clone()), State::Open, false);
        self.bind_all_of(gate, &stream);
        Some(gate)
    }

    /// Binds all rules to the gate whose only stream this is.
    fn bind_all_of(&mut self, gate: u32, stream: &str) {
        let known = self.known;
        let is_of_stream = |rule: u32| known.takers(rule).only().is_some_and(|taker| taker.name() == stream);
        let rules: Vec<u32> = self.gates.rules().filter(|(rule, state)| state.gate.is_none() && is_of_stream(*rule)).map(|(rule, _)| rule).collect();
        for rule in rules {
            self.bind(gate, rule);
        }
    }

    fn bind(&mut self, gate: u32, rule: u32) {
        self.gates.rule(rule).gate = Some(gate);
        if let Some(g) = self.gates.get_mut(gate)
            && !g.rules.contains(&rule)
        {
            g.rules.push(rule);
            if !g.is_open() && !matches!(g.state, State::Unchecked) {
                self.orders.push(Order::CloseRule { rule, closed: true });
            }
        }
    }

    fn unbind(&mut self, gate: u32, rule: u32) {
        self.gates.rule(rule).gate = None;
        if let Some(g) = self.gates.get_mut(gate) {
            g.rules.retain(|&bound| bound != rule);
        }
        self.orders.push(Order::CloseRule { rule, closed: false });
    }

    /// The first stream that acknowledged this rule's messages: what goes to it waits in one line with that of its other rules.
    pub(in crate::handler) fn join_line(&mut self, rule: u32, stream: &StreamId) {
        let key = Key::Stream(stream.name().into());
        let other = self.gates.find(&key);
        match (self.gates.rule(rule).gate, other) {
            (None, Some(gate)) => self.bind(gate, rule),
            (Some(own), None) if self.gates.get(own).is_some_and(|g| matches!(g.key, Key::Rule(_))) => {
                self.gates.rename(own, key, false);
                self.bind_all_of(own, stream.name());
            }
            (Some(own), Some(gate)) if own != gate && self.gates.get(own).is_some_and(|g| matches!(g.key, Key::Rule(_))) => self.merge(own, gate, rule),
            _ => {}
        }
    }

    /// Another stream acknowledged this rule's messages too: it shares the line of none.
    pub(in crate::handler) fn leave_line(&mut self, rule: u32) {
        if self.here.names_stream(rule) {
            return;
        }
        let Some(old) = self.gates.rule(rule).gate else { return };
        if !self.gates.get(old).is_some_and(|g| matches!(g.key, Key::Stream(_))) {
            return;
        }
        if self.gates.rule(rule).limit.is_some() {
            self.take_own_line(rule, old);
        } else {
            self.unbind(old, rule);
            self.release_strangers_at(old);
        }
    }

    /// The rule has a line of its own from now on, into which what waits moves: nobody younger may take a place before it.
    fn take_own_line(&mut self, rule: u32, old: u32) {
        self.unbind(old, rule);
        let new = self.gates.add(Key::Rule(rule), State::Open, false);
        self.bind(new, rule);
        self.move_all_waiting(rule, old, new);
        // What passed the old gate and is not sent yet would be taken back by that, if it is held, and those behind it would pass it here.
        self.move_under_way(rule, old, new);
        self.wake_without_probe(old);
        self.let_pass(new);
    }

    /// A message waits that had a place in flight. If it is surely not stored, others of its rule may have that. Not where the limit is one, which excludes overtaking
    /// altogether.
    pub(super) fn lend_place(&mut self, slot: u32, gate: u32) {
        let Some(s) = self.line.get_mut(slot).filter(|s| s.placed) else { return };
        let (rule, in_doubt) = (s.rule, s.tainted().is_some());
        let is_alone = self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Topic(_)));
        let state = self.gates.rule(rule);
        state.lends = true;
        if in_doubt || state.limit.is_none_or(|limit| limit <= 1) {
            if is_alone {
                self.step_aside(rule);
            }
            return;
        }
        s.placed = false;
        state.in_flight = state.in_flight.saturating_sub(1);
        let line = state.gate.filter(|&line| line != gate);
        self.want_place(slot);
        if let Some(line) = line {
            self.let_pass(line);
        }
    }

    /// All places of this rule are taken by messages whose topics are in trouble alone: nobody else's message waits in one line with what cannot have a place.
    fn step_aside(&mut self, rule: u32) {
        let state = self.gates.rule(rule);
        let (Some(old), Some(limit)) = (state.gate, state.limit) else { return };
        if state.aside || state.in_flight < limit || !self.gates.get(old).is_some_and(|g| matches!(g.key, Key::Stream(_)) && g.rules.len() > 1) {
            return;
        }
        let is_alone = |slot: &Slot| self.gates.get(slot.gate).is_some_and(|g| matches!(g.key, Key::Topic(_)));
        if !self.here.names_stream(rule) && self.line.iter().filter(|s| s.rule == rule && s.placed).all(is_alone) {
            self.gates.rule(rule).aside = true;
            self.take_own_line(rule, old);
            self.let_pass(old);
        }
    }

    /// A place is free again: the rule waits in the line of its stream, as before.
    pub(super) fn step_back(&mut self, rule: u32) {
        if std::mem::take(&mut self.gates.rule(rule).aside)
            && let Some(stream) = self.known.takers(rule).only().map(|taker| Arc::clone(taker.stream()))
        {
            self.join_line(rule, &stream);
        }
    }

    /// All messages of the rule that wait at one gate wait at the other from now on.
    fn move_all_waiting(&mut self, rule: u32, from: u32, into: u32) {
        let waiting: Vec<(u64, u32)> = self.gates.get(from).map(|g| g.waiting.iter().map(|(&id, &slot)| (id, slot)).collect()).unwrap_or_default();
        for (id, slot) in waiting {
            self.move_waiting(slot, id, rule, from, into);
        }
    }

    /// If this message of the rule waits at one gate, it waits at the other from now on.
    pub(super) fn move_waiting(&mut self, slot: u32, id: u64, rule: u32, from: u32, into: u32) {
        let Some(s) = self.line.get_mut(slot).filter(|s| s.id == id && s.rule == rule) else { return };
        s.gate = into;
        let pausing = s.pausing;
        if let Some(g) = self.gates.get_mut(from) {
            g.waiting.remove(&id);
            g.refused.remove(&id);
        }
        if let Some(g) = self.gates.get_mut(into) {
            g.waiting.insert(id, slot);
            if pausing {
                g.refused.insert(id);
            }
        }
    }

    /// A held gate whose probe went to another gate sends the next one.
    fn wake_without_probe(&mut self, gate: u32) {
        if self.gates.held(gate).is_some_and(|held| held.probe.is_none()) {
            self.gates.wake(gate, self.here.now());
        }
    }

    /// What is under way for the rule, and counted at one gate, is counted at the other from now on: if it was refused before, nothing new passes it there. A probe is none any more.
    fn move_under_way(&mut self, rule: u32, from: u32, into: u32) {
        for s in self.line.iter_mut().filter(|s| s.rule == rule && s.gate == from && s.stage != Stage::Gated) {
            s.gate = into;
            let was_probe = std::mem::take(&mut s.probe);
            if let Some(g) = self.gates.get_mut(from) {
                g.in_flight = g.in_flight.saturating_sub(usize::from(s.counted));
                g.refused.remove(&s.id);
                if let State::Held(held) = &mut g.state
                    && was_probe
                {
                    held.probe = None;
                }
            }
            if let Some(g) = self.gates.get_mut(into) {
                g.in_flight += usize::from(s.counted);
                if s.pausing {
                    g.refused.insert(s.id);
                }
            }
        }
    }

    /// Everything of one gate goes to another, which stands for the same stream.
    fn merge(&mut self, from: u32, into: u32, rule: u32) {
        let Some(old) = self.gates.remove(from) else { return };
        for slot in self.line.iter_mut().filter(|s| s.gate == from) {
            slot.gate = into;
        }
        if let Some(g) = self.gates.get_mut(into) {
            g.in_flight += old.in_flight;
            g.waiting.extend(old.waiting);
            g.refused.extend(old.refused);
        }
        self.bind(into, rule);
        self.let_pass(into);
    }

    /// Other rules hold from now on than before: their limits at once, for what is under way too.
    pub(in crate::handler) fn take_rules(&mut self, before: &Rules) {
        for index in 0..self.here.rules().len() as u32 {
            let rule = self.here.rule(index);
            let (limit, named) = (rule.in_flight.map(|n| n as usize), rule.stream.is_some());
            let was_named = (index as usize) < before.len() && before.get(index).stream.is_some();
            self.gates.rule(index).plain = !named && limit.is_none();
            if self.gates.rule(index).limit != limit || named != was_named {
                self.step_back(index);
            }
            if self.gates.rule(index).limit != limit {
                self.change_limit(index, limit);
            }
            if named && !was_named {
                self.name_stream(index);
            }
            if let Some(gate) = self.gates.rule(index).gate {
                self.let_pass(gate);
            }
        }
    }

    fn change_limit(&mut self, rule: u32, limit: Option<usize>) {
        let state = self.gates.rule(rule);
        let counted_so_far = state.limit.is_some();
        state.limit = limit;
        if limit.is_none() {
            state.wanting.clear();
        }
        if counted_so_far || limit.is_none() {
            return;
        }
        // What is under way was not counted yet, or no longer.
        let mut count = 0;
        let mut wanting = BTreeMap::new();
        for slot in self.line.iter_mut().filter(|s| s.rule == rule) {
            slot.placed = slot.attempt > 0 && slot.stage != Stage::Settled;
            count += usize::from(slot.placed);
            if slot.stage == Stage::Gated && !slot.placed {
                wanting.insert(slot.id, slot.index);
            }
        }
        let state = self.gates.rule(rule);
        (state.in_flight, state.wanting) = (count, wanting);
    }

    /// The rule names a stream now: what waits in another line waits in that stream's from now on.
    fn name_stream(&mut self, rule: u32) {
        let old = self.gates.rule(rule).gate;
        let mut before = self.gates.of_topics();
        if let Some(old) = old {
            self.unbind(old, rule);
            before.push(old);
        }
        if before.is_empty() {
            return;
        }
        let Some(new) = self.make_rule_gate(rule) else { return };
        before.retain(|&gate| gate != new);
        for &gate in &before {
            self.move_all_waiting(rule, gate, new);
            self.move_under_way(rule, gate, new);
        }
        if self.gates.get(new).is_some_and(|g| matches!(g.state, State::Unchecked) && !g.waiting.is_empty()) {
            self.check(new);
        }
        for gate in before {
            self.wake_without_probe(gate);
            self.let_pass(gate);
        }
        self.let_pass(new);
    }
}
