//! Passing: which message may go to its stream now, and who waits for whom (P10).
//!
//! A message passes its gate when that is open, nobody older waits there, its rule has a place in flight, and, if it is new, nothing older must go again first. The line
//! of a gate is one for all rules of its stream: a message whose rule has no place holds up those behind it, since they must not be stored before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gate::{Gate, Key, State};
use crate::handler::Core;
use crate::ledger::{NO_GATE, Slot, Stage, StreamId};
use crate::topic::Rules;

impl Core {
    /// Whether nothing stands before this message: its rule has no gate, and no topic is in trouble.
    #[inline(always)]
    pub(crate) fn needs_no_gate(&self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        let is_free = |state: &crate::rule_state::RuleState| state.plain && state.met && state.gate.is_none();
        !s.counted && self.gates.have_no_topics() && self.gates.rule_if_used(s.rule).is_some_and(is_free)
    }

    /// May this message pass its gate now? If not, it waits there.
    pub(crate) fn pass_gate(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        if s.counted {
            return !self.wait_again(slot);
        }
        let (id, rule, fresh) = (s.id, s.rule, s.attempt == 0);
        let state = self.gates.rule(rule);
        let (own, met) = (state.gate, std::mem::replace(&mut state.met, true));
        if !met {
            self.meet_rule(slot);
        }
        let own = own.or_else(|| self.make_rule_gate(rule));
        // A topic that is in trouble alone waits alone, whatever its rule's stream does.
        let in_trouble = |gate: &u32| self.gates.get(*gate).is_some_and(|g| own.is_none() || !g.is_open() || !g.waiting.is_empty());
        let gate = self.gate_of_topic(slot, rule).filter(in_trouble).or(own);
        let Some(index) = gate else { return true };
        let Some(gate) = self.gates.get(index) else { return true };
        let may_pass = gate.is_next(id) && gate.passes(id, fresh) && self.may_take_place(slot);
        if !may_pass && self.is_of_another_stream(slot, rule, index) {
            return true;
        }
        let Some(gate) = self.gates.get_mut(index) else { return true };
        let unchecked = matches!(gate.state, State::Unchecked);
        if may_pass {
            gate.in_flight += 1;
        } else {
            gate.waiting.insert(id, slot);
        }
        if let Some(s) = self.table.get_mut(slot) {
            s.gate = index;
            s.counted = may_pass;
            if !may_pass {
                s.stage = Stage::Gated;
            }
        }
        if may_pass {
            self.take_place(slot);
        } else {
            self.want_place(slot);
        }
        if unchecked {
            self.check(index);
        }
        if !may_pass {
            self.note_share(index);
        }
        may_pass
    }

    /// The gate of the message's topic, if that is in trouble alone. Not where the rule names the stream: all that goes to it waits in one line.
    fn gate_of_topic(&self, slot: u32, rule: u32) -> Option<u32> {
        if self.gates.have_no_topics() || self.rules.get(rule).stream.is_some() {
            return None;
        }
        self.gates.of_message(self.table.get(slot)?)
    }

    /// A rule without a stream of its own stands in the line of the one that acknowledged so far. What surely goes to another one need not wait there.
    fn is_of_another_stream(&mut self, slot: u32, rule: u32, gate: u32) -> bool {
        if self.gates.rule(rule).limit.is_some() || !self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Stream(_))) {
            return false;
        }
        self.table.get(slot).is_some_and(|s| self.goes_elsewhere(rule, s.topic()))
    }

    /// What surely goes to another stream need not wait in this one's line: seen when its subjects become known.
    pub(crate) fn release_strangers(&mut self, gate: u32) {
        let Some(Gate { key: Key::Stream(stream), waiting, .. }) = self.gates.get(gate) else { return };
        let is_stranger = |slot: u32| {
            let s = self.table.get(slot)?;
            let limited = self.gates.rule_if_used(s.rule).is_some_and(|state| state.limit.is_some());
            Some(!limited && self.is_stranger_to(s.rule, stream, s.topic()))
        };
        let strangers: Vec<(u64, u32)> = waiting.iter().map(|(&id, &slot)| (id, slot)).filter(|&(_, slot)| is_stranger(slot) == Some(true)).collect();
        for &(id, slot) in &strangers {
            if let Some(g) = self.gates.get_mut(gate) {
                g.waiting.remove(&id);
                g.refused.remove(&id);
            }
            if let Some(s) = self.table.get_mut(slot) {
                (s.gate, s.pausing) = (NO_GATE, false);
            }
            self.requeue(slot);
        }
        if !strangers.is_empty() {
            self.let_pass(gate);
        }
    }

    /// A gate that closed since the message passed it takes it back: it waits there, before all that is younger (P10). So does a pause that began since then, unless
    /// the message was sent before. Only the probe goes on.
    pub(crate) fn wait_again(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get_mut(slot).filter(|s| s.counted && !s.probe) else { return false };
        let (id, gate, deadline, fresh) = (s.id, s.gate, s.deadline, s.attempt == 0);
        let Some(g) = self.gates.get_mut(gate).filter(|g| !g.is_open() || (fresh && g.pauses(id))) else { return false };
        g.waiting.insert(id, slot);
        g.in_flight = g.in_flight.saturating_sub(1);
        s.counted = false;
        let unchecked = matches!(g.state, State::Unchecked);
        self.set_stage(slot, Stage::Gated);
        self.deadlines.set(slot, deadline);
        if unchecked {
            self.check(gate);
        }
        self.note_share(gate);
        true
    }

    /// Lets go what may go, and forgets the gate when nobody needs it.
    pub(crate) fn let_pass(&mut self, gate: u32) {
        while let Some((&id, &slot)) = self.gates.get(gate).and_then(|g| g.waiting.first_key_value()) {
            let Some(s) = self.table.get(slot).filter(|s| s.id == id) else {
                self.leave_gate(gate, id);
                continue;
            };
            let fresh = s.attempt == 0;
            if !self.gates.get(gate).is_some_and(|g| g.passes(id, fresh)) || !self.may_take_place(slot) {
                break;
            }
            if let Some(g) = self.gates.get_mut(gate) {
                g.waiting.remove(&id);
                g.in_flight += 1;
            }
            if let Some(s) = self.table.get_mut(slot) {
                s.counted = true;
            }
            self.take_place(slot);
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

    /// The message is no longer one of those that passed the gate and have no answer.
    pub(crate) fn uncount(&mut self, slot: u32) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if std::mem::take(&mut s.counted)
            && let Some(g) = self.gates.get_mut(s.gate)
        {
            g.in_flight = g.in_flight.saturating_sub(1);
        }
    }

    // ---- Places in flight ----

    /// Whether the message's rule has a place for it. One that was sent keeps its place until it is settled, so that nobody younger passes it.
    pub(crate) fn may_take_place(&self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        s.placed || self.gates.rule_if_used(s.rule).is_none_or(|state| state.has_place(s.id))
    }

    /// It waits for a place from now on.
    fn want_place(&mut self, slot: u32) {
        let Some(s) = self.table.get(slot).filter(|s| !s.placed) else { return };
        let state = self.gates.rule(s.rule);
        if state.limit.is_some() {
            state.wanting.insert(s.id, slot);
        }
    }

    pub(crate) fn take_place(&mut self, slot: u32) {
        let Some(s) = self.table.get_mut(slot).filter(|s| !s.placed) else { return };
        let state = self.gates.rule(s.rule);
        if state.limit.is_some() {
            state.in_flight += 1;
            state.wanting.remove(&s.id);
            s.placed = true;
        }
    }

    /// The message is settled: its places are free.
    pub(crate) fn give_up_places(&mut self, slot: u32) {
        let Some(s) = self.table.get_mut(slot) else { return };
        let (id, rule, gate) = (s.id, s.rule, std::mem::replace(&mut s.gate, NO_GATE));
        let (counted, placed, pausing) = (std::mem::take(&mut s.counted), std::mem::take(&mut s.placed), std::mem::take(&mut s.pausing));
        if let Some(g) = self.gates.get_mut(gate) {
            if counted {
                g.in_flight = g.in_flight.saturating_sub(1);
            }
            if pausing {
                g.refused.remove(&id);
            }
        }
        let state = self.gates.rule(rule);
        let mut first = None;
        if placed {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
        if state.limit.is_some() {
            state.wanting.remove(&id);
            first = state.wanting.first_key_value().map(|(_, &slot)| slot);
        }
        if placed {
            self.step_back(rule);
        }
        // Whose turn it is may wait at another gate, and goes first.
        if let Some(other) = first.and_then(|slot| self.table.get(slot)).map(|s| s.gate).filter(|&other| other != gate) {
            self.let_pass(other);
        }
        if counted || placed || pausing {
            self.let_pass(gate);
        }
    }

    /// A topic's trouble is over: what waited there waits in the line of its stream, where that is known by now.
    pub(crate) fn join_lines(&mut self, gate: u32) {
        let Some(Gate { key: Key::Topic(_), waiting, .. }) = self.gates.get(gate) else { return };
        let waiting: Vec<(u64, u32)> = waiting.iter().map(|(&id, &slot)| (id, slot)).collect();
        let mut lines = Vec::new();
        for (id, slot) in waiting {
            let Some(rule) = self.table.get(slot).map(|s| s.rule) else { continue };
            if let Some(line) = self.line_of(slot).filter(|&line| line != gate) {
                self.move_waiting(slot, id, rule, gate, line);
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        for line in lines {
            self.let_pass(line);
        }
    }

    // ---- Pauses ----

    /// A refused message goes again: nothing new goes to its stream before it is settled (P10). Where the stream is not known nobody waits.
    pub(crate) fn pause_behind(&mut self, slot: u32) {
        let Some(s) = self.table.get(slot).filter(|s| !s.pausing) else { return };
        let id = s.id;
        let Some(index) = self.line_of(slot) else { return };
        let before = self.table.get(slot).map_or(NO_GATE, |s| s.gate);
        if before != index {
            // It passed another gate, that of its topic.
            self.uncount(slot);
        }
        let Some(s) = self.table.get_mut(slot) else { return };
        s.gate = index;
        s.pausing = true;
        let counts = !std::mem::replace(&mut s.counted, true);
        if let Some(g) = self.gates.get_mut(index) {
            g.in_flight += usize::from(counts);
            g.refused.insert(id);
        }
        if before != index && before != NO_GATE {
            self.let_pass(before);
        }
    }

    /// A rule of this gate names its stream: then all that is new to it waits for what was refused (P10), whatever its topic.
    pub(crate) fn is_named(&self, gate: u32) -> bool {
        self.gates.get(gate).is_some_and(|g| g.rules.iter().any(|&rule| self.rules.get(rule).stream.is_some()))
    }

    /// A message fell silent: nothing new goes to its stream until the fence behind it closed, and it goes again first. Other silences meanwhile do not lengthen that.
    pub(crate) fn pause_for_fence(&mut self, slot: u32) {
        let Some(s) = self.table.get(slot) else { return };
        let (epoch, mark) = (s.epoch, s.mark);
        let Some(index) = self.line_of(slot) else { return };
        if let Some(g) = self.gates.get_mut(index)
            && g.silent.is_none()
        {
            g.silent = Some((epoch, mark));
            self.silent_gates.push(index);
        }
    }

    /// Fences below this mark of this epoch closed; `None`: the connection is gone, and no fence will come.
    pub(crate) fn end_silent_pauses(&mut self, closed: Option<(u32, u64)>) {
        if self.silent_gates.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        let gates = &mut self.gates;
        self.silent_gates.retain(|&index| {
            let Some(g) = gates.get_mut(index) else { return false };
            let over = g.silent.is_none_or(|(epoch, mark)| closed.is_none_or(|(now, below)| epoch != now || mark < below));
            if over {
                g.silent = None;
                ended.push(index);
            }
            !over
        });
        for gate in ended {
            self.let_pass(gate);
        }
    }

    // ---- Rules and their gates ----

    /// The first message of a rule on this connection.
    #[cold]
    fn meet_rule(&mut self, slot: u32) {
        if self.shared.settings.jetstream_domain.is_some()
            && let Some(topic) = self.table.get(slot).map(|s| s.topic().to_owned())
        {
            self.ask_local(&topic);
        }
    }

    /// The gate that a rule asks for by naming a stream or a limit.
    fn make_rule_gate(&mut self, rule: u32) -> Option<u32> {
        let settings = self.rules.get(rule);
        let (key, state) = match &settings.stream {
            Some(stream) => (Key::Stream(stream.as_str().into()), State::Unchecked),
            None => {
                settings.in_flight?;
                match self.gates.rule(rule).takers.only() {
                    Some(taker) => (Key::Stream(taker.stream.name().into()), State::Open),
                    None => (Key::Rule(rule), State::Open),
                }
            }
        };
        let permanent = settings.stream.is_some();
        let gate = match self.gates.find(&key) {
            Some(gate) => gate,
            None => self.gates.add(key.clone(), state, permanent),
        };
        self.bind(gate, rule);
        if let Key::Stream(stream) = &key {
            self.bind_all_of(gate, stream);
        }
        Some(gate)
    }

    /// The gate of the stream that takes this message, as far as that is known.
    pub(crate) fn line_of(&mut self, slot: u32) -> Option<u32> {
        let s = self.table.get(slot)?;
        let rule = s.rule;
        if self.goes_elsewhere(rule, s.topic()) { None } else { self.stream_gate(rule) }
    }

    /// The gate of the stream that takes this rule's messages, as far as that is known.
    pub(crate) fn stream_gate(&mut self, rule: u32) -> Option<u32> {
        if self.gates.rule(rule).gate.is_none() && self.rules.get(rule).stream.is_some() {
            // It names one only now.
            return self.make_rule_gate(rule);
        }
        let state = self.gates.rule(rule);
        if let Some(gate) = state.gate {
            return Some(gate);
        }
        let stream: Box<str> = state.takers.only()?.stream.name().into();
        let key = Key::Stream(stream.clone());
        let gate = match self.gates.find(&key) {
            Some(gate) => gate,
            None => self.gates.add(key, State::Open, false),
        };
        self.bind_all_of(gate, &stream);
        Some(gate)
    }

    /// Binds all rules to the gate whose only stream this is.
    fn bind_all_of(&mut self, gate: u32, stream: &str) {
        let of_stream = |state: &crate::rule_state::RuleState| state.gate.is_none() && state.takers.only().is_some_and(|taker| taker.stream.name() == stream);
        let rules: Vec<u32> = self.gates.rules_mut().filter(|(_, state)| of_stream(state)).map(|(rule, _)| rule).collect();
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
                self.shared.window.close_rule(rule, self.lane.bit(), true);
            }
        }
    }

    fn unbind(&mut self, gate: u32, rule: u32) {
        self.gates.rule(rule).gate = None;
        if let Some(g) = self.gates.get_mut(gate) {
            g.rules.retain(|&bound| bound != rule);
        }
        self.shared.window.close_rule(rule, self.lane.bit(), false);
    }

    /// The first stream that acknowledged this rule's messages: what goes to it waits in one line with that of its other rules.
    pub(crate) fn join_line(&mut self, rule: u32, stream: &StreamId) {
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
    pub(crate) fn leave_line(&mut self, rule: u32) {
        if self.rules.get(rule).stream.is_some() {
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
            self.release_strangers(old);
        }
    }

    /// The rule has a line of its own from now on, into which what waits moves: nobody younger may take a place before it.
    fn take_own_line(&mut self, rule: u32, old: u32) {
        self.unbind(old, rule);
        let new = self.gates.add(Key::Rule(rule), State::Open, false);
        self.bind(new, rule);
        self.move_all_waiting(rule, old, new);
        self.let_pass(new);
    }

    /// A message waits because its topic alone is in trouble. If it is surely not stored, others of its rule may have its place. Not where the limit is one, which excludes
    /// overtaking altogether.
    pub(crate) fn lend_place(&mut self, slot: u32, gate: u32) {
        let Some(s) = self.table.get_mut(slot).filter(|s| s.placed) else { return };
        let (rule, in_doubt) = (s.rule, s.tainted().is_some());
        let is_alone = self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Topic(_)));
        let state = self.gates.rule(rule);
        if !is_alone || in_doubt || state.limit.is_none_or(|limit| limit <= 1) {
            return self.step_aside(rule);
        }
        s.placed = false;
        state.in_flight = state.in_flight.saturating_sub(1);
        let line = state.gate;
        self.want_place(slot);
        if let Some(line) = line {
            self.let_pass(line);
        }
    }

    /// All places of this rule are taken by messages whose topics are in trouble alone: nobody else's message waits in one line with what cannot have a place.
    pub(crate) fn step_aside(&mut self, rule: u32) {
        let state = self.gates.rule(rule);
        let (Some(old), Some(limit)) = (state.gate, state.limit) else { return };
        if state.aside || state.in_flight < limit || !self.gates.get(old).is_some_and(|g| matches!(g.key, Key::Stream(_)) && g.rules.len() > 1) {
            return;
        }
        let is_alone = |slot: &Slot| self.gates.get(slot.gate).is_some_and(|g| matches!(g.key, Key::Topic(_)));
        if self.rules.get(rule).stream.is_none() && self.table.iter().filter(|s| s.rule == rule && s.placed).all(is_alone) {
            self.gates.rule(rule).aside = true;
            self.take_own_line(rule, old);
            self.let_pass(old);
        }
    }

    /// A place is free again: the rule waits in the line of its stream, as before.
    fn step_back(&mut self, rule: u32) {
        if std::mem::take(&mut self.gates.rule(rule).aside)
            && let Some(stream) = self.gates.rule(rule).takers.only().map(|taker| Arc::clone(&taker.stream))
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
    fn move_waiting(&mut self, slot: u32, id: u64, rule: u32, from: u32, into: u32) {
        let Some(s) = self.table.get_mut(slot).filter(|s| s.id == id && s.rule == rule) else { return };
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

    /// What is under way for the rule, and counted at one gate, is counted at the other from now on: if it was refused before, nothing new passes it there. A probe is none any more.
    fn move_under_way(&mut self, rule: u32, from: u32, into: u32) {
        for s in self.table.iter_mut().filter(|s| s.rule == rule && s.gate == from && s.stage != Stage::Gated) {
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
        for slot in self.table.iter_mut().filter(|s| s.gate == from) {
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

    /// Other rules hold from now on: their limits at once, for what is under way too.
    pub(crate) fn take_rules(&mut self, rules: Arc<Rules>) {
        let before = std::mem::replace(&mut self.rules, rules);
        for index in 0..self.rules.len() as u32 {
            let rule = self.rules.get(index);
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
        for slot in self.table.iter_mut().filter(|s| s.rule == rule) {
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
            if self.gates.held(gate).is_some_and(|held| held.probe.is_none()) {
                self.gates.wake(gate, self.now);
            }
            self.let_pass(gate);
        }
        self.let_pass(new);
    }

    /// What waits behind a topic's gate has used its share of the window.
    pub(crate) fn note_share(&mut self, gate: u32) {
        let share = self.shared.window.share();
        if let Some(g) = self.gates.get_mut(gate)
            && let Gate { key: Key::Topic(topic), share_used: used @ false, waiting, .. } = g
            && waiting.len() >= share
        {
            *used = true;
            self.shared.window.close_topic(topic, true);
        }
    }
}
