//! THE acknowledgement handler: one place where every message of every topic is sent, awaited, sent again and settled.
//!
//! It runs on the I/O thread alone and owns every pending slot. It knows no sockets and no clock: the runtime, or the simulation, tells it the time, moves the
//! wire's bytes and calls [`Handler::turn`]. The rooms it walks through: `gate` and `hold` (may it go now?), `resend` (silence and lost connections), `settle` (the outcome).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::deadline::Deadlines;
use crate::error::{Error, Persistence, Status};
use crate::events::{Event, EventKind};
use crate::gate::Gates;
use crate::hold::Asked;
use crate::jitter::Jitter;
use crate::ledger::{MAX_ATTEMPT, Slot, Stage, Table};
use crate::resend::Quarantine;
use crate::settle::Ending;
use crate::shared::{Command, FlushTicket, Purge, Shared};
use crate::topic::Rules;
use crate::wire::{Limits, Loss, Nanos, Notice, Question, Receiver, Retry, StreamAnswer, Token, Verdict, Wire, nanos};

/// How many topics with permission errors an epoch remembers.
const MOST_DENIED: usize = 1024;
/// One message a second tests whether a denied topic is allowed again.
const DENIED_PROBE: Nanos = 1_000_000_000;

/// The handler and its wire.
pub(crate) struct Handler<W> {
    pub(crate) core: Core,
    pub(crate) wire: W,
}

/// All that the handler knows, but the wire.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
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
    /// How far `age` is ahead of `now`.
    pub(crate) asleep: Nanos,

    pub(crate) epoch: Option<u32>,
    pub(crate) epochs: u32,
    pub(crate) server: String,
    pub(crate) limits: Limits,
    /// Marks below this were read by the server of this epoch.
    pub(crate) fenced: u64,
    pub(crate) want_fence: bool,
    /// Epochs and marks under which a message was settled without an answer to its last attempt: counting permission errors proves nothing there.
    pub(crate) abandoned: HashSet<(u32, u64)>,
    /// Topics that the permissions refuse, and when one message may test it.
    pub(crate) denied: HashMap<Box<str>, Nanos>,
    /// Operators were told that acks do not come in this epoch.
    pub(crate) told_silence: bool,

    pub(crate) asks: HashMap<u32, Asked>,
    pub(crate) next_ask: u32,
    pub(crate) questions: Vec<(u32, Question)>,
    /// Duplicate windows of streams, by name; bounded.
    pub(crate) windows: HashMap<Arc<str>, Option<Nanos>>,

    pub(crate) reports: Vec<Box<Slot>>,
    pub(crate) done: Vec<Box<Slot>>,
    pub(crate) flushes: Vec<Flush>,
    pub(crate) closing: Option<Closing>,
    jitter: Jitter,

    incoming: Vec<Box<Slot>>,
    due: Vec<u32>,
    commands: Vec<Command>,
    pub(crate) monitor: crate::monitor::Monitor,
}

/// A `flush` under way.
pub(crate) struct Flush {
    pub(crate) upto: u64,
    pub(crate) left: usize,
    pub(crate) ticket: Arc<FlushTicket>,
}

/// A `close` under way.
pub(crate) struct Closing {
    pub(crate) at: Nanos,
    pub(crate) error: Error,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, random: u64) -> Self {
        let rules = shared.rules.load_full();
        let monitor = crate::monitor::Monitor::new(&shared.settings);
        Core {
            rules,
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
            asleep: 0,
            epoch: None,
            epochs: 0,
            server: String::new(),
            limits: Limits { max_payload: u64::MAX },
            fenced: 0,
            want_fence: false,
            abandoned: HashSet::new(),
            denied: HashMap::new(),
            told_silence: false,
            asks: HashMap::new(),
            next_ask: 1,
            questions: Vec::new(),
            windows: HashMap::new(),
            reports: Vec::new(),
            done: Vec::new(),
            flushes: Vec::new(),
            closing: None,
            jitter: Jitter::new(random),
            incoming: Vec::new(),
            due: Vec::new(),
            commands: Vec::new(),
            monitor,
            shared,
        }
    }

    /// Takes the messages that were accepted since the last time.
    fn intake(&mut self) {
        let mut incoming = std::mem::take(&mut self.incoming);
        self.shared.queue.take(&mut incoming);
        for slot in incoming.drain(..) {
            if slot.rule as usize >= self.rules.len() {
                // A new rule's first message overtook the command that tells of the rule.
                self.rules = self.shared.rules.load_full();
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
    fn logged_event(&self, kind: EventKind, status: Status, value: u64, topic: &str, text: String) -> Event {
        match kind {
            EventKind::Disconnected | EventKind::GateHeld | EventKind::StreamDiffers | EventKind::StreamRisk | EventKind::Denied | EventKind::PendingHigh => {
                self.shared.log(crate::trace::Level::Warn, || format!("{}: {text}", kind.name()));
            }
            EventKind::Failed | EventKind::AuthFailed | EventKind::Quarantined => {
                self.shared.log(crate::trace::Level::Error, || format!("{}: {text}", kind.name()))
            }
            _ => self.shared.log(crate::trace::Level::Info, || format!("{}: {text}", kind.name())),
        }
        Event { kind, status, time_unix_ns: self.shared.clock.unix_nanos(), value, server: self.server.clone(), topic: topic.to_owned(), text }
    }

    /// A pause before attempt number `failures + 1`, with jitter.
    pub(crate) fn backoff(&mut self, failures: u32) -> Nanos {
        let settings = &self.shared.settings;
        let (first, most) = (nanos(settings.retry_backoff), nanos(settings.retry_backoff_max));
        let pause = first.saturating_mul(1 << failures.min(20)).min(most).max(1);
        pause / 2 + self.jitter.below(pause / 2 + 1)
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

    /// The message gives up its place at its gate. Only one that is settled or waits there again may do so: while it is sent again, nobody younger passes it (P10).
    pub(crate) fn give_up_place(&mut self, slot: u32) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if !std::mem::take(&mut s.counted) {
            return;
        }
        let gate = std::mem::replace(&mut s.gate, crate::ledger::NO_GATE);
        if let Some(g) = self.gates.get_mut(gate) {
            g.in_flight = g.in_flight.saturating_sub(1);
        }
        self.let_pass(gate);
    }

    /// What is due.
    fn judge_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.sweep(self.now, &mut due);
        for slot in due.drain(..) {
            self.fall_due(slot);
        }
        self.due = due;
    }

    fn fall_due(&mut self, slot: u32) {
        let now = self.now;
        let Some(s) = self.table.get(slot) else { return };
        if now >= s.deadline {
            return self.expire(slot);
        }
        match s.stage {
            Stage::InFlight => self.fall_silent(slot),
            Stage::Backoff => self.requeue(slot),
            Stage::Staged => self.fall_stale(slot),
            // Nothing but the delivery deadline ends these.
            Stage::Queued | Stage::Gated | Stage::Fencing | Stage::Settled => {
                let deadline = s.deadline;
                self.deadlines.set(slot, deadline);
            }
        }
    }

    fn obey(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        self.shared.take_commands(&mut commands);
        if !commands.is_empty() {
            // What was accepted before the call counts (P6); it may have come in since this turn's intake.
            self.intake();
        }
        for command in commands.drain(..) {
            match command {
                Command::Flush(ticket) => self.begin_flush(ticket),
                Command::Purge { what, ticket } => {
                    let count = self.purge(what);
                    self.hand_over();
                    ticket.done(count);
                }
                Command::Rules(rules) => self.rules = rules,
                Command::Close { timeout } => {
                    let at = self.now.saturating_add(timeout);
                    let earlier = self.closing.as_ref().map_or(Nanos::MAX, |c| c.at);
                    let error = Error::new(Status::Closed, "the publisher was closed before the outcome was known");
                    self.closing = Some(Closing { at: at.min(earlier), error });
                }
            }
        }
        self.commands = commands;
    }

    fn begin_flush(&mut self, ticket: Arc<FlushTicket>) {
        // Flushes whose time ran out: nobody waits for them any more (P9).
        self.flushes.retain(|flush| Arc::strong_count(&flush.ticket) > 1);
        let upto = ticket.upto;
        let left = self.table.iter().filter(|slot| slot.id <= upto).count();
        self.flushes.push(Flush { upto, left, ticket });
    }

    /// Gives settled slots to the desk and the window, and answers flushes.
    pub(crate) fn hand_over(&mut self) {
        self.shared.desk.deliver(&mut self.reports);
        if self.shared.window.leave(&mut self.done) {
            self.shared.desk.announce_room();
        }
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

    /// Nothing is left to wait for, or `close`'s time is over.
    pub(crate) fn may_end(&mut self) -> bool {
        let Some(closing) = &self.closing else { return false };
        if self.now >= closing.at {
            let error = closing.error.clone();
            self.intake();
            self.end_all(&error);
            self.hand_over();
        }
        self.table.len() == 0 && self.fresh_is_empty()
    }

    fn fresh_is_empty(&mut self) -> bool {
        self.intake();
        self.table.len() == 0
    }

    /// Settles whatever is left, for this reason.
    pub(crate) fn end_all(&mut self, error: &Error) {
        let mut left: Vec<(u64, u32)> = self.table.iter().map(|slot| (slot.id, slot.index)).collect();
        left.sort_unstable();
        for (_, slot) in left {
            self.settle_unanswered(slot, error.status(), error.server_code(), error.message());
        }
    }
}

impl<W: Wire> Handler<W> {
    /// One turn: everything readable has been read. Returns when to come back at the latest.
    pub(crate) fn turn(&mut self) -> Nanos {
        let core = &mut self.core;
        core.intake();
        core.obey();
        core.judge_deadlines();
        core.judge_after_sleep();
        if let Some(epoch) = core.stale.take() {
            self.wire.give_up(epoch, "a message could not be written before it was too late to send it again (P4)", core);
        }
        let core = &mut self.core;
        let gates_next = core.tend_gates(self.wire.is_ready());
        self.pump();
        let core = &mut self.core;
        if !core.quarantine_holds() {
            for (ask, question) in core.questions.drain(..) {
                self.wire.ask(ask, &question);
            }
        }
        if std::mem::take(&mut core.want_fence) {
            self.wire.fence();
        }
        let in_flight = core.live > 0;
        let now = core.now;
        let wire_next = self.wire.tick(now, in_flight, core);
        let core = &mut self.core;
        core.hand_over();
        let monitor_next = core.watch();
        let close_at = core.closing.as_ref().map_or(Nanos::MAX, |c| c.at);
        core.deadlines.next().min(gates_next).min(wire_next).min(monitor_next).min(close_at)
    }

    /// Gives the wire what may go, oldest first, as long as it has room.
    fn pump(&mut self) {
        while self.wire.is_ready() && self.wire.has_room() && !self.core.quarantine_holds() {
            let core = &mut self.core;
            let Some((id, slot)) = core.again.pop_first().or_else(|| core.fresh.pop_front()) else { break };
            if core.must_wait_alone(id) {
                core.again.insert(id, slot);
                break;
            }
            if core.admit(slot, id) {
                core.note_alone(slot, id);
                if let Some(s) = core.table.get_mut(slot) {
                    self.wire.stage(s);
                }
            }
        }
    }
}

impl Core {
    /// May this message be sent now? If so, its next attempt is begun; if not, it waits somewhere, or has its outcome.
    fn admit(&mut self, slot: u32, id: u64) -> bool {
        let limit = self.limits.max_payload;
        let Some(s) = self.table.get(slot).filter(|s| s.id == id) else { return false };
        if s.stage != Stage::Queued {
            return false;
        }
        if u64::from(s.body) > limit {
            let text = format!("headers and payload have {} bytes; {} takes {limit}", s.body, self.server);
            self.settle(slot, Ending::definite(Status::TooLarge, 0, text));
            return false;
        }
        if s.ephemeral {
            return self.begin(slot);
        }
        if s.attempt >= MAX_ATTEMPT {
            self.settle_unanswered(slot, Status::AckTimeout, 0, "4095 attempts were made");
            return false;
        }
        if s.tainted.is_some() && !self.may_send_again(slot) {
            return false;
        }
        if !self.denied.is_empty() && self.is_denied(slot) {
            return false;
        }
        self.pass_gate(slot) && self.begin(slot)
    }

    /// The next attempt begins.
    pub(crate) fn begin(&mut self, slot: u32) -> bool {
        self.set_stage(slot, Stage::Staged);
        self.watch_staged(slot);
        let Some(s) = self.table.get_mut(slot) else { return false };
        s.attempt += 1;
        s.suspect = false;
        self.shared.counters.attempts.bump(1);
        if s.attempt > 1 {
            self.shared.counters.retries.bump(1);
        }
        true
    }

    /// Permissions refuse this topic; one message a second tests whether they still do.
    fn is_denied(&mut self, slot: u32) -> bool {
        let Some(s) = self.table.get(slot) else { return false };
        let Some(probe_at) = self.denied.get_mut(s.topic()) else { return false };
        if self.now >= *probe_at {
            *probe_at = self.now + DENIED_PROBE;
            return false;
        }
        let text = format!("publishing to {:?} is denied by the server's permissions", s.topic());
        self.settle(slot, Ending::definite(Status::Denied, 0, text));
        true
    }

    fn remember_denied(&mut self, topic: &str, text: &str) {
        if !self.denied.contains_key(topic) {
            if self.denied.len() >= MOST_DENIED {
                self.denied.clear();
            }
            self.event(EventKind::Denied, Status::Denied, 0, topic, text.to_owned());
        }
        self.denied.insert(topic.into(), self.now + DENIED_PROBE);
    }
}

impl Receiver for Core {
    fn connected(&mut self, epoch: u32, server: &str, version: &str, limits: Limits) {
        // The last connection may still be read to its end.
        let before = self.epoch.replace(epoch);
        self.abandoned.retain(|&(e, _)| Some(e) == before);
        self.epochs += 1;
        self.server = server.to_owned();
        self.fenced = 0;
        self.denied.clear();
        self.told_silence = false;
        self.limits = limits;
        let (kind, what) = if self.epochs == 1 { (EventKind::Connected, "connected to") } else { (EventKind::Reconnected, "reconnected to") };
        let text = format!("{what} {server} (nats-server {version}, max_payload {})", limits.max_payload);
        let event = self.logged_event(kind, Status::Ok, u64::from(self.epochs), "", text);
        self.shared.connected(server, version, limits.max_payload, event);
        self.apply_limits();
        self.retry_gates_now();
    }

    fn limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.shared.set_max_payload(limits.max_payload);
    }

    fn lost(&mut self, epoch: u32, loss: &Loss) {
        if self.epoch == Some(epoch) {
            self.epoch = None;
            self.shared.disconnected(&loss.error);
            self.event(EventKind::Disconnected, loss.error.status(), 0, "", loss.error.message());
            self.forget_questions();
        }
        self.abandoned.retain(|(e, _)| *e != epoch);
        self.lose_epoch(epoch, loss);
    }

    fn begun(&mut self, slot: u32, id: u64, epoch: u32) {
        let (now, age, ack_wait) = (self.now, self.age, nanos(self.shared.settings.ack_wait));
        let Some(s) = self.slot(slot, id) else { return };
        if s.stage != Stage::Staged || s.epoch != epoch {
            return;
        }
        s.attempts += 1;
        if s.ephemeral {
            return self.ephemeral_written(slot);
        }
        s.stage = Stage::InFlight;
        s.sent_at = now;
        s.sent_age = age;
        let again = s.attempts > 1;
        let due = now.saturating_add(ack_wait).min(s.deadline);
        self.deadlines.set(slot, due);
        if again {
            self.shared.counters.resent.bump(1);
        }
    }

    fn verdict(&mut self, token: Token, verdict: Verdict<'_>) {
        let Some(s) = self.table.get(token.slot).filter(|s| s.id & crate::ledger::ID_MASK == token.id && !s.ephemeral) else {
            self.shared.counters.late_acks.bump(1);
            return;
        };
        if token.attempt == 0 || token.attempt > s.attempt {
            self.shared.counters.alien_replies.bump(1);
            return;
        }
        let (slot, current) = (s.index, token.attempt == s.attempt && matches!(s.stage, Stage::InFlight | Stage::Fencing));
        match verdict {
            // An ack of any attempt is proof that the message is stored.
            Verdict::Stored { stream, seq, duplicate } => {
                if !current {
                    self.abandon(slot);
                }
                self.stored(slot, stream, seq, duplicate);
            }
            Verdict::Refused(refusal) if current => self.refused(slot, refusal),
            // An answer to an attempt that is over, or a second answer to this one.
            Verdict::Refused(_) => self.shared.counters.late_acks.bump(1),
            // Counts as silence: the deadline judges.
            Verdict::Alien => self.shared.counters.alien_replies.bump(1),
        }
    }

    fn fenced(&mut self, epoch: u32, mark: u64) {
        self.abandoned.retain(|&(e, m)| e != epoch || m > mark);
        if self.epoch == Some(epoch) {
            self.fenced = mark + 1;
            self.resend_fenced();
        }
    }

    fn denied(&mut self, topic: &str, epoch: u32, mark: u64, refusals: u32) {
        let concerned: Vec<u32> = self
            .table
            .iter()
            .filter(|s| s.epoch == epoch && s.mark == mark && matches!(s.stage, Stage::InFlight | Stage::Fencing) && s.topic() == topic)
            .map(|s| s.index)
            .collect();
        let text = format!("publishing to {topic:?} is denied by the server's permissions");
        self.remember_denied(topic, &text);
        if concerned.len() == refusals as usize && !self.abandoned.contains(&(epoch, mark)) {
            for slot in concerned {
                self.refused(slot, crate::wire::Refusal { status: Status::Denied, definite: true, retry: Retry::No, server_code: 0, text: text.clone() });
            }
        } else {
            for slot in concerned {
                if let Some(s) = self.table.get_mut(slot) {
                    s.suspect = true;
                }
            }
        }
    }

    fn answer(&mut self, ask: u32, answer: StreamAnswer) {
        self.answered(ask, answer);
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::LameDuck { server } => {
                self.event(EventKind::LameDuck, Status::Ok, 0, "", format!("{server} announced its shutdown (lame duck)"));
            }
            Notice::Discovered { servers } => self.event(EventKind::ServersDiscovered, Status::Ok, 0, "", format!("also in the cluster: {servers}")),
            Notice::Denied { topic, text } => self.shared.log(crate::trace::Level::Warn, || format!("{topic}: {text}")),
            Notice::AlienReply => self.shared.counters.alien_replies.bump(1),
        }
    }
}

impl Core {
    /// The publisher is beyond repair: everything is settled, publishes return the cause.
    pub(crate) fn fail(&mut self, error: &Error) {
        let error = error.clone().into_fatal();
        self.shared.fail(&error);
        self.event(EventKind::Failed, error.status(), 0, "", error.message());
        self.intake();
        self.end_all(&error);
        self.hand_over();
    }

    /// Pending messages with this stage, for `purge`.
    fn purge(&mut self, what: Purge) -> u64 {
        let mut chosen: Vec<(u64, u32)> = self
            .table
            .iter()
            .filter(|s| match s.stage {
                Stage::Queued | Stage::Gated | Stage::Backoff => what.unsent,
                Stage::Staged | Stage::InFlight | Stage::Fencing => what.in_flight,
                Stage::Settled => false,
            })
            .map(|s| (s.id, s.index))
            .collect();
        chosen.sort_unstable();
        let count = chosen.len() as u64;
        for (_, slot) in chosen {
            self.settle_unanswered(slot, Status::Purged, 0, "the message was purged");
        }
        count
    }

    fn watch(&mut self) -> Nanos {
        let (now, pending) = (self.now, self.table.len() as u64);
        let Some(note) = self.monitor.look(now, pending) else { return self.monitor.next() };
        match note {
            crate::monitor::Note::Log => {
                let stats = self.shared.counters.published.get();
                self.shared.log(crate::trace::Level::Info, || format!("{pending} messages are pending, {stats} were acknowledged"));
            }
            crate::monitor::Note::High => {
                self.event(
                    EventKind::PendingHigh,
                    Status::Ok,
                    pending,
                    "",
                    format!("{pending} messages are pending (pending_warn is {})", self.shared.settings.pending_warn),
                );
            }
            crate::monitor::Note::Normal => self.event(EventKind::PendingNormal, Status::Ok, pending, "", format!("{pending} messages are pending")),
        }
        self.monitor.next()
    }

    /// The I/O thread ends: who waits for it must not wait for ever.
    pub(crate) fn finish_commands(&mut self) {
        self.obey();
        self.hand_over();
    }

    /// The last event of a publisher.
    pub(crate) fn ended_event(&self) -> Event {
        let text = self.shared.last_error().map_or_else(String::new, |error| format!("last error: {}", error.message()));
        Event { server: self.server.clone(), time_unix_ns: self.shared.clock.unix_nanos(), ..Event::new(EventKind::Closed, text) }
    }

    /// What an unanswered attempt leaves behind.
    pub(crate) fn doubt(&self, slot: &Slot) -> Persistence {
        if slot.tainted.is_some() || slot.stage.is_under_way() { Persistence::PossiblyPersisted } else { Persistence::NotPersisted }
    }
}
