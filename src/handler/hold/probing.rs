//! Probing: the one message that is sent to try whether a held gate's stream takes messages again, and when the next one goes.
//!
//! All gates together send so many probes a second at most, however many topics are in trouble; one that is stored buys more, so the end of an outage is not slowed.

use super::Holding;
use super::gates::PATIENCE;
use super::gates::{Cause, Check, Gate, Held, Key, NEVER, State};
use crate::base::error::Status;
use crate::base::time::Nanos;
use crate::desk::events::EventKind;
use crate::ledger::refusal::Trouble;

/// A held gate is asked about this often while its probes fail.
const ASK_EVERY: Nanos = 1_000_000_000;
/// So many probes of one topic fail before another topic's message is tried: their stream may be well.
const PATIENT_PROBES: u32 = 2;

impl Holding<'_> {
    /// The message is stored, or refused for a reason of its own: if it was a probe, its gate opens.
    pub(in crate::handler) fn probe_answered(&mut self, slot: u32, stream: Option<&str>) {
        let topic_of_probe = self.line.get(slot).map(|s| s.topic().to_owned());
        let Some(gate) = self.take_probe(slot) else { return };
        self.gates.probes.refund();
        let (told, failed) = self.gates.held(gate).map_or((false, None), |held| (held.told, held.stranger().cloned()));
        let text = match self.gates.get(gate).map(|g| &g.key) {
            // Where no rule names it, it may be another stream that takes them now.
            Some(Key::Stream(name)) => format!("{} takes messages again", stream.unwrap_or(name)),
            Some(Key::Topic(topic)) => format!("{topic} is taken again"),
            Some(Key::Rule(_)) | None => "messages are taken again".to_owned(),
        };
        if let Some(failed) = failed.filter(|failed| Some(failed) != topic_of_probe.as_ref() && !self.is_named(gate)) {
            self.isolate(gate, &failed);
        }
        self.open(gate);
        if told {
            self.orders.tell(EventKind::GateOpened, Status::Ok, 0, "", text);
        }
    }

    /// If it was a probe: its answer says nothing of the stream.
    pub(in crate::handler) fn probe_unclear(&mut self, slot: u32) {
        if let Some(gate) = self.take_probe(slot) {
            self.probe_failed(gate);
        }
    }

    /// The probe found nobody, or a stream with too much to do.
    pub(super) fn probe_refused(&mut self, gate: u32, trouble: Trouble, topic: String) {
        let (now, named) = (self.here.now(), self.is_named(gate));
        let Some(held) = self.gates.held_mut(gate) else { return };
        held.cause = Cause::Trouble(trouble);
        if trouble != Trouble::NobodyThere {
            self.tell_held(gate, &topic);
            return self.probe_failed(gate);
        }
        if let Some(absence) = held.absence.take_if(|absence| absence.topic.as_ref().is_none_or(|asked| *asked == topic))
            && (absence.topic.is_none() || self.could_know_all(gate, &topic))
        {
            // A rule that creates the stream may have come to the gate since that was looked at.
            if absence.topic.is_none() && self.create(gate, &topic) {
                return self.probe_failed(gate);
            }
            return self.conclude_absence(gate, absence, true);
        }
        let Some(held) = self.gates.held_mut(gate) else { return };
        if let Some((text, nobody)) = held.no_store.take() {
            self.tell_no_store(gate, &topic, text, nobody);
            return self.probe_failed(gate);
        }
        let is_stranger = std::mem::take(&mut held.alive) || self.is_of_others(gate, &topic);
        if is_stranger && !named {
            self.isolate(gate, &topic);
            return self.go_on(gate);
        }
        let Some(held) = self.gates.held_mut(gate) else { return };
        match &mut held.failed {
            Some((failed, times)) if *failed == topic => *times += 1,
            failed => *failed = Some((topic.clone(), 1)),
        }
        let asks = held.ask.is_none() && now >= held.ask_at;
        if asks {
            held.ask_at = now + ASK_EVERY;
        }
        self.probe_failed(gate);
        if asks && self.gates.probes.take(now).is_ok() {
            self.ask_about_absence(gate, topic);
        }
    }

    /// The gate's stream does not take this topic, by its own subjects.
    fn is_of_others(&self, gate: u32, topic: &str) -> bool {
        let Some(Gate { key: Key::Stream(stream), waiting, .. }) = self.gates.get(gate) else { return false };
        let to_topic = waiting.values().filter_map(|&slot| self.line.get(slot)).find(|s| s.topic() == topic);
        to_topic.is_some_and(|s| self.known.is_stranger_to(s.rule, stream, topic, self.here))
    }

    /// The next probe comes after a longer pause.
    pub(super) fn probe_failed(&mut self, gate: u32) {
        let Some((since, missing, cause)) = self.gates.held(gate).map(|held| (held.since, held.missing, held.cause)) else { return };
        // An election ends by itself, and soon; a stream that is not there is made by somebody.
        let pause = match missing {
            // Each probe is work for a server that has too much of it.
            None if cause == Cause::Trouble(Trouble::Overloaded) => self.line.probe_pause(self.here.now() - since).max(self.line.backoff(0)),
            None => self.line.probe_pause(self.here.now() - since),
            Some(failures) => self.line.backoff(failures),
        };
        let probe_at = self.here.now() + pause;
        if let Some(held) = self.gates.held_mut(gate) {
            held.probe_at = probe_at;
            held.missing = missing.map(|failures| failures + 1);
        }
        self.gates.wake(gate, probe_at);
    }

    /// The next probe may go at once.
    pub(super) fn probe_now(&mut self, gate: u32) {
        let now = self.here.now();
        if let Some(held) = self.gates.held_mut(gate) {
            held.probe_at = now;
            if held.probe.is_none() {
                self.gates.wake(gate, now);
            }
        }
    }

    /// The message is no probe any more: it is settled, or its connection is gone. The next one may go at once.
    pub(in crate::handler) fn leave_probe(&mut self, slot: u32) {
        if let Some(gate) = self.take_probe(slot) {
            self.gates.wake(gate, self.here.now());
        }
    }

    /// Takes the mark of a probe off the message. Gives the gate that waited for it, if one did.
    pub(super) fn take_probe(&mut self, slot: u32) -> Option<u32> {
        let s = self.line.get_mut(slot)?;
        if !std::mem::take(&mut s.probe) {
            return None;
        }
        let (id, gate) = (s.id, s.gate);
        let held = self.gates.held_mut(gate)?;
        held.probe.take_if(|probe| *probe == (slot, id)).map(|_| gate)
    }

    /// Does what is due of the gate. The error: there are too many probes; when to come back.
    pub(in crate::handler) fn tend(&mut self, gate: u32) -> Result<(), Nanos> {
        let now = self.here.now();
        match self.gates.get(gate).map(|g| &g.state) {
            Some(State::Checking(Check { patience_until, missing: false, .. })) if now >= *patience_until => self.try_unanswered(gate),
            Some(State::Checking(Check { ask: None, .. })) => self.check(gate),
            Some(State::Checking(Check { patience_until, missing: false, .. })) => {
                let at = *patience_until;
                self.gates.wake(gate, at);
            }
            Some(State::Held(Held { probe: None, probe_at, .. })) if *probe_at > now => {
                let at = *probe_at;
                self.gates.wake(gate, at);
            }
            Some(State::Held(Held { probe: None, .. })) => {
                let Some((id, slot, may_overtake)) = self.choose_probe(gate) else {
                    // Everybody who waited has gone: the next message finds out.
                    self.open(gate);
                    return Ok(());
                };
                // Where places are lent, one that is in doubt and has one goes.
                let (id, slot) = if may_overtake { (id, slot) } else { self.next_in_line(gate).unwrap_or((id, slot)) };
                let is_paused = self.gates.get(gate).is_some_and(|g| g.pauses(id)) && self.line.get(slot).is_some_and(|s| s.attempt == 0);
                if (is_paused && !may_overtake) || !self.may_take_place(slot) {
                    // An older one was refused and is out again, or all places of its rule are taken by messages that nobody answered yet: they go first.
                    let pause = self.line.probe_pause(0);
                    self.gates.wake(gate, now + pause);
                    return Ok(());
                }
                self.gates.probes.take(now)?;
                self.gates.wake(gate, NEVER);
                self.send_probe(gate, slot, id);
            }
            _ => self.gates.wake(gate, NEVER),
        }
        Ok(())
    }

    /// A second went by without a usable answer about the stream that a rule names: the oldest message goes and tells.
    pub(super) fn try_unanswered(&mut self, gate: u32) {
        let now = self.here.now();
        let ask = match self.gates.get(gate).map(|g| &g.state) {
            Some(State::Checking(check)) => check.ask,
            _ => None,
        };
        self.close_held(gate, Cause::Unanswered, now);
        if let Some(held) = self.gates.held_mut(gate) {
            held.ask = ask;
            held.ask_at = now + PATIENCE;
        }
    }

    /// The oldest that waits. Where no rule names the stream: after some failures of one topic every other probe is another topic's oldest: first of those that were sent before, which may overtake
    /// it anyway; if that goes on for long, of any.
    ///
    /// Also tells whether it may go before what was refused.
    fn choose_probe(&self, gate: u32) -> Option<(u64, u32, bool)> {
        let Gate { waiting, state: State::Held(held), key, .. } = self.gates.get(gate)? else { return None };
        let oldest = waiting.first_key_value().map(|(&id, &slot)| (id, slot, false))?;
        let (Some(failed), Some((_, times))) = (held.stranger(), &held.failed) else { return Some(oldest) };
        if *times < PATIENT_PROBES || times % 2 != 0 {
            return Some(oldest);
        }
        if matches!(key, Key::Topic(_)) || self.is_named(gate) || held.cause != Cause::Trouble(Trouble::NobodyThere) {
            return Some(oldest);
        }
        let long = self.here.now().saturating_sub(held.since) > PATIENCE;
        let another =
            |&(_, &slot): &(&u64, &u32)| self.line.get(slot).is_some_and(|s| s.topic() != failed && (long || s.attempt > 0)) && self.may_take_place(slot);
        Some(waiting.iter().find(another).map_or(oldest, |(&id, &slot)| (id, slot, true)))
    }

    fn send_probe(&mut self, gate: u32, slot: u32, id: u64) {
        if let Some(g) = self.gates.get_mut(gate) {
            g.waiting.remove(&id);
            g.in_flight += 1;
            if let State::Held(held) = &mut g.state {
                held.probe = Some((slot, id));
            }
        }
        if let Some(s) = self.line.get_mut(slot) {
            s.gate = gate;
            s.counted = true;
            s.probe = true;
        }
        self.take_place(slot);
        self.requeue(slot);
    }
}
