//! Where the core's reports become Python: futures are resolved, handlers are called, and nobody's exception costs another message its outcome.

use std::sync::Arc;

use ackbus::{Persistence, REPORT_EPHEMERAL, Sink, Status};
use pyo3::intern;
use pyo3::prelude::*;

use crate::events::Event;
use crate::outcome::{Ack, Report};
use crate::tags::Tags;

/// The handlers of one publisher.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) on_report: Option<Py<PyAny>>,
    pub(crate) on_error: Option<Py<PyAny>>,
    pub(crate) tags: Arc<Tags>,
    pub(crate) wanted: Wanted,
}

/// The option `report`. The core reports every message that has luggage, so that it is claimed; whether a handler hears of it is decided here once more.
#[derive(Clone, Copy, Default)]
pub(crate) enum Wanted {
    #[default]
    Failures,
    All,
    None,
}

impl Wanted {
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "all" => Wanted::All,
            "none" => Wanted::None,
            _ => Wanted::Failures,
        }
    }

    fn wants(self, report: &ackbus::Report<'_>) -> bool {
        match self {
            Wanted::None => false,
            _ if report.flags() & REPORT_EPHEMERAL != 0 => false,
            Wanted::All => true,
            Wanted::Failures => report.persistence() != Persistence::Persisted,
        }
    }
}

impl Sink for Outcomes {
    /// On the report thread: attaches once for the batch. Without an interpreter (T7) nobody is left to tell.
    fn reports(&self, reports: &[ackbus::Report<'_>]) {
        let _ = Python::try_attach(|py| self.tell(py, reports.iter().copied()));
    }
}

impl Outcomes {
    pub(crate) fn tell<'r>(&self, py: Python<'_>, reports: impl Iterator<Item = ackbus::Report<'r>>) {
        let mut unheard = Unheard::default();
        for report in reports {
            if let Err(error) = self.tell_one(py, &report, &mut unheard) {
                error.write_unraisable(py, None);
            }
        }
        unheard.log(py);
    }

    fn tell_one(&self, py: Python<'_>, report: &ackbus::Report<'_>, unheard: &mut Unheard) -> PyResult<()> {
        let luggage = self.tags.claim(report.tag());
        if let Some(future) = luggage.future {
            let future = future.into_bound(py);
            // A cancelled future does not want it: the report goes the usual way.
            if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
                return match Ack::of(py, report)? {
                    Ok(ack) => future.call_method1(intern!(py, "set_result"), (ack,)),
                    Err(exception) => future.call_method1(intern!(py, "set_exception"), (exception,)),
                }
                .map(drop);
            }
        }
        if report.tag() != 0 && !luggage.report_always && !self.wanted.wants(report) {
            return Ok(());
        }
        let failed = report.status() != Status::Ok;
        let handler = if failed { self.on_error.as_ref().or(self.on_report.as_ref()) } else { self.on_report.as_ref() };
        match handler {
            Some(handler) => {
                if let Err(error) = handler.call1(py, (Report::new(report, luggage.tag),)) {
                    error.write_unraisable(py, Some(handler.bind(py)));
                }
            }
            None if failed => unheard.note(report),
            None => {}
        }
        Ok(())
    }
}

/// Failures that nobody handles: one record for a batch of them, since nothing is lost silently.
#[derive(Default)]
struct Unheard {
    count: usize,
    first: String,
}

impl Unheard {
    fn note(&mut self, report: &ackbus::Report<'_>) {
        self.count += 1;
        if self.count == 1 {
            self.first = format!("message {} to {:?}: {}: {}", report.id(), report.topic(), report.status().name(), report.text());
        }
    }

    fn log(self, py: Python<'_>) {
        if self.count == 0 {
            return;
        }
        let logged = py.import("ackbus._logging").and_then(|module| module.call_method1("unhandled", (self.count, self.first)));
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
    }
}

/// Lifecycle events on the report thread; without a handler they are taken and dropped, so that none counts as missed.
pub(crate) struct Events(pub(crate) Option<Py<PyAny>>);

impl Sink for Events {
    fn event(&self, event: &ackbus::Event) {
        let Some(handler) = &self.0 else { return };
        let _ = Python::try_attach(|py| {
            if let Err(error) = handler.call1(py, (Event::new(event),)) {
                error.write_unraisable(py, Some(handler.bind(py)));
            }
        });
    }
}
