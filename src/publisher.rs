//! The publisher: what users call. Every call checks, then hands over; decisions are made elsewhere.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::admission::{Patience, Request, Window, in_callback};
use crate::config::{Config, OnDisconnect, OnFull, Settings};
use crate::dispatch::{Desk, Handlers};
use crate::error::{Error, Result, Status};
use crate::events::{Event, EventQueue};
use crate::handler::nanos;
use crate::ledger::SendQueue;
use crate::message::{Message, StallWait};
use crate::report::{Reports, Ticket, Waiter};
use crate::stats::{Counters, Given, Stats};
use crate::sys;
use crate::topic::{Mode, Rules};
use crate::trace::{self, Level};
use crate::wire::nats::frame::Encoder;
use crate::wire::Nanos;

/// How a publisher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum State {
    /// Not connected yet (`retry_on_connect`).
    Connecting = 0,
    /// Connected.
    Connected = 1,
    /// The connection was lost; another is sought.
    Reconnecting = 2,
    /// `close` was called.
    Closing = 3,
    /// Closed.
    Closed = 4,
    /// Given up for good.
    Failed = 5,
}

/// How a publisher stands, and with whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The state.
    pub state: State,
    /// The server, without credentials; the last one while there is none.
    pub server: String,
    /// Its version.
    pub server_version: String,
    /// What it takes, headers and payload, in bytes; 0 while not known.
    pub max_payload: u64,
    /// The last error of the connection.
    pub last_error: Option<Error>,
}

/// What `purge` removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Messages that wait to be sent (or sent again): `NotPersisted` unless an earlier attempt is in doubt.
    pub unsent: bool,
    /// Messages whose ack is awaited: `PossiblyPersisted`.
    pub in_flight: bool,
}

/// The time of one publisher: nanoseconds since its birth.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Real(Instant),
    /// The simulation's.
    #[cfg_attr(not(test), allow(dead_code, reason = "the simulation's clock"))]
    Virtual(Arc<AtomicU64>),
}

impl Clock {
    pub(crate) fn now(&self) -> Nanos {
        match self {
            Clock::Real(birth) => nanos(birth.elapsed()),
            Clock::Virtual(now) => now.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn unix_nanos(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// What the I/O thread is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Flush(Arc<FlushTicket>),
    Purge { what: Purge, ticket: Arc<FlushTicket> },
    Rules(Arc<Rules>),
    Close { timeout: Nanos },
}

/// Somebody waits for the I/O thread to do something, and for a number that comes of it.
#[derive(Debug)]
pub(crate) struct FlushTicket {
    /// The newest message that counts.
    pub(crate) upto: u64,
    result: Mutex<Option<u64>>,
    changed: Condvar,
}

impl FlushTicket {
    pub(crate) fn new(upto: u64) -> Arc<Self> {
        Arc::new(FlushTicket { upto, result: Mutex::new(None), changed: Condvar::new() })
    }

    pub(crate) fn done(&self, result: u64) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn result(&self) -> Option<u64> {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, until: Option<Instant>) -> Option<u64> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = *result {
                return Some(result);
            }
            result = match until {
                None => self.changed.wait(result).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.changed.wait_timeout(result, left).map_or_else(|p| p.into_inner().0, |(r, _)| r)
                }
            };
        }
    }
}

/// What all threads of a publisher share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) window: Arc<Window>,
    pub(crate) queue: SendQueue,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) encoder: Arc<Encoder>,
    events: EventQueueHandle,
    commands: Mutex<Vec<Command>>,
    commanded: AtomicBool,
    max_payload: AtomicU64,
    /// Ephemeral messages accepted: `accepted` counts the persistent ones.
    ephemeral: AtomicU64,
    offline: AtomicBool,
    link: Mutex<Link>,
    link_changed: Condvar,
}

type EventQueueHandle = Arc<EventQueue>;

#[derive(Debug)]
struct Link {
    state: State,
    server: String,
    version: String,
    last_error: Option<Error>,
    /// The I/O thread has left.
    io_gone: bool,
}

impl Shared {
    pub(crate) fn new(settings: Settings, rules: Rules, clock: Clock, random: &[u8; 32], handlers: &Handlers) -> Result<Arc<Self>> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let window = Arc::new(Window::new(serial, settings.max_pending, settings.max_pending_bytes, settings.gate_share));
        let counters = Arc::new(Counters::default());
        let events = Arc::new(EventQueue::new(settings.event_queue));
        let desk = Arc::new(Desk::new(Arc::clone(&window), Arc::clone(&counters), Arc::clone(&events), settings.report, handlers)?);
        let encoder = Arc::new(Encoder::new(&settings.inbox_prefix, settings.msg_id, random));
        Ok(Arc::new(Shared {
            clock,
            window,
            queue: SendQueue::new(),
            rules: Arc::new(ArcSwap::from_pointee(rules)),
            desk,
            counters,
            encoder,
            events,
            commands: Mutex::default(),
            commanded: AtomicBool::new(false),
            max_payload: AtomicU64::new(0),
            ephemeral: AtomicU64::new(0),
            offline: AtomicBool::new(true),
            link: Mutex::new(Link { state: State::Connecting, server: String::new(), version: String::new(), last_error: None, io_gone: false }),
            link_changed: Condvar::new(),
            settings,
        }))
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self, level: Level, text: impl FnOnce() -> String) {
        if level > self.settings.log_level {
            return;
        }
        match level {
            Level::Off => {}
            Level::Error => tracing::error!(target: "ackbus", "{}", text()),
            Level::Warn => tracing::warn!(target: "ackbus", "{}", text()),
            Level::Info => tracing::info!(target: "ackbus", "{}", text()),
            Level::Debug => tracing::debug!(target: "ackbus", "{}", text()),
            Level::Trace => tracing::trace!(target: "ackbus", "{}", text()),
        }
    }

    pub(crate) fn command(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.commanded.store(true, Ordering::Release);
        self.queue.wake();
    }

    pub(crate) fn take_commands(&self, into: &mut Vec<Command>) {
        if self.commanded.swap(false, Ordering::AcqRel) {
            into.append(&mut self.commands.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(crate) fn connected(&self, server: &str, version: &str, max_payload: u64, again: bool) {
        self.set_max_payload(max_payload);
        self.offline.store(false, Ordering::Relaxed);
        if again {
            self.counters.reconnects.bump(1);
        }
        let mut link = self.link();
        if matches!(link.state, State::Connecting | State::Reconnecting) {
            link.state = State::Connected;
        }
        server.clone_into(&mut link.server);
        version.clone_into(&mut link.version);
        self.link_changed.notify_all();
    }

    pub(crate) fn set_max_payload(&self, max_payload: u64) {
        self.max_payload.store(max_payload, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self, error: &Error) {
        self.offline.store(true, Ordering::Relaxed);
        let mut link = self.link();
        if link.state == State::Connected {
            link.state = State::Reconnecting;
        }
        link.last_error = Some(error.clone());
        self.link_changed.notify_all();
    }

    /// A try to connect failed.
    pub(crate) fn not_connected(&self, error: &Error) {
        self.link().last_error = Some(error.clone());
    }

    pub(crate) fn last_error(&self) -> Option<Error> {
        self.link().last_error.clone()
    }

    /// Beyond repair.
    pub(crate) fn fail(&self, error: &Error) {
        let why = Error::new(Status::Failed, format!("the publisher has failed: {}: {}", error.status(), error.message())).with_server_code(error.server_code());
        self.window.shut_anew(why.into_fatal());
        let mut link = self.link();
        link.state = State::Failed;
        link.last_error = Some(error.clone());
        self.link_changed.notify_all();
    }

    /// The I/O thread's last word.
    pub(crate) fn io_gone(&self) {
        let mut link = self.link();
        link.io_gone = true;
        if link.state != State::Failed {
            link.state = State::Closed;
        }
        self.link_changed.notify_all();
    }

    fn wait_link<T>(&self, until: Option<Instant>, mut ready: impl FnMut(&Link) -> Option<T>) -> Option<T> {
        let mut link = self.link();
        loop {
            if let Some(result) = ready(&link) {
                return Some(result);
            }
            link = match until {
                None => self.link_changed.wait(link).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.link_changed.wait_timeout(link, left).map_or_else(|p| p.into_inner().0, |(l, _)| l)
                }
            };
        }
    }

    /// The whole way of a message from the call to its place in line.
    pub(crate) fn accept(&self, message: &Message<'_>, stall: StallWait, waiter: Option<Arc<Waiter>>) -> Result<u64> {
        message.check()?;
        let rules = self.rules.load();
        let rule = rules.matching(message.topic);
        let ephemeral = rule.mode == Mode::Ephemeral;
        let plan = self.encoder.plan(message, ephemeral)?;
        let max_payload = self.max_payload.load(Ordering::Relaxed);
        if max_payload > 0 && plan.body() as u64 > max_payload {
            return Err(Error::new(Status::TooLarge, format!("headers and payload have {} bytes; the server takes {max_payload}", plan.body())));
        }
        if self.settings.on_disconnect == OnDisconnect::Fail && self.offline.load(Ordering::Relaxed) {
            let why = self.last_error().map_or_else(String::new, |error| format!(": {}", error.message()));
            return Err(Error::new(Status::Disconnected, format!("not connected, and on_disconnect is fail{why}")));
        }
        let request = Request { bytes: plan.frame, rule: rule.index, topic: message.topic };
        let stuck = |used: usize| self.desk.is_stuck(used);
        let stuck: Option<&dyn Fn(usize) -> bool> = if self.desk.is_polled() { Some(&stuck) } else { None };
        let mut slot = match self.window.enter(request, self.patience(stall), stuck) {
            Ok(slot) => slot,
            Err(error) => return Err(self.refuse(error)),
        };
        self.encoder.encode(&mut slot, message, plan, ephemeral);
        slot.tag = message.tag;
        slot.ephemeral = ephemeral;
        slot.report_always = message.report_always;
        slot.waiter = waiter;
        slot.accepted_at = self.clock.now();
        slot.deadline = slot.accepted_at.saturating_add(nanos(message.delivery_timeout.unwrap_or(self.settings.delivery_timeout)));
        match self.queue.push(slot, Encoder::stamp) {
            Ok(id) => {
                if ephemeral {
                    self.ephemeral.fetch_add(1, Ordering::Relaxed);
                }
                Ok(id)
            }
            Err(slot) => {
                self.window.cancel(slot);
                Err(self.window.closed().unwrap_or_else(|| Error::new(Status::Closed, "the publisher is closed")))
            }
        }
    }

    #[cold]
    fn refuse(&self, error: Error) -> Error {
        if error.status() == Status::QueueFull {
            self.counters.queue_full.bump_shared(1);
        }
        error
    }

    fn patience(&self, stall: StallWait) -> Patience {
        let limit = match stall {
            StallWait::Configured if self.settings.on_full == OnFull::Fail => return Patience::Fail,
            StallWait::Configured => self.settings.stall_wait,
            StallWait::NoLimit => None,
            StallWait::AtMost(limit) => Some(limit),
        };
        match limit {
            None => Patience::NoLimit,
            Some(Duration::ZERO) => Patience::Fail,
            Some(limit) => Instant::now().checked_add(limit).map_or(Patience::NoLimit, Patience::Until),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let ephemeral = self.ephemeral.load(Ordering::Relaxed);
        let bytes = self.window.usage().1;
        // What is settled is read before what is accepted: `pending` is never too small.
        let settled = self.counters.published.get() + self.counters.publish_errors.get();
        let accepted = self.queue.last_id().saturating_sub(ephemeral);
        let pending = accepted.saturating_sub(settled);
        self.counters.pending_max.raise_to(self.window.high_water());
        self.counters.wakeups.raise_to(self.queue.wakeups.get());
        self.counters.snapshot(Given { accepted, pending, pending_bytes: bytes, events_dropped: self.events.dropped() })
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Refuses a waiting call on a callback's thread (P5).
pub(crate) fn not_in_callback(call: &str) -> Result<()> {
    if in_callback() {
        return Err(Error::new(Status::WrongThread, format!("{call} may not be called from a callback: it would wait for itself")));
    }
    Ok(())
}

/// A publisher: one connection, one acknowledgement handler, any number of publishing threads.
///
/// Every accepted message gets exactly one outcome. All methods take `&self` and may be called from any thread at the same time. Dropping a publisher closes it,
/// waiting up to `close_timeout_ms`.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    close: Mutex<bool>,
}

impl Publisher {
    /// Connects, and returns when the server has accepted: credentials, TLS, the inbox. With `retry_on_connect` it returns at once and goes on trying.
    ///
    /// # Errors
    /// `InvalidOption` for options that do not fit together; `ConnectFailed`, `AuthFailed`, `TlsFailed`, `Denied` name the server and the cause; `Forked`; `WrongThread`.
    pub fn connect(config: &Config, handlers: Handlers) -> Result<Publisher> {
        guard()?;
        not_in_callback("connect")?;
        let settings = config.settings()?;
        let rules = config.rules().clone();
        rules.check()?;
        sys::arm_fork_guard().map_err(|error| Error::new(Status::Internal, format!("the fork guard cannot be set: {error}")))?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| Error::new(Status::Internal, format!("no random numbers: {error}")))?;
        let wait = !settings.retry_on_connect;
        let shared = Shared::new(settings, rules, Clock::Real(Instant::now()), &random, &handlers)?;
        crate::runtime::start(&shared, handlers)?;
        let publisher = Publisher { shared, close: Mutex::new(false) };
        if wait && let Err(error) = publisher.wait_connected(None) {
            let _ = publisher.close(Some(Duration::ZERO));
            return Err(error);
        }
        Ok(publisher)
    }

    /// Publishes a message. Returns its id at once while there is room, else waits as `on_full` and `stall_wait_ms` say. The payload is copied.
    ///
    /// # Errors
    /// `InvalidTopic`, `TooLarge`, `QueueFull`, `Disconnected` (`on_disconnect=fail`), `Closed`, `Failed`, `Forked`: the message was not accepted.
    pub fn publish(&self, topic: &str, payload: &[u8], tag: u64) -> Result<u64> {
        self.publish_message(&Message { tag, ..Message::new(topic, payload) })
    }

    /// Publishes a message with everything that it may have.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and `InvalidHeader`, `InvalidArgument`.
    pub fn publish_message(&self, message: &Message<'_>) -> Result<u64> {
        guard()?;
        self.shared.accept(message, message.stall_wait, None)
    }

    /// Publishes a series. Accepts a prefix of it, telling the id of each message; waits as the window frees, up to the stall time in all.
    ///
    /// # Errors
    /// That of the first message that was not accepted.
    pub fn publish_batch<'m>(&self, messages: impl IntoIterator<Item = Result<Message<'m>>>, mut accepted: impl FnMut(u64)) -> Result<()> {
        guard()?;
        let begin = Instant::now();
        for message in messages {
            let message = message?;
            let stall = match (message.stall_wait, self.shared.settings.on_full, self.shared.settings.stall_wait) {
                (StallWait::AtMost(limit), _, _) | (StallWait::Configured, OnFull::Block, Some(limit)) => StallWait::AtMost(limit.saturating_sub(begin.elapsed())),
                (other, _, _) => other,
            };
            accepted(self.shared.accept(&message, stall, None)?);
        }
        Ok(())
    }

    /// Publishes and waits for the outcome: one report, for the waiter alone. `None` waits without limit; the time covers waiting for room.
    ///
    /// # Errors
    /// As [`publish_message`](Self::publish_message): not accepted. `TimedOut`: it stays pending, its report goes the usual way. `WrongThread` from a callback.
    pub fn publish_wait(&self, message: &Message<'_>, timeout: Option<Duration>) -> Result<Reports> {
        guard()?;
        not_in_callback("publish_wait")?;
        let begin = Instant::now();
        let stall = match (message.stall_wait, timeout) {
            (StallWait::Configured | StallWait::NoLimit, Some(timeout)) => StallWait::AtMost(timeout),
            (StallWait::AtMost(limit), Some(timeout)) => StallWait::AtMost(limit.min(timeout)),
            (other, None) => other,
        };
        let ticket = self.submit_with(message, stall)?;
        ticket.wait_or_leave(timeout.map(|t| t.saturating_sub(begin.elapsed())))
    }

    /// Publishes and returns a ticket for the report.
    ///
    /// # Errors
    /// As [`publish_message`](Self::publish_message).
    pub fn submit(&self, message: &Message<'_>) -> Result<Ticket> {
        guard()?;
        self.submit_with(message, message.stall_wait)
    }

    fn submit_with(&self, message: &Message<'_>, stall: StallWait) -> Result<Ticket> {
        let waiter = Arc::new(Waiter::default());
        let id = self.shared.accept(message, stall, Some(Arc::clone(&waiter)))?;
        Ok(Ticket { id, waiter, desk: Arc::clone(&self.shared.desk) })
    }

    /// Takes up to `max` reports, waiting up to `timeout` (`None`: without limit) for the first. An empty batch: nothing came.
    ///
    /// # Errors
    /// `InvalidState` when reports go to a callback; `Closed` after close when none is left; `WrongThread`; `Forked`.
    pub fn poll(&self, max: usize, timeout: Option<Duration>) -> Result<Reports> {
        guard()?;
        not_in_callback("poll")?;
        if !self.shared.desk.is_polled() {
            return Err(Error::new(Status::InvalidState, "reports go to the callback; a publisher polls or has a callback, not both"));
        }
        self.shared.desk.poll(max, timeout)
    }

    /// Takes up to `max` events.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn poll_events(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Event>> {
        guard()?;
        not_in_callback("poll_events")?;
        if !self.shared.desk.events_are_polled() {
            return Err(Error::new(Status::InvalidState, "events go to the callback; a publisher polls them or has a callback, not both"));
        }
        self.shared.desk.poll_events(max, timeout)
    }

    /// A descriptor for `poll`, `epoll` and event loops: readable while reports or events wait, or there is room again after a `QueueFull`. Only `poll` and
    /// `poll_events` clear it. `None` when reports go to a callback, and in a forked child. It lives as long as the publisher.
    #[must_use]
    pub fn wake_fd(&self) -> Option<RawFd> {
        if sys::forked() { None } else { self.shared.desk.wake_fd() }
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// `TimedOut` with the last error of the connection; `Failed`, `Closed`; `WrongThread`; `Forked`.
    pub fn wait_connected(&self, timeout: Option<Duration>) -> Result<()> {
        guard()?;
        not_in_callback("wait_connected")?;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let result = self.shared.wait_link(until, |link| match link.state {
            State::Connected => Some(Ok(())),
            State::Failed => Some(Err(link.last_error.clone().unwrap_or_else(|| Error::new(Status::Failed, "the publisher has failed")))),
            State::Closing | State::Closed => Some(Err(Error::new(Status::Closed, "the publisher is closed"))),
            State::Connecting | State::Reconnecting => None,
        });
        result.unwrap_or_else(|| {
            let why = self.shared.last_error().map_or_else(String::new, |error| format!("; last error: {}", error.message()));
            Err(Error::new(Status::TimedOut, format!("no connection yet{why}")))
        })
    }

    /// Changes a topic rule while running: for messages that are published from now on.
    ///
    /// # Errors
    /// `InvalidOption`, naming the key, the value and what is allowed; `Forked`.
    pub fn set_topic(&self, pattern: &str, key: &str, value: &str) -> Result<()> {
        guard()?;
        let _one_at_a_time = self.close.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rules = Rules::clone(&self.shared.rules.load());
        rules.set(pattern, key, value)?;
        rules.check()?;
        let rules = Arc::new(rules);
        self.shared.rules.store(Arc::clone(&rules));
        self.shared.command(Command::Rules(rules));
        Ok(())
    }

    /// Waits until everything accepted before this call is settled and, with a callback, told.
    ///
    /// # Errors
    /// `TimedOut`; `WrongThread` from a callback; `Forked`.
    pub fn flush(&self, timeout: Option<Duration>) -> Result<()> {
        guard()?;
        not_in_callback("flush")?;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let ticket = FlushTicket::new(self.shared.queue.last_id());
        self.shared.command(Command::Flush(Arc::clone(&ticket)));
        let late = || Error::new(Status::TimedOut, format!("{} messages are still pending", self.pending()));
        let told = if self.shared.link().io_gone { self.shared.desk.pushed() } else { self.wait_io(&ticket, until).ok_or_else(late)? };
        if !self.shared.desk.is_polled() && !self.shared.desk.wait_delivered(told, until) {
            return Err(Error::new(Status::TimedOut, "the callback has not returned"));
        }
        Ok(())
    }

    /// Waits for the I/O thread's answer, or its end, which settles everything.
    fn wait_io(&self, ticket: &FlushTicket, until: Option<Instant>) -> Option<u64> {
        loop {
            let slice = Instant::now() + Duration::from_millis(200);
            let now_until = until.map_or(slice, |u| u.min(slice));
            if let Some(result) = ticket.wait(Some(now_until)) {
                return Some(result);
            }
            if self.shared.link().io_gone {
                return Some(self.shared.desk.pushed());
            }
            if until.is_some_and(|u| Instant::now() >= u) {
                return None;
            }
        }
    }

    /// Removes pending messages; each is reported as `Purged`. Returns how many.
    ///
    /// # Errors
    /// `InvalidArgument` if nothing is chosen; `WrongThread`, `Closed`, `Forked`.
    pub fn purge(&self, what: Purge) -> Result<u64> {
        guard()?;
        not_in_callback("purge")?;
        if !what.unsent && !what.in_flight {
            return Err(Error::new(Status::InvalidArgument, "purge what? choose unsent, in_flight or both"));
        }
        let ticket = FlushTicket::new(0);
        self.shared.command(Command::Purge { what, ticket: Arc::clone(&ticket) });
        let gone = self.shared.link().io_gone;
        if gone {
            return Err(Error::new(Status::Closed, "the publisher is closed"));
        }
        self.wait_io(&ticket, None).ok_or_else(|| Error::new(Status::Closed, "the publisher is closed"))
    }

    /// Closes: no more publishes, waits up to `timeout` (`None`: `close_timeout_ms`) for acks, settles the rest, delivers all reports, and joins.
    ///
    /// # Errors
    /// `CallbackBusy`: a callback has not returned one second after the time; call again. `WrongThread` from a callback; `Forked`.
    pub fn close(&self, timeout: Option<Duration>) -> Result<()> {
        guard()?;
        not_in_callback("close")?;
        let timeout = timeout.unwrap_or(self.shared.settings.close_timeout);
        self.shared.window.shut(Error::new(Status::Closed, "the publisher is closed"));
        {
            let mut link = self.shared.link();
            if !matches!(link.state, State::Failed | State::Closed) {
                link.state = State::Closing;
            }
        }
        self.shared.command(Command::Close { timeout: nanos(timeout) });
        // What is ours ends at the timeout; a second more for a callback that is about to return.
        let grace = Duration::from_secs(1);
        let until = Instant::now().checked_add(timeout.saturating_add(grace));
        let busy = || Error::new(Status::CallbackBusy, "a callback has not returned; what is left will be reported when it does. Call close again");
        let ended = self.shared.wait_link(until, |link| link.io_gone.then_some(()));
        let until = until.unwrap_or_else(|| Instant::now() + grace).max(Instant::now() + Duration::from_millis(1));
        if ended.is_none() || !self.shared.desk.wait_gone(until) {
            return Err(busy());
        }
        let mut told = self.close.lock().unwrap_or_else(PoisonError::into_inner);
        *told = true;
        Ok(())
    }

    /// Messages accepted and not yet settled.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let stats = &self.shared.counters;
        let settled = stats.published.get() + stats.publish_errors.get() + stats.ephemeral.get() + stats.ephemeral_dropped.get();
        self.shared.queue.last_id().saturating_sub(settled)
    }

    /// Bytes that pending messages and unread reports take in the window.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.shared.window.usage().1
    }

    /// The statistics of this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// How the publisher stands.
    #[must_use]
    pub fn info(&self) -> Info {
        let link = self.shared.link();
        Info {
            state: link.state,
            server: link.server.clone(),
            server_version: link.version.clone(),
            max_payload: self.shared.max_payload.load(Ordering::Relaxed),
            last_error: link.last_error.clone(),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if sys::forked() || *self.close.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let close = move || {
            let publisher = std::mem::ManuallyDrop::new(Publisher { shared, close: Mutex::new(false) });
            if publisher.close(None).is_err() {
                trace::scoped(|| tracing::warn!(target: "ackbus", "a publisher was dropped while a callback was running; its last reports come when that returns"));
            }
        };
        if in_callback() {
            // T2: a callback cannot wait for itself.
            let _ = sys::spawn("ackbus-close", sys::block_all_signals_but_synchronous, close);
        } else {
            close();
        }
    }
}

/// P8: one relaxed load.
fn guard() -> Result<()> {
    if sys::forked() {
        return Err(Error::new(Status::Forked, "this process was forked after ackbus had connected; connect in the child before anything else connects in the parent, or use spawn"));
    }
    Ok(())
}
