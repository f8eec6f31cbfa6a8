//! The world of one seed: the real driver and handler and the model server over bytes in memory, under a virtual clock, with the threads of a program that publishes.
//!
//! It is to the driver what `runtime::rounds` is: it wakes it when there is a reason, and lets the system look at its sockets when the thread would sleep. `network` has
//! the sockets, `users` what a program does with a publisher.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::book::RuleBook;
use super::check;
use super::history::{self, History};
use super::model::Model;
use super::network::{Ground, ModelNetwork};
use super::plan::{BUSY, Plan};
use super::program::Users;
use super::rng::Rng;
use super::said::first_ack;
use super::script::{MS, Profile};
use super::truth::Truth;
use crate::base::error::Persistence;
use crate::base::time::{Clock, VirtualTime};
use crate::bus::shared::Shared;
use crate::desk::events::EventKind;
use crate::desk::sink::{Handlers, Sink};
use crate::runtime::dial::Dialer;
use crate::runtime::drive::NatsDriver;
use crate::runtime::rounds::Round;
use crate::stats::Counters;
use crate::stats::failures::Failures;
use crate::wire::nats::Side;

/// Rounds at one moment, with bytes moving or not: more would be a handler that spins.
const MOST_ROUNDS: usize = 20_000;

/// Everything of one seed.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub(super) trace: bool,
    pub(super) ground: Rc<RefCell<Ground>>,
    pub(super) shared: Arc<Shared>,
    pub(super) driver: NatsDriver<ModelNetwork>,
    pub(super) users: Users,
    pub(super) history: History,
    clock: Arc<VirtualTime>,
    waker: Arc<Flag>,
    /// When the I/O thread wakes by itself.
    wake: u64,
    /// It was stopped while it slept, and its timers are looked at before its sockets.
    blind: bool,
    ended: bool,
    /// Attempts that were begun so far.
    pub(super) staged: u64,
}

/// Whether somebody called the I/O thread's waker.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
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
        let clock = Arc::<VirtualTime>::default();
        let mut random = [0; 32];
        random[..8].copy_from_slice(&seed.to_le_bytes());
        random[16..24].copy_from_slice(&seed.to_le_bytes());
        let settings = plan.config.settings().expect("settings");
        let handlers = if plan.polled { Handlers::default() } else { Handlers { reports: Some(Arc::new(Nobody)), events: None } };
        let shared = Shared::new(settings, plan.config.rules().clone(), Clock::Virtual(Arc::clone(&clock)), &random, &handlers).expect("a publisher");
        let mut model = Model::new(plan.script.clone());
        for stream in &plan.streams {
            model.add_stream(0, stream.clone());
        }
        for stream in &plan.abroad {
            model.abroad.create(0, stream.clone()).expect("a stream of the other JetStream");
        }
        let ground = Ground::new(model, plan.weather.clone(), 3 * plan.ping_interval, Rng::new(seed.rotate_left(32) ^ 0x6E07), trace);
        let dialer = Arc::new(Dialer::new(&shared.settings).expect("a dialer"));
        let encoder = shared.lanes.first().framing.nats().expect("a carrier with frames");
        let driver = NatsDriver::new(&shared, shared.lanes.first(), encoder, ModelNetwork(Rc::clone(&ground)), dialer, seed);
        let users = Users::draw(&plan, &mut rng);
        World {
            rng,
            now: 0,
            trace,
            ground,
            shared,
            driver,
            users,
            history: History { rules: RuleBook::begin(plan.config.rules()), ..History::default() },
            clock,
            waker: Arc::default(),
            wake: 0,
            blind: false,
            ended: false,
            staged: 0,
            plan,
        }
    }

    /// Says something when a seed is watched.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            self.ground.borrow().tell(what);
        }
    }

    /// From the first connection to the last report.
    fn live(&mut self) -> Result<(), String> {
        // Every message has its outcome by then, whatever goes wrong, and a close its end.
        let end = 2 * BUSY + 4 * self.plan.delivery_timeout + 120_000 * MS;
        let mut steps = 0;
        while !self.ended {
            if self.now > end {
                return Err(format!("P1: no end; {} messages are pending", self.driver.handler.messages().count()));
            }
            self.act()?;
            if self.wakes() {
                self.rounds()?;
            }
            self.look_at_flushes()?;
            self.tell_events();
            if self.ended {
                break;
            }
            steps += 1;
            if steps < 20_000 || steps % 50 == 0 {
                self.driver.handler.audit(self.driver.wire.epoch(Side::Leaving))?;
            }
            let late = if self.plan.sluggish > 0 { self.rng.below(self.plan.sluggish) } else { 0 };
            let event = self.ground.borrow_mut().next_event();
            let next = [Some(self.wake), event, Some(self.users_next())].into_iter().flatten().min().unwrap_or(u64::MAX);
            self.advance(next.saturating_add(late).max(self.now + 1));
        }
        self.read_the_rest()
    }

    /// Time passes; a stopped process wakes behind its pause.
    fn advance(&mut self, to: u64) {
        self.set_time(to);
        let pause = self.plan.limits.client_pauses.iter().filter(|(from, len)| (*from..from + len).contains(&to)).map(|(from, len)| from + len).max();
        if let Some(until) = pause {
            self.set_time(until);
            self.blind = self.ground.borrow_mut().is_blind();
        }
    }

    fn set_time(&mut self, now: u64) {
        self.now = now;
        self.ground.borrow_mut().now = now;
        self.clock.now.store(now, Ordering::Relaxed);
        // What the machine slept only its wall clock knows.
        let asleep = self.plan.suspends.iter().filter(|(from, _)| *from <= now).map(|(_, len)| len).sum();
        self.clock.ahead.store(asleep, Ordering::Relaxed);
    }

    /// Whether anything wakes the I/O thread.
    fn wakes(&mut self) -> bool {
        let told = self.is_notified();
        if std::mem::take(&mut self.blind) && (told || self.now >= self.wake) {
            return true;
        }
        self.ground.borrow_mut().look() | self.waker.0.swap(false, Ordering::Relaxed) | told | (self.now >= self.wake)
    }

    fn is_notified(&self) -> bool {
        let notified = pin!(self.shared.lanes.first().queue.notify().notified());
        notified.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Rounds until the thread sleeps, as the runtime's `rounds` has them: the system looks at its sockets only then.
    fn rounds(&mut self) -> Result<(), String> {
        let waker = Waker::from(Arc::clone(&self.waker));
        for _ in 0..MOST_ROUNDS {
            let pause = self.ground.borrow_mut().pause();
            if let Some(len) = pause {
                self.tell(|| format!("the client stands still for {} ms", len / MS));
                self.plan.limits.client_pauses.push((self.now, len));
                self.set_time(self.now + len);
            }
            let lane = Arc::clone(self.shared.lanes.first());
            lane.queue.rise();
            let (unread, failed) = (self.ground.borrow().model.unread(self.now), lane.counters.publish_errors.get());
            let round = self.driver.round(&mut Context::from_waker(&waker));
            if lane.counters.publish_errors.get() > failed {
                self.history.unread.entry(self.now).or_default().extend(unread);
            }
            self.note_stagings();
            self.wake = match round {
                Round::Busy => continue,
                Round::Idle(next) => next,
                Round::Done(result) => {
                    self.tell(|| "the driver is done".into());
                    self.ended = true;
                    crate::runtime::last_act(&self.shared, &lane, &mut self.driver.handler);
                    return result.map_err(|error| format!("the driver gave up: {error}"));
                }
            };
            if lane.queue.fall_idle() && !self.wakes() {
                return Ok(());
            }
        }
        Err("the driver spins".into())
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
        let ground = Rc::clone(&self.ground);
        let mut ground = ground.borrow_mut();
        while !ground.model.is_settled() {
            self.now += 5 * MS;
            ground.model.tick(self.now);
        }
        self.history.pending = self.shared.window.high_water();
        self.figures()?;
        if !self.plan.report_all {
            self.reports_of_the_successful(&ground.model.truth)?;
        }
        check::check(&self.history, &ground.model.truth, &self.plan.limits)
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
    fn reports_of_the_successful(&mut self, truth: &Truth) -> Result<(), String> {
        let mut acks: BTreeMap<&[u8], (u64, &str)> = BTreeMap::new();
        for message in &self.history.accepted {
            let attempts: Vec<_> = truth.attempts.iter().filter(|attempt| attempt.payload == message.payload).collect();
            if let Some(first) = first_ack(&self.history.rules, truth, &self.plan.limits, message, &attempts) {
                acks.insert(&message.payload, first);
            }
        }
        let reported: std::collections::BTreeSet<u64> = self.history.reports.iter().map(|report| report.id).collect();
        let silent: Vec<_> = self.history.accepted.iter().filter(|message| !reported.contains(&message.id)).collect();
        let published = self.shared.stats().published;
        if silent.len() as u64 != published {
            return Err(format!("P1: {} messages have no report, {published} were published", silent.len()));
        }
        let reports = silent.iter().map(|message| history::Report {
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
