//! The world of one seed: the real handler and the model server over bytes in memory, under a virtual clock, with the threads of a program that publishes.
//!
//! A round is what the runtime does in one: read all, turn the handler, write, look after the connections. The world's own parts are `network` (what the runtime's
//! driver does with sockets) and `users` (what a program does with a publisher).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::changes;
use super::check::{self, History};
use super::model::Model;
use super::network::Network;
use super::plan::{BUSY, Plan};
use super::rng::Rng;
use super::script::{MS, Profile};
use super::users::Users;
use super::words::first_ack;
use crate::base::error::Persistence;
use crate::base::time::Clock;
use crate::bus::shared::Shared;
use crate::desk::events::EventKind;
use crate::desk::sink::{Handlers, Sink};
use crate::handler::Handler;
use crate::stats::Counters;
use crate::stats::failures::Failures;
use crate::wire::nats::{NatsWire, Side};

/// Rounds at one moment, with bytes moving or not: more would be a handler that spins.
const MOST_ROUNDS: usize = 20_000;

/// Everything of one seed.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub(super) trace: bool,
    pub(super) model: Model,
    pub(super) shared: Arc<Shared>,
    pub(super) handler: Handler,
    pub(super) wire: NatsWire,
    pub(super) network: Network,
    pub(super) users: Users,
    pub(super) history: History,
    clock: Arc<AtomicU64>,
    ended: bool,
    /// Attempts that were begun so far.
    pub(super) staged: u64,
}

/// Callback mode needs a receiver; the world calls back itself.
struct Nobody;
impl Sink for Nobody {}

/// Runs a seed and compares it with the truth. The error tells what was broken.
pub(super) fn run(seed: u64, trace: bool) -> Result<Profile, String> {
    let mut world = World::new(seed, trace);
    let profile = world.plan.script.profile;
    let told = world.live().and_then(|()| world.judge());
    let twists = &world.plan.twists;
    told.map(|()| profile).map_err(|story| format!("seed {seed}, {profile:?}, {twists:?}, at {} ns: {story}", world.now))
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let plan = Plan::draw(seed);
        let mut rng = Rng::new(!seed);
        let clock = Arc::new(AtomicU64::new(0));
        let mut random = [0; 32];
        random[..8].copy_from_slice(&seed.to_le_bytes());
        random[16..24].copy_from_slice(&seed.to_le_bytes());
        let settings = plan.config.settings().expect("settings");
        let handlers = if plan.polled { Handlers::default() } else { Handlers { reports: Some(Arc::new(Nobody)), events: None } };
        let shared = Shared::new(settings, plan.config.rules().clone(), Clock::Virtual(Arc::clone(&clock)), &random, &handlers).expect("a publisher");
        let wire = NatsWire::new(shared.lanes.first().framing.nats().expect("NATS"), plan.limits.domain.as_deref(), plan.ping_interval);
        let handler = Handler::new(Arc::clone(&shared), Arc::clone(shared.lanes.first()), seed);
        let mut model = Model::new(plan.script.clone());
        for stream in &plan.streams {
            model.add_stream(0, stream.clone());
        }
        for stream in &plan.abroad {
            model.abroad.create(0, stream.clone()).expect("a stream of the other JetStream");
        }
        let users = Users::draw(&plan, &mut rng);
        World {
            rng,
            now: 0,
            trace,
            model,
            shared,
            handler,
            wire,
            network: Network::default(),
            users,
            history: History { rules: changes::book(plan.config.rules()), ..History::default() },
            clock,
            ended: false,
            staged: 0,
            plan,
        }
    }

    /// Says something when a seed is watched.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let (now, text) = (self.now, what());
            let mut out = std::io::stderr().lock();
            let _ = std::io::Write::write_fmt(&mut out, format_args!("{:>5}.{:06} ms  {text}\n", now / MS, now % MS));
        }
    }

    /// From the first connection to the last report.
    fn live(&mut self) -> Result<(), String> {
        // Every message has its outcome by then, whatever goes wrong, and a close its end.
        let end = 2 * BUSY + 4 * self.plan.delivery_timeout + 120_000 * MS;
        let mut steps = 0;
        while !self.ended {
            if self.now > end {
                return Err(format!("P1: no end; {} messages are pending", self.handler.messages().count()));
            }
            self.act()?;
            let wake = self.rounds()?;
            self.look_at_flushes()?;
            self.tell_events();
            if self.ended {
                break;
            }
            steps += 1;
            if steps < 20_000 || steps % 50 == 0 {
                self.handler.audit(self.wire.epoch(Side::Leaving))?;
            }
            let late = if self.plan.sluggish > 0 { self.rng.below(self.plan.sluggish) } else { 0 };
            let next = [Some(wake), self.model.next_event(self.now), Some(self.users_next())].into_iter().flatten().min().unwrap_or(u64::MAX);
            self.advance(next.saturating_add(late).max(self.now + 1));
        }
        self.read_the_rest()
    }

    /// Time passes; a stopped process wakes behind its pause.
    fn advance(&mut self, to: u64) {
        self.now = to;
        let pause = self.plan.limits.client_pauses.iter().filter(|(from, len)| (*from..from + len).contains(&to)).map(|(from, len)| from + len).max();
        if let Some(until) = pause {
            self.now = until;
        }
        self.clock.store(self.now, Ordering::Relaxed);
    }

    /// Rounds until nothing moves. Gives the time of the next one.
    fn rounds(&mut self) -> Result<u64, String> {
        for _ in 0..MOST_ROUNDS {
            let (busy, next) = self.round()?;
            if self.ended {
                return Ok(u64::MAX);
            }
            if !busy && next > self.now {
                return Ok(next);
            }
        }
        Err("the handler spins".into())
    }

    fn round(&mut self) -> Result<(bool, u64), String> {
        let asleep: u64 = self.plan.suspends.iter().filter(|(from, _)| *from <= self.now).map(|(_, len)| len).sum();
        self.handler.set_time(self.now, self.now + asleep);
        self.hear_news();
        let mut busy = self.finish_dialing()?;
        busy |= self.read_all();
        let mut next = self.handler.turn(&mut self.wire);
        self.note_stagings();
        self.hear_news();
        busy |= self.write_all();
        next = next.min(self.tend_lines());
        next = next.min(self.seek_server());
        if self.handler.may_end() {
            self.tell(|| "the handler ends".into());
            crate::runtime::last_act(&self.shared, self.shared.lanes.first(), &mut self.handler);
            self.shared.desk.end();
            self.shared.io_gone();
            self.hang_up();
            self.ended = true;
        }
        Ok((busy, next))
    }

    fn tell_events(&mut self) {
        let events = self.shared.desk.poll_events(usize::MAX, Some(Duration::ZERO)).unwrap_or_default();
        for event in events {
            if let (EventKind::GateOpened, Some(stream)) = (event.kind, event.text.strip_suffix(" takes messages again")) {
                self.history.gates_opened.push((self.now, stream.to_owned()));
            }
            self.tell(|| format!("event {:?} {} {}: {}", event.kind, event.status, event.topic, event.text));
        }
    }

    /// Everything is over: the promises against the truth, and the figures against the history.
    fn judge(&mut self) -> Result<(), String> {
        while !self.model.is_settled() {
            self.now += 5 * MS;
            self.model.tick(self.now);
        }
        self.history.pending = self.shared.window.high_water();
        self.figures()?;
        if !self.plan.report_all {
            self.reports_of_the_successful()?;
        }
        check::check(&self.history, &self.model.truth, &self.plan.limits)
    }

    /// Counters, and the window's books.
    fn figures(&self) -> Result<(), String> {
        let stats = self.shared.stats();
        let accepted = self.history.accepted.len() as u64;
        if (stats.accepted, stats.pending) != (accepted, 0) || stats.published + stats.publish_errors != accepted {
            return Err(format!("P1: {accepted} messages were accepted, but the figures are {stats:?}"));
        }
        if stats.ephemeral + stats.ephemeral_dropped != self.users.ephemeral {
            return Err(format!("{} ephemeral messages were accepted, but the figures are {stats:?}", self.users.ephemeral));
        }
        for (status, count, _) in Failures::read(self.shared.lanes.iter().map(|lane| &lane.counters.failures)) {
            let reported = self.history.reports.iter().filter(|report| report.text.split(' ').next() == Some(status.name())).count() as u64;
            // Ephemeral messages are reported to nobody but their ticket, and count in no figure of persistent ones.
            if count != reported {
                return Err(format!("{reported} messages failed with {status}, but {count} are counted"));
            }
        }
        let latencies = Counters::latencies(self.shared.lanes.iter().map(|lane| &*lane.counters));
        if latencies.count() != stats.published {
            return Err(format!("{} latencies of {} acknowledged messages", latencies.count(), stats.published));
        }
        let usage = self.shared.window.usage();
        if usage != (0, 0) {
            return Err(format!("P3: everything is reported, and {usage:?} of the window is still in use"));
        }
        let purged = self.history.reports.iter().filter(|report| report.text.starts_with("PURGED")).count() as u64;
        if self.users.ephemeral == 0 && purged != self.users.purged() {
            return Err(format!("purge said {}, {purged} reports say so", self.users.purged()));
        }
        Ok(())
    }

    /// With `report=failures` the successful are counted, not reported: each that has no report must have an ack, and as many must be counted.
    fn reports_of_the_successful(&mut self) -> Result<(), String> {
        let mut acks: BTreeMap<&[u8], (u64, &str)> = BTreeMap::new();
        for message in &self.history.accepted {
            let attempts: Vec<_> = self.model.truth.attempts.iter().filter(|attempt| attempt.payload == message.payload).collect();
            if let Some(first) = first_ack(&self.history.rules, &self.model.truth, &self.plan.limits, message, &attempts) {
                acks.insert(&message.payload, first);
            }
        }
        let reported: std::collections::BTreeSet<u64> = self.history.reports.iter().map(|report| report.id).collect();
        let silent: Vec<_> = self.history.accepted.iter().filter(|message| !reported.contains(&message.id)).collect();
        let published = self.shared.stats().published;
        if silent.len() as u64 != published {
            return Err(format!("P1: {} messages have no report, {published} were published", silent.len()));
        }
        let reports = silent.iter().map(|message| check::Report {
            id: message.id,
            at: acks.get(&message.payload[..]).map_or(message.accepted_at, |(at, _)| *at),
            persistence: Persistence::Persisted,
            seq: 0,
            stream: String::new(),
            duplicate: false,
            staged: true,
            text: "counted".into(),
        });
        let reports: Vec<_> = reports.collect();
        self.history.reports.extend(reports);
        Ok(())
    }
}
