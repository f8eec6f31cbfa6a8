//! The one way to wait: detached from the interpreter, ten times a second asking for signals (T4, T27).

use std::cell::RefCell;

use ackbus::{Error, Status};
use pyo3::prelude::*;

use crate::errors;

thread_local! {
    /// What a signal handler raised, on its way from the wait to the caller.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs `call` without the interpreter. A signal handler that raises, as that of Ctrl-C does, ends the wait with its exception.
pub(crate) fn waiting<T: Send>(py: Python<'_>, call: impl FnOnce() -> Result<T, Error> + Send) -> PyResult<T> {
    py.detach(|| ackbus::interruptible(signal_raised, call)).map_err(|error| {
        let raised = if error.status() == Status::Interrupted { RAISED.take() } else { None };
        raised.unwrap_or_else(|| errors::raise(py, &error))
    })
}

fn signal_raised() -> bool {
    Python::try_attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(raised) => {
            RAISED.set(Some(raised));
            true
        }
    })
    .unwrap_or(false)
}
