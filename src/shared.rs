//! Shared: what all threads of a publisher have in common, and the way of a message from the call to its place in line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::admission::{Patience, Request, Window};
use crate::config::{OnDisconnect, OnFull, Settings};
use crate::dispatch::{Desk, Handlers};
use crate::error::{Error, Result, Status};
use crate::events::{Event, EventKind, EventQueue};
use crate::ledger::SendQueue;
use crate::message::{Message, StallWait};
use crate::report::Waiter;
use crate::stats::{Counters, Given, Stats};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::topic::{Mode, Rules};
use crate::trace::Level;
use crate::wait::{self, Over};
use crate::wire::nats::frame::Encoder;
use crate::wire::{Nanos, nanos};

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

    pub(crate) fn wait(&self, until: Option<Instant>) -> Result<u64, Over> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = *result {
                return Ok(result);
            }
            result = wait::once(&self.result, &self.changed, result, until).map_err(|(_, over)| over)?;
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

/// How the connection stands.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) state: State,
    server: String,
    version: String,
    pub(crate) last_error: Option<Error>,
    /// The I/O thread has left.
    pub(crate) io_gone: bool,
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
        if self.io_is_gone() {
            // Nobody would take it away (P9).
            return;
        }
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.commanded.store(true, Ordering::Release);
        self.queue.wake();
    }

    pub(crate) fn take_commands(&self, into: &mut Vec<Command>) {
        if self.commanded.swap(false, Ordering::AcqRel) {
            into.append(&mut self.commands.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// State and event at once: whoever waits for the connection finds its event, and whoever gets the event finds the connection.
    pub(crate) fn connected(&self, server: &str, version: &str, max_payload: u64, event: Event) {
        self.set_max_payload(max_payload);
        self.offline.store(false, Ordering::Relaxed);
        if event.kind == EventKind::Reconnected {
            self.counters.reconnects.bump(1);
        }
        let mut link = self.link();
        if matches!(link.state, State::Connecting | State::Reconnecting) {
            link.state = State::Connected;
        }
        server.clone_into(&mut link.server);
        version.clone_into(&mut link.version);
        self.desk.event(event);
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
        let why =
            Error::new(Status::Failed, format!("the publisher has failed: {}: {}", error.status(), error.message())).with_server_code(error.server_code());
        self.window.shut_anew(why.into_fatal());
        let mut link = self.link();
        link.state = State::Failed;
        link.last_error = Some(error.clone());
        self.link_changed.notify_all();
    }

    /// `close` was called.
    pub(crate) fn begin_closing(&self) {
        let mut link = self.link();
        if !matches!(link.state, State::Failed | State::Closed) {
            link.state = State::Closing;
        }
    }

    pub(crate) fn io_is_gone(&self) -> bool {
        self.link().io_gone
    }

    pub(crate) fn info(&self) -> Info {
        let link = self.link();
        Info {
            state: link.state,
            server: link.server.clone(),
            server_version: link.version.clone(),
            max_payload: self.max_payload.load(Ordering::Relaxed),
            last_error: link.last_error.clone(),
        }
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

    /// Waits until `ready` finds what it looks for in the connection's state.
    pub(crate) fn wait_link<T>(&self, until: Option<Instant>, mut ready: impl FnMut(&Link) -> Option<T>) -> Result<T, Over> {
        let mut link = self.link();
        loop {
            if let Some(result) = ready(&link) {
                return Ok(result);
            }
            link = wait::once(&self.link, &self.link_changed, link, until).map_err(|(_, over)| over)?;
        }
    }

    /// The whole way of a message from the call to its place in line.
    pub(crate) fn accept(&self, message: &Message<'_>, patience: Patience, waiter: Option<Arc<Waiter>>) -> Result<u64> {
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
        let stuck = |used: usize| self.desk.stuck_since(used);
        let stuck: Option<&dyn Fn(usize) -> Option<Instant>> = if self.desk.is_polled() { Some(&stuck) } else { None };
        let mut slot = match self.window.enter(request, patience, stuck) {
            Ok(slot) => slot,
            Err(error) if patience == Patience::Try => return Err(error),
            Err(error) => return Err(self.refuse(error)),
        };
        self.encoder.encode(&mut slot, message, plan, ephemeral);
        slot.tag = message.tag;
        slot.ephemeral = ephemeral;
        slot.report_always = message.report_always;
        slot.marked = message.mark;
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

    pub(crate) fn patience(&self, stall: StallWait) -> Patience {
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
        self.counters.pending_max.raise_to(self.window.high_water());
        self.counters.wakeups.raise_to(self.queue.wakeups.get());
        let mut stats = self.counters.snapshot(Given { accepted: 0, pending: 0, pending_bytes: bytes, events_dropped: self.events.dropped() });
        // What is accepted is read after what is settled: `pending` is never too small, and the figures add up.
        stats.accepted = self.queue.last_id().saturating_sub(ephemeral);
        stats.pending = stats.accepted.saturating_sub(stats.published + stats.publish_errors);
        stats
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
