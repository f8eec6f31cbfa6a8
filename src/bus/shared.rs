//! Shared: what all threads of a publisher have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::base::error::{Error, Result, Status};
use crate::base::level::Level;
use crate::base::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::base::time::Clock;
use crate::base::wait::{self, Over};
use crate::bus::lane::{Command, Lane, Lanes};
use crate::bus::standing::{Info, State};
use crate::config::settings::Settings;
use crate::config::topic::Rules;
use crate::desk::dispatch::Desk;
use crate::desk::events::{Event, EventKind, EventQueue};
use crate::desk::sink::Handlers;
use crate::stats::{Counters, Given, Stats};
use crate::window::admission::Window;
use crate::wire::framing::Framing;

/// What all threads of a publisher share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    /// When the figures began.
    pub(crate) start_unix_ns: i64,
    pub(crate) window: Arc<Window>,
    pub(crate) lanes: Lanes,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) desk: Arc<Desk>,
    /// The first lane's, which also have what several threads count.
    pub(crate) counters: Arc<Counters>,
    events: EventQueueHandle,
    /// Ephemeral messages accepted: `accepted` counts the persistent ones.
    pub(crate) ephemeral: AtomicU64,
    link: Mutex<Link>,
    link_changed: Condvar,
}

type EventQueueHandle = Arc<EventQueue>;

/// How the connections stand.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) state: State,
    /// The lanes that are connected, by their bits.
    connected: u64,
    /// The lanes whose I/O threads are done.
    done: u64,
    server: String,
    version: String,
    pub(crate) last_error: Option<Error>,
    /// The last I/O thread has left.
    pub(crate) io_gone: bool,
}

impl Shared {
    pub(crate) fn new(settings: Settings, rules: Rules, clock: Clock, random: &[u8; 32], handlers: &Handlers) -> Result<Arc<Self>> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let window = Arc::new(Window::new(serial, settings.max_pending, settings.max_pending_bytes, settings.gate_share));
        let events = Arc::new(EventQueue::new(settings.event_queue));
        let lanes = Lanes::new(settings.lanes(), |lane| Framing::new(&settings, lane, random))?;
        let counters = Arc::clone(&lanes.first().counters);
        let desk = Arc::new(Desk::new(Arc::clone(&window), Arc::clone(&counters), Arc::clone(&events), settings.report, handlers)?);
        if desk.is_polled() {
            let bell: std::sync::Weak<Desk> = Arc::downgrade(&desk);
            window.tell_room_to(bell);
        }
        Ok(Arc::new(Shared {
            start_unix_ns: clock.unix_nanos(),
            clock,
            window,
            lanes,
            rules: Arc::new(ArcSwap::from_pointee(rules)),
            desk,
            counters,
            events,
            ephemeral: AtomicU64::new(0),
            link: Mutex::new(Link {
                state: State::Connecting,
                connected: 0,
                done: 0,
                server: String::new(),
                version: String::new(),
                last_error: None,
                io_gone: false,
            }),
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

    /// State and event at once: whoever waits for the connection finds its event, and whoever gets the event finds the connection.
    pub(crate) fn connected(&self, lane: &Lane, server: &str, version: &str, max_payload: u64, event: Event) {
        lane.set_max_payload(max_payload);
        lane.set_offline(false);
        if event.kind == EventKind::Reconnected {
            lane.counters.reconnects.bump(1);
        }
        let mut link = self.link();
        link.connected |= lane.bit();
        if matches!(link.state, State::Connecting | State::Reconnecting) && link.connected == self.lanes.all() {
            link.state = State::Connected;
        }
        server.clone_into(&mut link.server);
        version.clone_into(&mut link.version);
        self.desk.event(event);
        self.link_changed.notify_all();
    }

    pub(crate) fn disconnected(&self, lane: &Lane, error: &Error) {
        lane.set_offline(true);
        let mut link = self.link();
        link.connected &= !lane.bit();
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

    /// Beyond repair. One lane is enough: its topics would never be sent again, and users must learn that from the publisher, not from a part of their messages.
    /// The other lanes settle what they have. False: it was so already.
    pub(crate) fn fail(&self, error: &Error) -> bool {
        let mut link = self.link();
        if std::mem::replace(&mut link.state, State::Failed) == State::Failed {
            return false;
        }
        link.last_error = Some(error.clone());
        let why =
            Error::new(Status::Failed, format!("the publisher has failed: {}: {}", error.status(), error.message())).with_server_code(error.server_code());
        // Whoever sees the state finds the window shut.
        self.window.shut_anew(why.into_fatal());
        drop(link);
        for lane in self.lanes.iter() {
            lane.command(Command::Fail(error.clone()));
        }
        self.link_changed.notify_all();
        true
    }

    /// `close` was called.
    pub(crate) fn begin_closing(&self) {
        let mut link = self.link();
        if !matches!(link.state, State::Failed | State::Closed) {
            link.state = State::Closing;
        }
    }

    pub(crate) fn info(&self) -> Info {
        let link = self.link();
        Info {
            state: link.state,
            server: link.server.clone(),
            server_version: link.version.clone(),
            max_payload: self.lanes.iter().map(|lane| lane.max_payload()).filter(|&most| most > 0).min().unwrap_or(0),
            last_error: link.last_error.clone(),
        }
    }

    /// A lane has settled everything and will do no more. True: it is the last one.
    pub(crate) fn lane_done(&self, lane: &Lane) -> bool {
        lane.set_gone();
        let mut link = self.link();
        link.done |= lane.bit();
        link.done == self.lanes.all()
    }

    /// The last I/O thread's last word.
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

    /// Messages accepted and not yet settled.
    pub(crate) fn pending(&self) -> u64 {
        let settled: u64 = self.lanes.iter().map(|lane| lane.counters.settled()).sum();
        // What is accepted is read after what is settled, so it is never too small: who waits for 0 waits for the end. Messages that came and went between the two
        // readings count; but more than the window's size was never pending (P3).
        self.accepted().saturating_sub(settled).min(self.settings.max_pending as u64)
    }

    /// Messages accepted so far, ephemeral ones too.
    fn accepted(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.queue.accepted()).sum()
    }

    pub(crate) fn stats(&self) -> Stats {
        let ephemeral = self.ephemeral.load(Ordering::Relaxed);
        let bytes = self.window.usage().1;
        self.counters.pending_max.raise_to(self.window.high_water());
        for lane in self.lanes.iter() {
            lane.counters.wakeups.raise_to(lane.queue.wakeups.get());
        }
        let given = Given { accepted: 0, pending: 0, pending_bytes: bytes, events_dropped: self.events.dropped() };
        let mut stats = Counters::snapshot(self.lanes.iter().map(|lane| &*lane.counters), given);
        // What is accepted is read after what is settled: `pending` is never too small, and the figures add up.
        stats.accepted = self.accepted().saturating_sub(ephemeral);
        stats.pending = stats.accepted.saturating_sub(stats.published + stats.publish_errors);
        stats
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
