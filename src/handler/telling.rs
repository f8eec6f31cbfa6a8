//! Telling: what operators hear: events, the log, and how many messages are pending.

use std::sync::Arc;

use super::Handler;
use super::monitor::Note;
use super::orders::News;
use crate::base::error::{Error, Status};
use crate::base::level::Level;
use crate::base::time::Nanos;
use crate::desk::events::{Event, EventKind};

impl Handler {
    pub(super) fn event(&mut self, kind: EventKind, status: Status, value: u64, topic: &str, text: impl Into<String>) {
        self.tell(News { kind, status, value, topic: topic.to_owned(), text: text.into() });
    }

    pub(super) fn tell(&self, news: News) {
        self.here.shared().desk.event(self.logged(news));
    }

    /// Logs the event and leaves telling it to the caller.
    pub(super) fn logged(&self, news: News) -> Event {
        let News { kind, status, value, topic, mut text } = news;
        let shared = self.here.shared();
        let lanes = shared.lanes.len();
        if lanes > 1 {
            text = format!("connection {} of {lanes}: {text}", self.here.lane().index + 1);
        }
        let level = match kind {
            EventKind::Disconnected | EventKind::GateHeld | EventKind::StreamDiffers | EventKind::StreamRisk | EventKind::Denied | EventKind::PendingHigh => {
                Level::Warn
            }
            EventKind::Failed | EventKind::AuthFailed | EventKind::Quarantined => Level::Error,
            _ => Level::Info,
        };
        shared.log(level, || format!("{}: {text}", kind.name()));
        Event { kind, status, time_unix_ns: shared.clock.unix_nanos(), value, server: self.here.server().to_owned(), topic, text }
    }

    pub(super) fn watch(&mut self) -> Nanos {
        if self.here.now() < self.monitor.next() {
            return self.monitor.next();
        }
        let shared = Arc::clone(self.here.shared());
        let pending = shared.pending();
        match self.monitor.look(self.here.now(), pending) {
            None => {}
            Some(Note::Log) => {
                let acked: u64 = shared.lanes.iter().map(|lane| lane.counters.published.get()).sum();
                shared.log(Level::Info, || format!("{pending} messages are pending, {acked} were acknowledged"));
            }
            Some(Note::High) => {
                let text = format!("{pending} messages are pending (pending_warn is {})", shared.settings.pending_warn);
                self.event(EventKind::PendingHigh, Status::Ok, pending, "", text);
            }
            Some(Note::Normal) => self.event(EventKind::PendingNormal, Status::Ok, pending, "", format!("{pending} messages are pending")),
        }
        self.monitor.next()
    }

    /// The machine's clock jumped by so many seconds.
    pub(crate) fn clock_jumped(&mut self, seconds: u64) {
        self.event(EventKind::ClockJump, Status::Ok, seconds, "", format!("the clock jumped by {seconds} s: the machine slept, or the time was set"));
    }

    /// A try to connect failed.
    pub(crate) fn attempt_failed(&mut self, server: &str, error: &Error) {
        self.here.shared().not_connected(error);
        let kind = if error.status() == Status::AuthFailed { EventKind::AuthFailed } else { EventKind::ConnectFailed };
        self.here.set_server(server);
        self.event(kind, error.status(), u64::from(error.server_code()), "", error.message());
    }
}
