//! Sinks: what users give to receive reports and events.

use std::sync::Arc;

use crate::desk::events::Event;
use crate::desk::report::Report;

/// Receives what the bus has to tell. Called on the publisher's report thread, one call at a time, with no lock of ours held (P5).
///
/// From inside, `publish*` works and never waits; every other waiting call returns `WrongThread`. A panic is caught and logged; the reports of that batch count as delivered.
pub trait Sink: Send + Sync + 'static {
    /// Outcomes, at most 256 at a time.
    fn reports(&self, reports: &[Report<'_>]) {
        let _ = reports;
    }
    /// Something happened to the connection or a stream.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

/// Who receives what. Without a handler for reports the caller polls.
#[derive(Clone, Default)]
pub struct Handlers {
    /// Receives reports; `None`: poll mode.
    pub reports: Option<Arc<dyn Sink>>,
    /// Receives events; `None`: `poll_events`.
    pub events: Option<Arc<dyn Sink>>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("reports", &self.reports.is_some()).field("events", &self.events.is_some()).finish()
    }
}
