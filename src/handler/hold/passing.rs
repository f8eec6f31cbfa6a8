//! Passing: which message may go to its stream now, and who waits for whom (P10).
//!
//! A message passes its gate when that is open, nobody older waits there, its rule has a place in flight, and, if it is new, nothing older must go again first. The line
//! of a gate is one for all rules of its stream: a message whose rule has no place holds up those behind it, since they must not be stored before it.

use super::Holding;
use super::gates::{Gate, Key, State};
use super::rule::RuleState;
use crate::handler::orders::Order;
use crate::ledger::slot::{NO_GATE, Stage};

impl Holding<'_> {
    /// Whether nothing stands before this message: its rule has no gate, and no topic is in trouble.
    #[inline(always)]
    pub(in crate::handler) fn needs_no_gate(&self, slot: u32) -> bool {
        let Some(s) = self.line.get(slot) else { return false };
        let is_free = |state: &RuleState| state.plain && state.met && state.gate.is_none();
        !s.counted && self.gates.have_no_topics() && self.gates.rule_if_used(s.rule).is_some_and(is_free)
    }

    /// May this message pass its gate now? If not, it waits there.
    pub(in crate::handler) fn pass_gate(&mut self, slot: u32) -> bool {
        let Some(s) = self.line.get(slot) else { return false };
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
        let gate = self.gate_of_topic(slot).filter(in_trouble).or(own);
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
        if let Some(s) = self.line.get_mut(slot) {
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
    pub(super) fn gate_of_topic(&self, slot: u32) -> Option<u32> {
        let s = self.line.get(slot)?;
        self.gates.of_message(s).filter(|_| !self.here.names_stream(s.rule))
    }

    /// A rule without a stream of its own stands in the line of the one that acknowledged so far. What surely goes to another one need not wait there.
    fn is_of_another_stream(&mut self, slot: u32, rule: u32, gate: u32) -> bool {
        if self.gates.rule(rule).limit.is_some() || !self.gates.get(gate).is_some_and(|g| matches!(g.key, Key::Stream(_))) {
            return false;
        }
        self.line.get(slot).is_some_and(|s| self.known.goes_elsewhere(rule, s.topic(), self.here))
    }

    /// What surely goes to another stream need not wait in this one's line: seen when its subjects become known.
    pub(in crate::handler) fn release_strangers(&mut self, stream: &str) {
        if let Some(gate) = self.gates.find(&Key::Stream(stream.into())) {
            self.release_strangers_at(gate);
        }
    }

    pub(super) fn release_strangers_at(&mut self, gate: u32) {
        let Some(Gate { key: Key::Stream(stream), waiting, .. }) = self.gates.get(gate) else { return };
        let is_stranger = |slot: u32| {
            let s = self.line.get(slot)?;
            let limited = self.gates.rule_if_used(s.rule).is_some_and(|state| state.limit.is_some());
            Some(!limited && self.known.is_stranger_to(s.rule, stream, s.topic(), self.here))
        };
        let strangers: Vec<(u64, u32)> = waiting.iter().map(|(&id, &slot)| (id, slot)).filter(|&(_, slot)| is_stranger(slot) == Some(true)).collect();
        for &(id, slot) in &strangers {
            if let Some(g) = self.gates.get_mut(gate) {
                g.waiting.remove(&id);
                g.refused.remove(&id);
            }
            if let Some(s) = self.line.get_mut(slot) {
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
    pub(in crate::handler) fn wait_again(&mut self, slot: u32) -> bool {
        let Some(s) = self.line.get_mut(slot).filter(|s| s.counted && !s.probe) else { return false };
        let (id, gate, fresh) = (s.id, s.gate, s.attempt == 0);
        let Some(g) = self.gates.get_mut(gate).filter(|g| !g.is_open() || (fresh && g.pauses(id))) else { return false };
        g.waiting.insert(id, slot);
        g.in_flight = g.in_flight.saturating_sub(1);
        s.counted = false;
        let unchecked = matches!(g.state, State::Unchecked);
        self.line.set_stage(slot, Stage::Gated);
        self.line.wait_for_deadline(slot);
        self.lend_place(slot, gate);
        if unchecked {
            self.check(gate);
        }
        self.note_share(gate);
        true
    }

    /// Lets go what may go, and forgets the gate when nobody needs it.
    pub(super) fn let_pass(&mut self, gate: u32) {
        while let Some((id, slot)) = self.next_in_line(gate) {
            let Some(s) = self.line.get(slot).filter(|s| s.id == id) else {
                self.leave_line_at(gate, id);
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
            if let Some(s) = self.line.get_mut(slot) {
                s.counted = true;
            }
            self.take_place(slot);
            self.requeue(slot);
        }
        if let Some(gone) = self.gates.drop_if_idle(gate)
            && let Key::Topic(topic) = &gone.key
            && gone.share_used
        {
            self.orders.push(Order::CloseTopic { topic: topic.clone(), closed: false });
        }
    }

    /// The oldest that waits. But if its rule has no place for it, because younger ones that wait here too, in doubt, have them all: the oldest of those.
    pub(super) fn next_in_line(&mut self, gate: u32) -> Option<(u64, u32)> {
        let oldest = self.gates.get(gate)?.waiting.first_key_value().map(|(&id, &slot)| (id, slot))?;
        let Some(rule) = self.line.get(oldest.1).filter(|s| s.id == oldest.0).map(|s| s.rule) else { return Some(oldest) };
        if self.may_take_place(oldest.1) || !self.gates.rule(rule).lends {
            return Some(oldest);
        }
        let has_place = |&(_, &slot): &(&u64, &u32)| self.line.get(slot).is_some_and(|s| s.rule == rule && s.placed);
        let other = self.gates.get(gate)?.waiting.iter().find(has_place).map(|(&id, &slot)| (id, slot));
        if other.is_none() {
            // Not looked for again before another one waits with its place.
            self.gates.rule(rule).lends = false;
        }
        Some(other.unwrap_or(oldest))
    }

    /// The message leaves the line at the gate.
    pub(in crate::handler) fn leave_gate(&mut self, slot: u32) {
        if let Some(s) = self.line.get(slot) {
            let (gate, id) = (s.gate, s.id);
            self.leave_line_at(gate, id);
        }
    }

    fn leave_line_at(&mut self, gate: u32, id: u64) {
        if let Some(g) = self.gates.get_mut(gate) {
            g.waiting.remove(&id);
        }
    }

    /// The message is no longer one of those that passed the gate and have no answer.
    pub(super) fn uncount(&mut self, slot: u32) {
        let Some(s) = self.line.get_mut(slot) else { return };
        if std::mem::take(&mut s.counted)
            && let Some(g) = self.gates.get_mut(s.gate)
        {
            g.in_flight = g.in_flight.saturating_sub(1);
        }
    }

    // ---- Places in flight ----

    /// Whether the message's rule has a place for it. One that was sent keeps its place until it is settled, so that nobody younger passes it.
    pub(super) fn may_take_place(&self, slot: u32) -> bool {
        let Some(s) = self.line.get(slot) else { return false };
        s.placed || self.gates.rule_if_used(s.rule).is_none_or(|state| state.has_place(s.id))
    }

    /// It waits for a place from now on.
    pub(super) fn want_place(&mut self, slot: u32) {
        let Some(s) = self.line.get(slot).filter(|s| !s.placed) else { return };
        let state = self.gates.rule(s.rule);
        if state.limit.is_some() {
            state.wanting.insert(s.id, slot);
        }
    }

    pub(super) fn take_place(&mut self, slot: u32) {
        let Some(s) = self.line.get_mut(slot).filter(|s| !s.placed) else { return };
        let state = self.gates.rule(s.rule);
        if state.limit.is_some() {
            state.in_flight += 1;
            state.wanting.remove(&s.id);
            s.placed = true;
        }
    }

    /// The message is settled: its places are free.
    pub(in crate::handler) fn give_up_places(&mut self, slot: u32) {
        let Some(s) = self.line.get_mut(slot) else { return };
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
        if let Some(other) = first.and_then(|slot| self.line.get(slot)).map(|s| s.gate).filter(|&other| other != gate) {
            self.let_pass(other);
        }
        if counted || placed || pausing {
            self.let_pass(gate);
        }
    }

    /// A topic's trouble is over: what waited there waits in the line of its stream, where that is known by now.
    pub(super) fn join_lines(&mut self, gate: u32) {
        let Some(Gate { key: Key::Topic(_), waiting, .. }) = self.gates.get(gate) else { return };
        let waiting: Vec<(u64, u32)> = waiting.iter().map(|(&id, &slot)| (id, slot)).collect();
        let mut lines = Vec::new();
        for (id, slot) in waiting {
            let Some(rule) = self.line.get(slot).map(|s| s.rule) else { continue };
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
    pub(in crate::handler) fn pause_behind(&mut self, slot: u32) {
        let Some(s) = self.line.get(slot).filter(|s| !s.pausing) else { return };
        let id = s.id;
        let Some(index) = self.line_of(slot) else { return };
        let before = self.line.get(slot).map_or(NO_GATE, |s| s.gate);
        if before != index {
            // It passed another gate, that of its topic.
            self.uncount(slot);
        }
        let Some(s) = self.line.get_mut(slot) else { return };
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
    pub(super) fn is_named(&self, gate: u32) -> bool {
        self.gates.get(gate).is_some_and(|g| g.rules.iter().any(|&rule| self.here.names_stream(rule)))
    }

    /// A message fell silent: nothing new goes to its stream until the fence behind it closed, and it goes again first. Other silences meanwhile do not lengthen that.
    pub(in crate::handler) fn pause_for_fence(&mut self, slot: u32) {
        let Some(s) = self.line.get(slot) else { return };
        let (epoch, mark) = (s.epoch, s.mark);
        let Some(index) = self.line_of(slot) else { return };
        if let Some(g) = self.gates.get_mut(index)
            && g.silent.is_none()
        {
            g.silent = Some((epoch, mark));
            self.gates.silent.push(index);
        }
    }

    /// Fences below this mark of this epoch closed; `None`: the connection is gone, and no fence will come.
    pub(in crate::handler) fn end_silent_pauses(&mut self, closed: Option<(u32, u64)>) {
        if self.gates.silent.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        let mut silent = std::mem::take(&mut self.gates.silent);
        let gates = &mut self.gates;
        silent.retain(|&index| {
            let Some(g) = gates.get_mut(index) else { return false };
            let over = g.silent.is_none_or(|(epoch, mark)| closed.is_none_or(|(now, below)| epoch != now || mark < below));
            if over {
                g.silent = None;
                ended.push(index);
            }
            !over
        });
        self.gates.silent = silent;
        for gate in ended {
            self.let_pass(gate);
        }
    }

    /// What waits behind a topic's gate has used its share of the window.
    pub(super) fn note_share(&mut self, gate: u32) {
        let share = self.gates.share;
        if let Some(g) = self.gates.get_mut(gate)
            && let Gate { key: Key::Topic(topic), share_used: used @ false, waiting, .. } = g
            && waiting.len() >= share
        {
            *used = true;
            self.orders.push(Order::CloseTopic { topic: topic.clone(), closed: true });
        }
    }
}
