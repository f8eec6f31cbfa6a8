//! THE acknowledgement handler: one place where every message of every topic is sent, awaited, sent again and settled.
//!
//! It runs on the I/O thread alone and owns every pending slot. It knows no sockets and no clock: the runtime, or the simulation, tells it the time, moves the
//! wire's bytes and calls [`Handler::turn`]. `receiving` hears what the wire tells, `commands` what users ask. The rooms it walks through: `gate` and `hold` (may it go now?), `resend`
//! (silence and lost connections), `settle` (the outcome).

pub(crate) mod absence;
pub(crate) mod asking;
mod commands;
pub(crate) mod denials;
pub(crate) mod explain;
pub(crate) mod gate;
pub(crate) mod hold;
pub(crate) mod known;
mod lines;
pub(crate) mod monitor;
mod passing;
pub(crate) mod probing;
mod receiving;
pub(crate) mod resend;
pub(crate) mod rule_state;
pub(crate) mod seconds;
pub(crate) mod settle;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use self::commands::{Closing, Flush};
use self::denials::Permissions;
use crate::base::error::{Error, Persistence, Status};
use crate::base::jitter::{Jitter, PROBE_PART};
use crate::base::time::{Nanos, nanos};
use crate::bus::lane::{Command, Lane};
use crate::bus::shared::Shared;
use crate::config::topic::Rules;
use crate::desk::events::{Event, EventKind};
use crate::handler::absence::Nobody;
use crate::handler::asking::Asked;
use crate::handler::explain::Silences;
use crate::handler::gate::Gates;
use crate::handler::known::Known;
use crate::handler::probing::Budget;
use crate::handler::resend::{Leftover, Quarantine};
use crate::handler::settle::Ending;
use crate::ledger::deadline::Deadlines;
use crate::ledger::slot::{Slot, Stage};
use crate::ledger::table::Table;
use crate::wire::{Limits, Placed, Question, Wire};

/// The handler of one lane.
pub(crate) struct Handler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) table: Table,
    pub(crate) deadlines: Deadlines,
    pub(crate) gates: Gates,
    pub(crate) now: Nanos,
    /// Like `now`, but runs on while the machine is suspended (P4).
    pub(crate) age: Nanos,

    /// Accepted, in the order of their ids.
    pub(crate) fresh: VecDeque<(u64, u32)>,
    /// To be sent again, before anything fresh (P10).
    pub(crate) again: BTreeMap<u64, u32>,
    /// Slots that wait for a fence to be sent again.
    pub(crate) fencing: Vec<(u32, u64)>,
    /// Slots that the wire has, or that wait for their reply.
    pub(crate) live: usize,
    pub(crate) quarantine: Quarantine,
    /// A connection that keeps a frame for longer than it may be sent (P4).
    pub(crate) stale: Option<u32>,
    /// Resends that are with the wire though their messages are settled.
    pub(crate) leftovers: Vec<Leftover>,
    /// How far `age` is ahead of `now`.
    pub(crate) asleep: Nanos,

    pub(crate) online: bool,
    pub(crate) epoch: Option<u32>,
    pub(crate) epochs: u32,
    pub(crate) server: String,
    pub(crate) limits: Limits,
    /// Marks below this were read by the server of this epoch.
    pub(crate) fenced: u64,
    pub(crate) want_fence: bool,
    pub(crate) permissions: Permissions,
    /// Operators were told that acks do not come in this epoch.
    pub(crate) told_silence: bool,

    pub(crate) silences: Silences,
    pub(crate) asks: HashMap<u32, Asked>,
    pub(crate) next_ask: u32,
    pub(crate) nobody: Nobody,
    /// In line for the wire.
    pub(crate) questions: VecDeque<(u32, Question)>,
    /// Questions that the wire has.
    pub(crate) open_asks: usize,
    pub(crate) probes: Budget,
    pub(crate) known: Known,
    /// Gates whose new messages wait for a fence.
    pub(crate) silent_gates: Vec<u32>,

    pub(crate) reports: Vec<Box<Slot>>,
    pub(crate) done: Vec<Box<Slot>>,
    pub(crate) flushes: Vec<Flush>,
    pub(crate) closing: Option<Closing>,
    /// Another lane has failed, and with it the publisher.
    pub(crate) failed: Option<Error>,
    jitter: Jitter,

    incoming: Vec<Box<Slot>>,
    due: Vec<u32>,
    commands: Vec<Command>,
    pub(crate) monitor: crate::handler::monitor::Monitor,
}

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>, lane: Arc<Lane>, random: u64) -> Self {
        let rules = shared.rules.load_full();
        let monitor = crate::handler::monitor::Monitor::new(&shared.settings, lane.is_first());
        let mut core = Handler {
            rules: Arc::clone(&rules),
            table: Table::default(),
            deadlines: Deadlines::new(),
            gates: Gates::default(),
            now: 0,
            age: 0,
            fresh: VecDeque::new(),
            again: BTreeMap::new(),
            fencing: Vec::new(),
            live: 0,
            quarantine: Quarantine::default(),
            stale: None,
            leftovers: Vec::new(),
            asleep: 0,
            online: false,
            epoch: None,
            epochs: 0,
            server: String::new(),
            limits: Limits::of(u64::MAX),
            fenced: 0,
            want_fence: false,
            permissions: Permissions::default(),
            told_silence: false,
            silences: Silences::default(),
            asks: HashMap::new(),
            next_ask: 1,
            nobody: Nobody::default(),
            questions: VecDeque::new(),
            open_asks: 0,
            probes: Budget::default(),
            known: Known::default(),
            silent_gates: Vec::new(),
            reports: Vec::new(),
            done: Vec::new(),
            flushes: Vec::new(),
            closing: None,
            failed: None,
            jitter: Jitter::new(random),
            incoming: Vec::new(),
            due: Vec::new(),
            commands: Vec::new(),
            monitor,
            lane,
            shared,
        };
        core.take_rules(rules);
        core
    }

    /// Takes the messages that were accepted since the last time.
    fn intake(&mut self) {
        let mut incoming = std::mem::take(&mut self.incoming);
        self.lane.queue.take(&mut incoming);
        for slot in incoming.drain(..) {
            if slot.rule as usize >= self.rules.len() {
                // A new rule's first message overtook the command that tells of the rule.
                let rules = self.shared.rules.load_full();
                self.take_rules(rules);
            }
            self.deadlines.set(slot.index, slot.deadline);
            self.fresh.push_back((slot.id, slot.index));
            self.table.insert(slot);
        }
        self.incoming = incoming;
    }

    /// The slot, if it still holds this message.
    pub(crate) fn slot(&mut self, slot: u32, id: u64) -> Option<&mut Slot> {
        self.table.get_mut(slot).filter(|s| s.id == id)
    }

    pub(crate) fn event(&self, kind: EventKind, status: Status, value: u64, topic: &str, text: impl Into<String>) {
        self.shared.desk.event(self.logged_event(kind, status, value, topic, text.into()));
    }

    /// Logs the event and leaves telling it to the caller.
    fn logged_event(&self, kind: EventKind, status: Status, value: u64, topic: &str, mut text: String) -> Event {
        let lanes = self.shared.lanes.len();
        if lanes > 1 {
            text = format!("connection {} of {lanes}: {text}", self.lane.index + 1);
        }
        match kind {
            EventKind::Disconnected | EventKind::GateHeld | EventKind::StreamDiffers | EventKind::StreamRisk | EventKind::Denied | EventKind::PendingHigh => {
                self.shared.log(crate::base::level::Level::Warn, || format!("{}: {text}", kind.name()));
            }
            EventKind::Failed | EventKind::AuthFailed | EventKind::Quarantined => {
                self.shared.log(crate::base::level::Level::Error, || format!("{}: {text}", kind.name()))
            }
            _ => self.shared.log(crate::base::level::Level::Info, || format!("{}: {text}", kind.name())),
        }
        Event { kind, status, time_unix_ns: self.shared.clock.unix_nanos(), value, server: self.server.clone(), topic: topic.to_owned(), text }
    }

    /// A pause before attempt number `failures + 1`, with jitter.
    pub(crate) fn backoff(&mut self, failures: u32) -> Nanos {
        let settings = &self.shared.settings;
        let (first, most) = (nanos(settings.retry_backoff), nanos(settings.retry_backoff_max));
        let pause = first.saturating_mul(1 << failures.min(20)).min(most);
        self.jitter.pause(pause)
    }

    /// A probe is one message: it may come often, and who waited for the end of an election wants to know of it at once. So the pause is a part of the time waited so
    /// far, and short at first: a server that has just started says for some milliseconds that nobody takes the subject. Rejected: doubling, which is 2 s late
    /// after an election of 4.
    pub(crate) fn probe_pause(&mut self, since: Nanos) -> Nanos {
        let settings = &self.shared.settings;
        let (first, most) = (nanos(settings.retry_backoff) / 4, nanos(settings.retry_backoff_max));
        self.jitter.pause(((self.now - since) / PROBE_PART).max(first).min(most))
    }

    /// A number below `limit`, by the handler's own chance.
    pub(crate) fn chance(&mut self, limit: u64) -> u64 {
        self.jitter.below(limit)
    }

    /// Puts a message in line for (another) sending. Its place at a gate it keeps, as long as that is open.
    pub(crate) fn requeue(&mut self, slot: u32) {
        if self.wait_again(slot) {
            return;
        }
        self.set_stage(slot, Stage::Queued);
        if let Some(s) = self.table.get(slot) {
            let (id, deadline) = (s.id, s.deadline);
            self.deadlines.set(slot, deadline);
            self.again.insert(id, slot);
        }
    }

    /// Keeps count of the slots that the wire has.
    pub(crate) fn set_stage(&mut self, slot: u32, stage: Stage) {
        let Some(s) = self.table.get_mut(slot) else { return };
        let before = std::mem::replace(&mut s.stage, stage);
        match (before.is_under_way(), stage.is_under_way()) {
            (false, true) => self.live += 1,
            (true, false) => self.live -= 1,
            _ => {}
        }
    }

    /// What is due.
    fn judge_deadlines(&mut self, wire_watches: bool) {
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.sweep(self.now, &mut due);
        for slot in due.drain(..) {
            self.fall_due(slot, wire_watches);
        }
        self.due = due;
    }

    fn fall_due(&mut self, slot: u32, wire_watches: bool) {
        let now = self.now;
        let Some(s) = self.table.get(slot) else { return };
        if now >= s.deadline {
            return self.expire(slot);
        }
        match s.stage {
            Stage::InFlight if !wire_watches => self.fall_silent(slot),
            Stage::Backoff => self.requeue(slot),
            Stage::Staged => self.fall_stale(slot),
            Stage::Fencing => self.leave_fence(slot),
            // Nothing but the delivery deadline ends these.
            Stage::InFlight | Stage::Queued | Stage::Gated | Stage::Settled => {
                let deadline = s.deadline;
                self.deadlines.set(slot, deadline);
            }
        }
    }

    /// Gives settled slots to the desk and the window, and answers flushes.
    pub(crate) fn hand_over(&mut self) {
        self.shared.desk.deliver(&mut self.reports);
        self.shared.window.leave(&mut self.done);
        if !self.flushes.is_empty() {
            let desk = &self.shared.desk;
            self.flushes.retain(|flush| {
                if flush.left == 0 {
                    flush.ticket.done(desk.pushed());
                }
                flush.left > 0
            });
        }
    }
}

impl Handler {
    /// One turn: everything readable has been read. Returns when to come back at the latest.
    pub(crate) fn turn<W: Wire>(&mut self, wire: &mut W) -> Nanos {
        self.intake();
        self.obey();
        self.judge_deadlines(W::WATCHES_SILENCE);
        self.judge_after_sleep();
        let leftovers_next = self.judge_leftovers();
        let denials_next = self.tend_denials();
        if let Some(epoch) = self.stale.take() {
            wire.give_up(epoch, "a message could not be written before it was too late to send it again (P4)", self);
        }
        let gates_next = self.tend_gates(wire.is_ready()).min(self.tend_windows());
        self.pump(wire);
        if !self.quarantine_holds() {
            while let Some((ask, question)) = self.next_question() {
                wire.ask(ask, &question);
            }
        }
        if std::mem::take(&mut self.want_fence) {
            wire.fence();
        }
        let wire_next = wire.tick(self.now, self.live > 0, self);
        self.hand_over();
        let monitor_next = self.watch();
        let close_at = self.closing.as_ref().map_or(Nanos::MAX, |c| c.at);
        self.deadlines.next().min(leftovers_next).min(denials_next).min(gates_next).min(wire_next).min(monitor_next).min(close_at)
    }

    /// Gives the wire what may go, oldest first, as long as it has room.
    fn pump(&mut self, wire: &mut impl Wire) {
        let watch = self.permissions.watch();
        while wire.is_ready() && wire.has_room() && !self.quarantine_holds() {
            let Some((id, slot)) = self.again.pop_first().or_else(|| self.fresh.pop_front()) else { break };
            if self.must_wait_alone(id) {
                self.again.insert(id, slot);
                break;
            }
            if let Some(s) = self.slot(slot, id).filter(|s| s.stage == Stage::Queued) {
                match wire.place(s) {
                    Placed::Here => {}
                    Placed::Nowhere(refusal) => {
                        self.settle(slot, Ending::definite(refusal.status, refusal.server_code, refusal.text));
                        continue;
                    }
                    Placed::Unknown(question) => {
                        // Nobody overtakes it. A gate of its topic will let others pass, with the first wire that asks.
                        self.again.insert(id, slot);
                        self.ask_for_place(question);
                        break;
                    }
                }
            }
            if self.admit(slot, id) {
                self.note_alone(slot, id);
                if let Some(s) = self.table.get_mut(slot) {
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

    /// The time of this turn: of the clock that the deadlines are on, and of the one that also runs while the machine is suspended.
    pub(crate) fn set_time(&mut self, now: Nanos, age: Nanos) {
        (self.now, self.age) = (now, age);
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// A deadline is to be judged: what can be read must be read before.
    pub(crate) fn is_due(&self) -> bool {
        self.deadlines.next() <= self.now
    }

    /// Acks of this epoch are awaited.
    pub(crate) fn awaits(&self, epoch: u32) -> bool {
        self.table.iter().any(|slot| slot.epoch == epoch && slot.stage.is_under_way())
    }

    /// A try to connect failed.
    pub(crate) fn attempt_failed(&mut self, server: &str, error: &Error) {
        self.shared.not_connected(error);
        let kind = if error.status() == Status::AuthFailed { EventKind::AuthFailed } else { EventKind::ConnectFailed };
        server.clone_into(&mut self.server);
        self.event(kind, error.status(), u64::from(error.server_code()), "", error.message());
    }

    /// Why the publisher has failed, if another lane said so. Told once.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// Settles whatever came in meanwhile and was left (P1), and answers who waits.
    pub(crate) fn settle_all(&mut self, error: &Error) {
        for slot in self.lane.queue.shut() {
            self.table.insert(slot);
        }
        self.end_all(error);
        self.hand_over();
        self.finish_commands();
    }
}

impl Handler {
    /// May this message be sent now? If so, its next attempt is begun; if not, it waits somewhere, or has its outcome.
    fn admit(&mut self, slot: u32, id: u64) -> bool {
        let limit = self.limits.max_payload;
        let Some(s) = self.table.get(slot).filter(|s| s.id == id) else { return false };
        if s.stage != Stage::Queued {
            return false;
        }
        if u64::from(s.content.body()) > limit {
            let text = format!("headers and payload have {} bytes; {} takes {limit}", s.content.body(), self.server);
            self.settle(slot, Ending::definite(Status::TooLarge, 0, text));
            return false;
        }
        if s.ephemeral {
            return self.begin(slot);
        }
        if !self.limits.lacks.is_empty()
            && let Some(what) = self.limits.lack_of(s)
        {
            let text = format!("{what} or later, and {} is older", self.server);
            self.settle_unanswered(slot, Status::Rejected, 0, &text);
            return false;
        }
        if s.tainted().is_some() {
            self.ask_window_before(slot);
        }
        if self.known.delays() && self.waits_for_window(slot, id) {
            return false;
        }
        let Some(s) = self.table.get(slot) else { return false };
        if s.tainted().is_some() && !self.may_send_again(slot) {
            return false;
        }
        if self.permissions.deny() && self.is_denied(slot) {
            return false;
        }
        (self.needs_no_gate(slot) || self.pass_gate(slot)) && self.begin(slot)
    }

    /// The next attempt begins.
    pub(crate) fn begin(&mut self, slot: u32) -> bool {
        self.set_stage(slot, Stage::Staged);
        let Some(s) = self.table.get_mut(slot) else { return false };
        s.attempt += 1;
        s.suspect = false;
        self.lane.counters.attempts.bump(1);
        if s.attempt > 1 {
            self.lane.counters.retries.bump(1);
            self.watch_staged(slot);
        }
        true
    }
}

impl Handler {
    fn watch(&mut self) -> Nanos {
        if self.now < self.monitor.next() {
            return self.monitor.next();
        }
        let pending = self.shared.pending();
        let Some(note) = self.monitor.look(self.now, pending) else { return self.monitor.next() };
        match note {
            crate::handler::monitor::Note::Log => {
                let acked: u64 = self.shared.lanes.iter().map(|lane| lane.counters.published.get()).sum();
                self.shared.log(crate::base::level::Level::Info, || format!("{pending} messages are pending, {acked} were acknowledged"));
            }
            crate::handler::monitor::Note::High => {
                self.event(
                    EventKind::PendingHigh,
                    Status::Ok,
                    pending,
                    "",
                    format!("{pending} messages are pending (pending_warn is {})", self.shared.settings.pending_warn),
                );
            }
            crate::handler::monitor::Note::Normal => self.event(EventKind::PendingNormal, Status::Ok, pending, "", format!("{pending} messages are pending")),
        }
        self.monitor.next()
    }

    /// What an unanswered attempt leaves behind.
    pub(crate) fn doubt(&self, slot: &Slot) -> Persistence {
        if slot.tainted().is_some() || slot.stage.is_under_way() { Persistence::PossiblyPersisted } else { Persistence::NotPersisted }
    }
}
