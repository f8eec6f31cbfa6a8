//! THE acknowledgement handler: one place where every message of every topic is sent, awaited, sent again and settled.
//!
//! It runs on the I/O thread alone and owns every pending slot. It knows no sockets and no clock: the runtime, or the simulation, tells it the time, moves the
//! wire's bytes and calls [`Handler::turn`].
//!
//! Each room owns its state and knows nothing of the rooms beside it. `here` (what holds now), `line` (the messages) and `known` (the streams) are read by all. What a room
//! wants of another it writes down as an order; the handler, which alone sees all rooms, carries it out. `receiving` hears what the wire tells, `commands` what users ask,
//! `overdue` what the clock says; `telling` tells operators.

mod asking;
mod calls;
mod commands;
mod denials;
mod explain;
mod here;
mod hold;
mod known;
mod line;
mod monitor;
mod orders;
mod overdue;
mod quarantine;
mod receiving;
mod resend;
mod settle;
mod telling;
mod windows;

use std::sync::Arc;

use self::asking::{About, Asking, What};
use self::calls::Calls;
use self::denials::{Denying, Permissions};
use self::explain::Silences;
use self::here::Here;
use self::hold::Holding;
use self::hold::gates::{Gates, Key};
use self::known::Known;
use self::line::Line;
use self::monitor::Monitor;
use self::orders::{Ending, Order, Orders};
use self::quarantine::{Quarantine, too_large};
use self::resend::{Resend, Resending};
use self::settle::Settled;
use self::windows::Windows;
use crate::base::error::{Persistence, Status};
use crate::base::time::Nanos;
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::config::topic::Rules;
use crate::desk::events::EventKind;
use crate::ledger::slot::{Slot, Stage};
use crate::wire::{Placed, Question, Wire};

/// The handler of one lane.
pub(crate) struct Handler {
    here: Here,
    line: Line,
    orders: Orders,
    known: Known,
    windows: Windows,
    gates: Gates,
    asking: Asking,
    resend: Resend,
    quarantine: Quarantine,
    permissions: Permissions,
    silences: Silences,
    settled: Settled,
    calls: Calls,
    monitor: Monitor,
    // Kept for their memory.
    incoming: Vec<Box<Slot>>,
    due: Vec<u32>,
}

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>, lane: Arc<Lane>, random: u64) -> Self {
        let here = Here::new(shared, lane);
        let mut handler = Handler {
            line: Line::new(here.settings(), random),
            orders: Orders::default(),
            known: Known::default(),
            windows: Windows::default(),
            gates: Gates::new(here.shared().window.share()),
            asking: Asking::new(),
            resend: Resend::default(),
            quarantine: Quarantine::default(),
            permissions: Permissions::default(),
            silences: Silences::default(),
            settled: Settled::default(),
            calls: Calls::default(),
            monitor: Monitor::new(here.settings(), here.lane().is_first()),
            incoming: Vec::new(),
            due: Vec::new(),
            here,
        };
        let rules = handler.here.shared().rules.load_full();
        handler.take_rules(rules);
        handler
    }

    // ---- Rooms at work ----

    #[inline(always)]
    fn holding(&mut self) -> Holding<'_> {
        Holding::new(&mut self.gates, &mut self.line, &self.known, &self.here, &mut self.orders)
    }

    #[inline(always)]
    fn resending(&mut self) -> Resending<'_> {
        Resending::new(&mut self.resend, &mut self.line, &mut self.known, &self.here, &mut self.orders)
    }

    #[inline(always)]
    fn denying(&mut self) -> Denying<'_> {
        Denying::new(&mut self.permissions, &mut self.line, &self.here, &mut self.orders)
    }

    // ---- Time ----

    /// The time of this turn: of the clock that the deadlines are on, and of the one that also runs while the machine is suspended.
    pub(crate) fn set_time(&mut self, now: Nanos, age: Nanos) {
        self.here.set_time(now, age);
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Nanos {
        self.here.now()
    }

    /// A deadline is to be judged: what can be read must be read before.
    pub(crate) fn is_due(&self) -> bool {
        self.line.next_due() <= self.here.now()
    }

    /// Acks of this epoch are awaited.
    pub(crate) fn awaits(&self, epoch: u32) -> bool {
        self.line.iter().any(|slot| slot.epoch == epoch && slot.stage.is_under_way())
    }

    // ---- A turn ----

    /// One turn: everything readable has been read. Returns when to come back at the latest.
    pub(crate) fn turn<W: Wire>(&mut self, wire: &mut W) -> Nanos {
        self.intake();
        self.obey();
        let why_next = self.say_why();
        self.judge_deadlines(W::WATCHES_SILENCE);
        self.resending().judge_after_sleep();
        let leftovers_next = self.resend.judge_leftovers(&self.here);
        let denials_next = self.tend_denials();
        if let Some(epoch) = self.resend.take_stale() {
            wire.give_up(epoch, "a message could not be written before it was too late to send it again (P4)", self);
        }
        let gates_next = self.tend_gates(wire.is_ready()).min(self.windows.tend(&mut self.line, &self.known, &self.here, &mut self.orders));
        self.carry_out();
        self.pump(wire);
        if !self.quarantine.holds(&mut self.line) {
            while let Some((ask, question)) = self.asking.next() {
                wire.ask(ask, &question);
            }
        }
        if self.resend.take_wanted_fence() {
            wire.fence();
        }
        let wire_next = wire.tick(self.here.now(), self.line.is_live(), self);
        self.hand_over();
        let monitor_next = self.watch();
        let close_at = self.calls.close_at();
        self.line.next_due().min(why_next).min(leftovers_next).min(denials_next).min(gates_next).min(wire_next).min(monitor_next).min(close_at)
    }

    /// Takes the messages that were accepted since the last time.
    fn intake(&mut self) {
        let mut incoming = std::mem::take(&mut self.incoming);
        self.here.lane().queue.take(&mut incoming);
        for slot in incoming.drain(..) {
            if slot.rule as usize >= self.here.rules().len() {
                // A new rule's first message overtook the command that tells of the rule.
                let rules = self.here.shared().rules.load_full();
                self.take_rules(rules);
            }
            self.line.accept(slot);
        }
        self.incoming = incoming;
    }

    /// Sends probes and questions whose time has come. Returns when the next one is due.
    fn tend_gates(&mut self, ready: bool) -> Nanos {
        let next = self.give_up_questions();
        if !ready {
            return next;
        }
        while let Some((at, gate)) = self.gates.next_due() {
            if at > self.here.now() {
                return next.min(at);
            }
            let tended = self.holding().tend(gate);
            self.carry_out();
            if let Err(later) = tended {
                return next.min(later);
            }
        }
        next
    }

    /// Gives the wire what may go, oldest first, as long as it has room.
    fn pump(&mut self, wire: &mut impl Wire) {
        let watch = self.permissions.watch();
        while wire.is_ready() && wire.has_room() && !self.quarantine.holds(&mut self.line) {
            let Some((id, slot)) = self.line.next() else { break };
            if self.quarantine.must_wait(id, &self.line) {
                self.line.put_back(slot, id);
                break;
            }
            if !self.place(wire, slot, id) {
                break;
            }
            let may_go = self.admit(slot, id);
            self.carry_out();
            if may_go {
                self.quarantine.note_sent(slot, id);
                if let Some(s) = self.line.get_mut(slot) {
                    if watch && self.permissions.part(s) {
                        wire.part();
                    }
                    wire.stage(s);
                    if watch {
                        self.permissions.note_staged(s);
                    }
                }
            }
        }
        if watch && self.permissions.end_run() {
            wire.part();
        }
    }

    /// The wire chooses where the message goes. False: it does not know yet, and is told first; nobody overtakes the message meanwhile.
    #[inline(always)]
    fn place(&mut self, wire: &mut impl Wire, slot: u32, id: u64) -> bool {
        let Some(s) = self.line.slot(slot, id).filter(|s| s.stage == Stage::Queued) else { return true };
        match wire.place(s) {
            Placed::Here => {}
            Placed::Nowhere(refusal) => self.settle(slot, Ending::refused(refusal)),
            Placed::Unknown(question) => {
                self.line.put_back(slot, id);
                if !self.asking.is_placing() {
                    self.ask_soon(What::Describe, About::Place, question);
                }
                return false;
            }
        }
        true
    }

    /// May this message be sent now? If so, its next attempt is begun; if not, it waits somewhere, or has its outcome.
    #[inline(always)]
    fn admit(&mut self, slot: u32, id: u64) -> bool {
        let limits = self.here.limits();
        let Some(s) = self.line.get(slot).filter(|s| s.id == id) else { return false };
        if s.stage != Stage::Queued {
            return false;
        }
        if u64::from(s.content.body()) > limits.max_payload {
            self.orders.settle(slot, Ending::definite(Status::TooLarge, 0, too_large(s, &self.here)));
            return false;
        }
        if s.ephemeral {
            return self.begin(slot);
        }
        if !limits.lacks.is_empty()
            && let Some(what) = limits.lack_of(s)
        {
            self.orders.settle_unanswered(slot, Status::Rejected, 0, format!("{what} or later, and {} is older", self.here.server()));
            return false;
        }
        if s.tainted().is_some() && self.here.knows_copies(s) {
            self.windows.ask_before(s.rule, &self.known, &self.here, &mut self.orders);
        }
        if self.windows.delay() && self.windows.park(slot, id, s.rule, &self.known, &self.here) {
            return false;
        }
        if s.tainted().is_some() && !self.resending().may_send_again(slot) {
            return false;
        }
        if self.permissions.deny() && self.denying().is_denied(slot) {
            return false;
        }
        let mut holding = self.holding();
        (holding.needs_no_gate(slot) || holding.pass_gate(slot)) && self.begin(slot)
    }

    /// The next attempt begins.
    #[inline(always)]
    fn begin(&mut self, slot: u32) -> bool {
        self.line.set_stage(slot, Stage::Staged);
        let Some(s) = self.line.get_mut(slot) else { return false };
        s.attempt += 1;
        s.suspect = false;
        let attempt = s.attempt;
        let counters = &self.here.lane().counters;
        counters.attempts.bump(1);
        if attempt > 1 {
            counters.retries.bump(1);
            self.resending().watch_staged(slot);
        }
        true
    }

    // ---- Orders ----

    /// Carries out what rooms have ordered, each order with all that follows from it before the next.
    #[inline(always)]
    fn carry_out(&mut self) {
        if !self.orders.are_none() {
            self.carry_out_all();
        }
    }

    fn carry_out_all(&mut self) {
        while let Some((order, later)) = self.orders.take_first() {
            self.carry(order);
            self.orders.then(later);
        }
    }

    fn carry(&mut self, order: Order) {
        match order {
            Order::Settle { slot, ending } => self.settle(slot, ending),
            Order::Unanswered { slot, status, server_code, text } => self.settle_unanswered(slot, status, server_code, text),
            Order::TooLate { slot, why } => self.settle_too_late(slot, &why),
            Order::Refused { slot, refusal } => self.refused(slot, refusal),
            Order::Ask { what, about, question, give_up_at } => self.ask(what, about, question, give_up_at),
            Order::AskLocal { topic } => self.ask_local(&topic),
            Order::Tell(news) => self.tell(news),
            Order::Log(level, text) => self.here.shared().log(level, || text),
            Order::CloseRule { rule, closed } => self.here.shared().window.close_rule(rule, self.here.lane().bit(), closed),
            Order::CloseTopic { topic, closed } => self.here.shared().window.close_topic(&topic, closed),
            Order::Opened { key, was_held, in_doubt } => self.note_opened(&key, was_held, in_doubt),
            Order::NothingStores { topic, text } => {
                if self.here.shared().desk.set_standing(Some(text.clone())) {
                    self.orders.tell(EventKind::GateHeld, Status::Unavailable, 0, &topic, format!("{topic}: {text}; messages wait and one at a time is tried"));
                }
            }
            Order::Explain { key, topic, known } => self.silences.explain_held(key, &topic, known, &self.here, &mut self.orders),
            Order::Weigh { epoch, mark } => self.denying().weigh(epoch, mark),
            Order::Fenced => self.resend_fenced(),
        }
    }

    fn ask(&mut self, what: What, about: About, question: Question, give_up_at: Nanos) {
        let gate = if let About::Gate { gate, .. } = &about { Some(*gate) } else { None };
        let ask = self.asking.ask(give_up_at, what, about, question);
        if let Some(gate) = gate {
            self.holding().note_asked(gate, ask);
        }
    }

    fn note_opened(&mut self, key: &Key, was_held: bool, in_doubt: bool) {
        self.silences.end(key);
        if was_held {
            self.here.shared().desk.set_standing(None);
            if let Key::Stream(stream) = key
                && in_doubt
            {
                self.windows.ask_before_opening(stream, &self.here, &mut self.orders);
            }
        }
    }

    // ---- Outcomes ----

    /// Settles a message: takes it out of all rooms, once and for ever.
    #[inline(always)]
    fn settle(&mut self, slot: u32, ending: Ending) {
        let Some(s) = self.line.get(slot) else { return };
        let persistence = settle::persistence(s, &ending);
        self.leave_rooms(slot);
        let Some(slot) = self.line.take(slot) else { return };
        self.calls.note_settled(slot.id);
        self.settled.add(slot, ending, persistence, &self.here);
    }

    /// Takes the message out of wherever it waits.
    #[inline(always)]
    fn leave_rooms(&mut self, slot: u32) {
        let Some(s) = self.line.get(slot) else { return };
        let (id, stage) = (s.id, s.stage);
        let waits_elsewhere = stage != Stage::InFlight || s.probe || s.counted || s.placed;
        self.quarantine.acquit(id);
        // Nearly every message waits nowhere but for its ack.
        if waits_elsewhere {
            self.leave_where_it_waits(slot, id, stage);
        } else {
            self.line.set_stage(slot, Stage::Settled);
        }
    }

    fn leave_where_it_waits(&mut self, slot: u32, id: u64, stage: Stage) {
        match stage {
            Stage::Queued => self.line.leave(id),
            Stage::Gated => self.holding().leave_gate(slot),
            Stage::Staged => self.resending().leave_frame(slot),
            _ => {}
        }
        self.holding().leave_probe(slot);
        self.line.set_stage(slot, Stage::Settled);
        self.holding().give_up_places(slot);
    }

    /// Settles a message that got no (further) answer. Whatever is under way stays in doubt.
    fn settle_unanswered(&mut self, slot: u32, status: Status, server_code: u32, mut text: String) {
        self.abandon(slot);
        let Some(s) = self.line.get(slot) else { return };
        if settle::doubt(s) == Persistence::PossiblyPersisted && !s.ephemeral {
            text.push_str("; an attempt may have been stored");
        }
        if let Some(foreign) = s.foreign() {
            text.push_str("; why: ");
            text.push_str(foreign);
        } else if matches!(status, Status::AckTimeout | Status::Unavailable | Status::NoStream)
            && let Some(why) = self.silences.why(&self.gates.key_of(s), s, self.here.now())
        {
            text.push_str("; why: ");
            text.push_str(&why);
        }
        self.settle(slot, Ending::definite(status, server_code, text));
    }

    /// The attempt that is under way will have no answer that counts: it may be one of those that permission errors are counted against.
    fn abandon(&mut self, slot: u32) {
        if let Some(s) = self.line.get(slot).filter(|s| s.stage.is_under_way()) {
            self.permissions.give_up(s.epoch, s.mark);
        }
    }

    /// Gives settled slots to the desk and the window, and answers flushes.
    pub(crate) fn hand_over(&mut self) {
        self.settled.hand_over(&self.here);
        self.calls.answer_flushes(&self.here);
    }

    // ---- Rules ----

    /// Other rules hold from now on: their limits at once, for what is under way too.
    fn take_rules(&mut self, rules: Arc<Rules>) {
        let before = self.here.set_rules(rules);
        self.holding().take_rules(&before);
        self.carry_out();
    }
}

#[cfg(any(test, fuzzing))]
mod audit;
