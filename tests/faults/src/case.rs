//! One row with one client and one seed: starting its driver, meeting it in the midst, ending and judging it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ackbus_test_support::{Reader, Server, StreamConfig};

use crate::books::{Micros, now};
use crate::checker::{Evidence, Figures, millis};
use crate::clients::Client;
use crate::driver::{Driver, misfortune};
use crate::load::{Load, STREAM, SUBJECTS};

/// How long anything may take that should not take long; a busy machine makes it slow, not wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What `close` is given when the row does not say another.
const CLOSE_MS: u64 = 10_000;
/// What a close may take beyond its limit.
const CLOSE_SLACK_MS: f64 = 200.0;

/// What a row has to work with.
#[derive(Debug)]
pub struct Case {
    pub client: &'static Client,
    pub rng: fastrand::Rng,
    /// Fewer rounds, for `make check`.
    pub short: bool,
    pub drivers: PathBuf,
    prefix: String,
}

/// A driver and what it publishes.
#[derive(Debug)]
pub struct Run {
    pub driver: Driver,
    pub load: Load,
    started: Instant,
    broken: Option<Micros>,
    healed: Option<Micros>,
    close_ms: u64,
    dups_allowed: bool,
    killed: bool,
    stopped: bool,
}

impl Case {
    pub fn new(client: &'static Client, row: &str, seed: u64, short: bool, drivers: PathBuf) -> Self {
        Case { client, rng: fastrand::Rng::with_seed(seed), short, drivers, prefix: format!("{row}-{seed}") }
    }

    pub fn load(&self) -> Load {
        Load::new(self.client, self.prefix.clone())
    }

    /// How many times a fault comes: `full`, or once in `make check`.
    pub fn rounds(&self, full: u64) -> u64 {
        if self.short { 1 } else { full }
    }

    /// A number between, from the seed.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.u64(low..=high)
    }

    /// Somewhere in the middle of so many messages.
    pub fn middle(&mut self, count: u64) -> u64 {
        self.between(count * 3 / 10, count * 6 / 10)
    }

    /// Starts the driver and waits until it is connected. One that cannot connect is a finding, not a failure of the suite: see [`Run::is_open`].
    pub fn start(&self, url: &str, load: Load) -> Run {
        self.start_within(url, load, PATIENCE)
    }

    /// The same, for servers that may never let it in.
    pub fn start_within(&self, url: &str, load: Load, limit: Duration) -> Run {
        let program = self.client.program(&self.drivers).unwrap_or_else(|text| panic!("{text}"));
        let driver = Driver::start(&program, &load.arguments(self.client, url)).unwrap_or_else(|text| panic!("{text}"));
        driver.books.wait(limit, |pages| pages.client.is_some());
        Run { driver, load, started: Instant::now(), broken: None, healed: None, close_ms: CLOSE_MS, dups_allowed: false, killed: false, stopped: false }
    }

    /// Ends the run in the usual way, reads the stream, and judges.
    pub fn finish(&self, run: Run, reader: &Reader) -> Figures {
        self.finish_with(run, || Evidence { stored: reader.read_all(STREAM), ..Evidence::default() })
    }

    /// The same; what is stored is looked up after the driver has ended.
    pub fn finish_with(&self, mut run: Run, look: impl FnOnce() -> Evidence) -> Figures {
        run.settle();
        run.driver.tell("close", run.close_ms);
        self.conclude(run, look)
    }

    /// After `close` was told, or the driver was killed.
    pub fn conclude(&self, mut run: Run, look: impl FnOnce() -> Evidence) -> Figures {
        let limit = Duration::from_millis(run.close_ms) + Duration::from_secs(30);
        let status = run.driver.end(limit);
        let wall = run.started.elapsed();
        let mut evidence = look();
        evidence.unheard = run.killed;
        let pages = run.driver.books.read();
        let mut figures = Figures::count(&pages, &run.load, &evidence, self.client.peer);
        figures.wall_s = wall.as_secs_f64();
        let since = |moment: Option<Micros>, then: Option<Micros>| moment.zip(then).map(|(moment, then)| millis(then - moment));
        figures.recover_ms = since(run.healed, run.healed.and_then(|healed| pages.ack_after(healed)));
        figures.noticed_ms = since(run.broken, run.broken.and_then(|broken| pages.state_after("disconnected", broken)));
        if run.killed {
            let open = std::mem::take(&mut figures.hung);
            figures.note(format!("{open} without an outcome when the client was killed"));
        } else {
            figures.crash = misfortune(status, pages.client.is_some()).map(|what| format!("{what} {}", run.driver.complaints().trim()));
        }
        if let Some(error) = pages.errors.first() {
            figures.note(format!("{} errors, the first: {error}", pages.errors.len()));
        }
        if let Some(nonsense) = pages.garbage.first() {
            figures.problems.push(format!("the driver does not keep to the protocol: {nonsense}"));
        }
        let checks = pages.checks.clone();
        drop(pages);
        for check in checks {
            figures.note(format!("{}: {} {}", check.what, if check.ok { "ok" } else { "no" }, check.text));
            figures.must(check.ok, &format!("{}: {}", check.what, check.text));
        }
        if !self.client.peer {
            figures.judge(run.dups_allowed);
            let close = figures.close_ms;
            figures.must(close.is_none_or(|took| took <= run.close_ms as f64 + CLOSE_SLACK_MS), &format!("close took {close:?} ms of {}", run.close_ms));
        }
        figures
    }
}

impl Run {
    /// It is connected.
    pub fn is_open(&self) -> bool {
        self.driver.books.read().client.is_some()
    }

    /// Waits until so many messages were acked. False if that does not come about: with a peer the row goes on nevertheless.
    pub fn acked(&self, count: u64) -> bool {
        self.driver.books.wait(PATIENCE, |pages| pages.acked >= count)
    }

    /// Waits for so many acks more than there are.
    pub fn acked_more(&self, count: u64) -> bool {
        let there_are = self.driver.books.read().acked;
        self.acked(there_are + count)
    }

    /// Waits until all was offered.
    pub fn published(&self, limit: Duration) -> bool {
        self.driver.books.wait(limit, |pages| pages.published)
    }

    /// Waits until the client told of a state, such as `disconnected`, since the fault began.
    pub fn told(&self, state: &str, limit: Duration) -> bool {
        let since = self.broken.unwrap_or(0);
        self.driver.books.wait(limit, |pages| pages.state_after(state, since).is_some())
    }

    /// The fault begins.
    pub fn breaks(&mut self) {
        self.broken = Some(now());
    }

    /// The fault has ended.
    pub fn heals(&mut self) {
        self.healed = Some(now());
    }

    /// Publishes on until acks come again, and then nothing more: without messages to ack there is no recovery to measure.
    pub fn recovers(&mut self) {
        self.acked_more(1_000);
        self.stop();
    }

    /// Publishes nothing more.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.driver.tell("stop", 0);
    }

    /// What close is given.
    pub fn close_within(&mut self, limit_ms: u64) {
        self.close_ms = limit_ms;
    }

    /// The row is one of those that P4 excludes.
    pub fn allow_dups(&mut self) {
        self.dups_allowed = true;
    }

    /// Ends the driver with SIGKILL: what it had not written yet is not known.
    pub fn is_killed(&mut self) {
        self.killed = true;
        self.driver.signal(nix::sys::signal::Signal::SIGKILL);
    }

    /// Waits until all is offered and has an outcome; a client that does neither is told to stop.
    pub fn settle(&mut self) {
        // Some clients, once stuck, do not even stop.
        let nominal = if self.stopped { 0 } else { self.load.count.checked_div(self.load.rate).unwrap_or(0) };
        let patience = Duration::from_millis(self.load.deadline_ms + 25_000);
        if !self.published(Duration::from_secs(nominal + if self.stopped { 15 } else { 90 })) {
            self.stop();
            self.published(Duration::from_secs(5));
        }
        self.driver.books.wait(patience, |pages| pages.outcomes >= pages.accepted);
    }
}

/// A server with the stream, and who looks into it.
pub fn server_with(options: ackbus_test_support::Options, stream: StreamConfig) -> (Server, Reader) {
    let server = options.start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(stream);
    (server, reader)
}

pub fn server() -> (Server, Reader) {
    server_with(Server::options(), stream())
}

pub fn stream() -> StreamConfig {
    StreamConfig { name: STREAM.into(), subjects: vec![SUBJECTS.into()], ..StreamConfig::default() }
}
