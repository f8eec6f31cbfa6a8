//! The publisher: what users call. Every call checks, then hands over; decisions are made elsewhere.

mod accept;
mod metrics;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::metrics::{METRICS_CONTENT_TYPE, METRICS_MAX};
use crate::base::calls::guard;
use crate::base::calls::{in_callback, not_in_callback};
use crate::base::error::{Error, Result, Status};
use crate::base::sync::{Mutex, PoisonError};
use crate::base::sys;
use crate::base::time::Clock;
use crate::base::time::nanos;
use crate::base::wait::Over;
use crate::bus::lane::{Command, FlushTicket, Lane};
use crate::bus::shared::Shared;
use crate::bus::standing::{Info, Purge, State};
use crate::config::Config;
use crate::config::topic::Rules;
use crate::desk::events::Event;
use crate::desk::sink::Handlers;
use crate::desk::tickets::{Reports, Ticket};
use crate::ledger::slot::Waiter;
use crate::message::{Message, StallWait};
use crate::stats::Stats;
use crate::trace;
use crate::window::places::Patience;

/// A publisher: one window, one place for all outcomes, any number of publishing threads, and one connection or several (`connections`).
///
/// Every accepted message gets exactly one outcome. All methods take `&self` and may be called from any thread at the same time. Dropping a publisher closes it,
/// waiting up to `close_timeout_ms`.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    close: Mutex<bool>,
}

impl Publisher {
    /// Connects, and returns when the server has accepted every connection: credentials, TLS, the inbox. With `retry_on_connect` it returns at once and goes on trying.
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
            return Err(error.without_publisher());
        }
        Ok(publisher)
    }

    /// Publishes a message. Returns its id at once while there is room, else waits as `on_full` and `stall_wait_ms` say. The payload is copied. Ids are counted
    /// from 1; with several `connections` they grow for each topic, with gaps.
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
        self.shared.accept(message, self.shared.patience(message.stall_wait), None)
    }

    /// Publishes a message if there is room for it now; `None`: there is not. For callers that wait in a way of their own: an event loop, an interpreter that
    /// must let go of a lock first. A full window is not counted as `queue_full`; in poll mode the wake descriptor tells of room.
    ///
    /// # Errors
    /// As [`publish_message`](Self::publish_message), but never `QueueFull`.
    pub fn try_publish(&self, message: &Message<'_>) -> Result<Option<u64>> {
        Ok(self.try_publish_or_held(message)?.ok())
    }

    /// The same for callers with waiting lines of their own. The inner error is what stands in the way, as [`Error::held_by`] tells it.
    ///
    /// # Errors
    /// As [`try_publish`](Self::try_publish).
    pub fn try_publish_or_held(&self, message: &Message<'_>) -> Result<Result<u64, u64>> {
        guard()?;
        match self.shared.accept(message, Patience::Try, None) {
            Ok(id) => Ok(Ok(id)),
            Err(error) if error.status() == Status::QueueFull => Ok(Err(error.held_by())),
            Err(error) => Err(error),
        }
    }

    /// Publishes a series. Accepts a prefix of it, telling the id of each message; waits as the window frees, up to the stall time in all.
    ///
    /// # Errors
    /// That of the first message that was not accepted.
    pub fn publish_batch<'m>(&self, messages: impl IntoIterator<Item = Result<Message<'m>>>, accepted: impl FnMut(u64)) -> Result<()> {
        guard()?;
        self.shared.accept_all(messages, accepted)
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
        let id = self.shared.accept(message, self.shared.patience(stall), Some(Arc::clone(&waiter)))?;
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
        Reports::poll(&self.shared.desk, max, timeout)
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

    /// A descriptor for `poll`, `epoll` and event loops: readable while reports or events wait, or there is room again after a `QueueFull`: as soon as a publish
    /// that got it would be let in, and once until it is tried and refused again. Only `poll` and `poll_events` clear it. `None` when reports go to a callback, and in a forked child. It lives as long as the publisher.
    #[must_use]
    pub fn wake_fd(&self) -> Option<RawFd> {
        if sys::forked() { None } else { self.shared.desk.wake_fd() }
    }

    /// Waits until every connection stands.
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
        let late = || {
            let why = self.shared.last_error().map_or_else(String::new, |error| format!("; last error: {}", error.message()));
            Error::new(Status::TimedOut, format!("no connection yet{why}"))
        };
        result.unwrap_or_else(|over| Err(over.error(late)))
    }

    /// Changes a topic rule while running: for messages that are published from now on. A rule keeps its stream once it has one.
    ///
    /// # Errors
    /// `InvalidOption`, naming the key, the value and what is allowed; `Forked`.
    pub fn set_topic(&self, pattern: &str, key: &str, value: &str) -> Result<()> {
        guard()?;
        let _one_at_a_time = self.close.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rules = Rules::clone(&self.shared.rules.load());
        let stream_before = rules.iter().find(|rule| rule.pattern == pattern).and_then(|rule| rule.stream.clone());
        rules.set(pattern, key, value)?;
        rules.check()?;
        if let Some(before) = stream_before
            && rules.iter().any(|rule| rule.pattern == pattern && rule.stream.as_ref() != Some(&before))
        {
            // Messages accepted under the rule await acks of that stream.
            let text = format!(
                "topic {pattern:?}: stream: {value:?} is not allowed: a running rule keeps its stream ({before:?}); use a rule with a more specific pattern"
            );
            return Err(Error::new(Status::InvalidOption, text));
        }
        let rules = Arc::new(rules);
        self.shared.rules.store(Arc::clone(&rules));
        for lane in self.shared.lanes.iter() {
            lane.command(Command::Rules(Arc::clone(&rules)));
        }
        self.shared.window.rules_changed();
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
        // First all are asked: what is accepted later must not keep this call waiting.
        let tickets = self.ask_lanes(|lane| FlushTicket::new(lane.queue.last_id()), Command::Flush);
        let mut told = 0;
        for (lane, ticket) in self.shared.lanes.iter().zip(&tickets) {
            let late = || Error::new(Status::TimedOut, format!("{} messages are still pending{}", self.pending(), self.shared.desk.standing()));
            told = self.wait_lane(lane, ticket, until).map_err(|over| over.error(late))?.unwrap_or_else(|| self.shared.desk.pushed()).max(told);
        }
        if self.shared.desk.is_polled() {
            return Ok(());
        }
        let late = || Error::new(Status::TimedOut, "the callback has not returned");
        self.shared.desk.wait_delivered(told, until).map_err(|over| over.error(late))
    }

    /// Asks every lane the same.
    fn ask_lanes(&self, ticket: impl Fn(&Lane) -> Arc<FlushTicket>, command: impl Fn(Arc<FlushTicket>) -> Command) -> Vec<Arc<FlushTicket>> {
        let ask = |lane: &Arc<Lane>| {
            let ticket = ticket(lane);
            lane.command(command(Arc::clone(&ticket)));
            ticket
        };
        self.shared.lanes.iter().map(ask).collect()
    }

    /// Waits for the answer of a lane's I/O thread. `None`: it has ended, and so settled everything.
    fn wait_lane(&self, lane: &Lane, ticket: &FlushTicket, until: Option<Instant>) -> Result<Option<u64>, Over> {
        if lane.is_gone() {
            return Ok(None);
        }
        loop {
            let slice = Instant::now() + Duration::from_millis(200);
            let now_until = until.map_or(slice, |u| u.min(slice));
            match ticket.wait(Some(now_until)) {
                Err(Over::TimeUp) => {}
                done_or_interrupted => return done_or_interrupted.map(Some),
            }
            if lane.is_gone() {
                return Ok(None);
            }
            if until.is_some_and(|u| Instant::now() >= u) {
                return Err(Over::TimeUp);
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
        let closed = || Error::new(Status::Closed, "the publisher is closed");
        let tickets = self.ask_lanes(|_| FlushTicket::new(0), |ticket| Command::Purge { what, ticket });
        let mut purged = None;
        for (lane, ticket) in self.shared.lanes.iter().zip(&tickets) {
            if let Some(count) = self.wait_lane(lane, ticket, None).map_err(|over| over.error(closed))? {
                *purged.get_or_insert(0) += count;
            }
        }
        purged.ok_or_else(closed)
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
        self.shared.begin_closing();
        for lane in self.shared.lanes.iter() {
            lane.command(Command::Close { timeout: nanos(timeout) });
        }
        // What is ours ends at the timeout; a second more for a callback that is about to return.
        let grace = Duration::from_secs(1);
        let until = Instant::now().checked_add(timeout.saturating_add(grace));
        let busy = || Error::new(Status::CallbackBusy, "a callback has not returned; what is left will be reported when it does. Call close again");
        self.shared.wait_link(until, |link| link.io_gone.then_some(())).map_err(|over| over.error(busy))?;
        let until = until.unwrap_or_else(|| Instant::now() + grace).max(Instant::now() + Duration::from_millis(1));
        self.shared.desk.wait_gone(until).map_err(|over| over.error(busy))?;
        let mut told = self.close.lock().unwrap_or_else(PoisonError::into_inner);
        *told = true;
        Ok(())
    }

    /// Messages accepted and not yet settled.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.shared.pending()
    }

    /// Bytes that pending messages and unread reports take in the window.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.shared.window.usage().1
    }

    /// The statistics of this moment; all zero in a forked child.
    #[must_use]
    pub fn stats(&self) -> Stats {
        // A lock may be held for ever there (P8).
        if sys::forked() { Stats::default() } else { self.shared.stats() }
    }

    /// The figures of this moment as OpenMetrics 1.0 text: those of [`stats`](Self::stats), failures by status, latencies as a histogram, limits, state and server.
    /// Every sample has the label `publisher`, which is the option `name`; the text ends with `# EOF` and is at most [`METRICS_MAX`](crate::METRICS_MAX) bytes
    /// long. `docs/STATISTICS.md` lists all metrics. To serve it over HTTP is the program's part, with
    /// [`METRICS_CONTENT_TYPE`](crate::METRICS_CONTENT_TYPE); for several publishers use [`metrics`](crate::metrics), since no metric may be described twice.
    ///
    /// Any thread at any time, also after close; it never waits. In a forked child there is nothing but the end (P8).
    #[must_use]
    pub fn metrics(&self) -> String {
        metrics(&[self])
    }

    /// How the publisher stands; in a forked child: failed, with `Forked` as its last error.
    #[must_use]
    pub fn info(&self) -> Info {
        match guard() {
            Ok(()) => self.shared.info(),
            Err(error) => Info { state: State::Failed, server: String::new(), server_version: String::new(), max_payload: 0, last_error: Some(error) },
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
            // Marked as closed, so that its own drop does nothing but let go of what is shared.
            let publisher = Publisher { shared, close: Mutex::new(true) };
            if publisher.close(None).is_err() {
                trace::scoped(
                    || tracing::warn!(target: "ackbus", "a publisher was dropped while a callback was running; its last reports come when that returns"),
                );
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

/// The figures of these publishers as one OpenMetrics text, which ends with `# EOF`: [`Publisher::metrics`] for several.
///
/// Each sample has a label `publisher` with the option `name`. Where several have the same name, the second in the list is called `name#2`, and so on: give each
/// a name, or the same list each time. A publisher that is listed twice is told once. In a forked child the text is empty but for its end (P8).
#[must_use]
pub fn metrics(publishers: &[&Publisher]) -> String {
    let buses: Vec<&Arc<Shared>> = publishers.iter().map(|publisher| &publisher.shared).collect();
    metrics::text(&buses)
}

#[cfg(test)]
mod process_tests;
