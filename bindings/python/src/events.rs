//! Events of a publisher's life as Python objects.

use pyo3::prelude::*;

use crate::outcome::{Enums, member};

/// Something that happened to a publisher, other than to a message.
#[pyclass(frozen, module = "ackbus")]
pub(crate) struct Event {
    inner: ackbus::Event,
}

impl Event {
    pub(crate) fn new(inner: &ackbus::Event) -> Self {
        Event { inner: inner.clone() }
    }
}

#[pymethods]
impl Event {
    /// What happened (:class:`EventKind`).
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        member(py, Enums::EventKind, self.inner.kind as i32)
    }

    /// Why, for kinds that are errors (:class:`Status`); ``Status.OK`` otherwise.
    #[getter]
    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        member(py, Enums::Status, self.inner.status as i32)
    }

    /// When, in seconds since the Unix epoch.
    #[getter]
    fn time(&self) -> f64 {
        self.inner.time_unix_ns as f64 / 1e9
    }

    /// A number whose meaning the kind says.
    #[getter]
    fn value(&self) -> u64 {
        self.inner.value
    }

    /// The server, never with credentials.
    #[getter]
    fn server(&self) -> &str {
        &self.inner.server
    }

    /// The topic, or the pattern of the rule; empty if it is about neither.
    #[getter]
    fn topic(&self) -> &str {
        &self.inner.topic
    }

    /// What happened, in words.
    #[getter]
    fn text(&self) -> &str {
        &self.inner.text
    }

    fn __repr__(&self) -> String {
        format!("<ackbus.Event {}: {}>", self.inner.kind.name(), self.inner.text)
    }
}
