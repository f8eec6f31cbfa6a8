//! From the core's errors to the package's exceptions. Which class a status has is decided in `ackbus/_errors.py`.

use ackbus::{Error, Persistence, Report, Status};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The exception for a call that failed.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error.status(), error.message(), None, error.server_code(), error.is_retriable(), error.is_fatal())
        .map_or_else(|failure| failure, |exception| PyErr::from_value(exception.into_bound(py)))
}

/// The exception for a message that was not persisted.
pub(crate) fn of_report(py: Python<'_>, report: &Report<'_>) -> PyResult<Py<PyAny>> {
    outcome(py, report.status(), report.text(), report.persistence(), report.server_code())
}

/// The same from its parts. A message that is proven not stored may be sent again without a second copy.
pub(crate) fn outcome(py: Python<'_>, status: Status, text: &str, persistence: Persistence, server_code: u32) -> PyResult<Py<PyAny>> {
    let retriable = persistence == Persistence::NotPersisted;
    exception(py, status, text, Some(persistence), server_code, retriable, false)
}

fn exception(
    py: Python<'_>,
    status: Status,
    text: &str,
    persistence: Option<Persistence>,
    server_code: u32,
    retriable: bool,
    fatal: bool,
) -> PyResult<Py<PyAny>> {
    let make = MAKE.get_or_try_init(py, || py.import("ackbus._errors")?.getattr("_make").map(Bound::unbind))?;
    make.call1(py, (status as i32, text, persistence.map(|p| p as i32), server_code, retriable, fatal))
}

/// For what cannot happen unless the package is damaged.
pub(crate) fn broken(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("ackbus is damaged: {what}"))
}
