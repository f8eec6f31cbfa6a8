//! Log records on their way to Python's `logging` (T6). The core queues them and hands them over on its log thread, so no lock of a handler can stop a publish.

use std::time::Duration;

use ackbus::log::{self, Level};
use pyo3::prelude::*;

use crate::errors;

/// Sends records to `emit(level, target, text)`, or nowhere. Called on the thread `ackbus-log`.
#[pyfunction]
pub(crate) fn set_log(py: Python<'_>, emit: Option<Py<PyAny>>) -> PyResult<()> {
    let done = py.detach(|| match emit {
        None => log::set(Level::Off, None),
        // Each publisher filters by its own log_level before a record is made.
        Some(emit) => log::set(
            Level::Trace,
            Some(Box::new(move |level: Level, target: &str, text: &str| {
                // No interpreter any more: nobody reads the record (T7).
                let _ = Python::try_attach(|py| {
                    if let Err(error) = emit.call1(py, (level as i32, target, text)) {
                        error.write_unraisable(py, None);
                    }
                });
            })),
        ),
    });
    done.map_err(|error| errors::raise(py, &error))
}

/// Waits until every record made so far was emitted; False: the time ran out.
#[pyfunction]
pub(crate) fn flush_log(py: Python<'_>, seconds: f64) -> bool {
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    py.detach(|| log::flush(limit))
}
