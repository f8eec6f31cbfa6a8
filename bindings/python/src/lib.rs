//! The native half of the Python package `ackbus`: the core's publisher as a class.
//!
//! Idiom only: every decision is the core's. Two rules hold everywhere. Nothing waits with the interpreter attached ([`waiting`], T4). Python objects are
//! touched by the caller's thread and by the core's report and log threads, which attach once per batch, never by the I/O thread (T33).

mod arguments;
mod errors;
mod events;
mod logging;
mod outcome;
mod publisher;
mod sink;
mod tags;
mod waiting;

use pyo3::prelude::*;

/// Names and numbers that the package's own tables are compared with.
#[pymodule(gil_used = false)]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::events::Event;
    #[pymodule_export]
    use super::logging::{flush_log, set_log};
    #[pymodule_export]
    use super::outcome::{Ack, Report};
    #[pymodule_export]
    use super::publisher::{Publisher, join_abandoned};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", ackbus::version_string())?;
        module.add("METRICS_CONTENT_TYPE", ackbus::METRICS_CONTENT_TYPE)
    }

    /// The figures of these publishers as one OpenMetrics text.
    #[pyfunction]
    fn metrics(py: Python<'_>, publishers: Vec<PyRef<'_, Publisher>>) -> String {
        let buses: Vec<_> = publishers.iter().map(|publisher| publisher.bus()).collect();
        py.detach(|| ackbus::metrics(&buses.iter().map(|bus| &**bus).collect::<Vec<_>>()))
    }

    /// Whether this process was forked from one that had connected (P8).
    #[pyfunction]
    fn forked() -> bool {
        ackbus::forked()
    }

    /// Whether this thread is inside a callback.
    #[pyfunction]
    fn in_callback() -> bool {
        ackbus::in_callback()
    }

    /// Every status: name, number, text.
    #[pyfunction]
    fn statuses() -> Vec<(&'static str, i32, &'static str)> {
        ackbus::Status::ALL.iter().map(|&status| (status.name(), status as i32, status.text())).collect()
    }

    /// Every kind of event: name, number.
    #[pyfunction]
    fn event_kinds() -> Vec<(&'static str, i32)> {
        ackbus::EventKind::ALL.iter().map(|&kind| (kind.name(), kind as i32)).collect()
    }

    /// Every figure of the statistics: name, metric, unit, meaning.
    #[pyfunction]
    fn stats_fields() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
        ackbus::Stats::FIELDS.iter().map(|figure| (figure.name, figure.metric, figure.unit, figure.meaning)).collect()
    }

    /// The keys of the options, and those of topic rules.
    #[pyfunction]
    fn option_keys() -> (Vec<&'static str>, Vec<&'static str>) {
        (ackbus::Config::keys().to_vec(), ackbus::Config::topic_keys().to_vec())
    }
}
