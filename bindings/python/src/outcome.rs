//! Outcomes as Python objects: the short [`Ack`] of who waited, the full [`Report`] of who handles.

use std::ops::Range;

use ackbus::{Persistence, REPORT_DUPLICATE, REPORT_EPHEMERAL, Status};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};

use crate::errors;

/// The package's enumerations that outcomes and events use.
#[derive(Clone, Copy)]
pub(crate) enum Enums {
    Status,
    Persistence,
    EventKind,
}

/// The member with this number. Looked up in a dict: calling an `IntEnum` costs a microsecond.
pub(crate) fn member(py: Python<'_>, of: Enums, code: i32) -> PyResult<Py<PyAny>> {
    static MEMBERS: [PyOnceLock<Py<PyDict>>; 3] = [PyOnceLock::new(), PyOnceLock::new(), PyOnceLock::new()];
    let name = ["STATUSES", "PERSISTENCES", "EVENT_KINDS"][of as usize];
    let members = MEMBERS[of as usize].get_or_try_init(py, || Ok::<_, PyErr>(py.import("ackbus._enums")?.getattr(name)?.cast_into::<PyDict>()?.unbind()))?;
    members.bind(py).get_item(code)?.map(Bound::unbind).ok_or_else(|| errors::broken("an enumeration has no such member"))
}

/// The acknowledgement of one message.
#[pyclass(frozen, eq, module = "ackbus")]
#[derive(PartialEq)]
pub(crate) struct Ack {
    /// The id that the bus gave the message.
    #[pyo3(get)]
    id: u64,
    /// The message's sequence in its stream; 0 for an ephemeral topic.
    #[pyo3(get)]
    seq: u64,
    /// The stream that stored it; empty for an ephemeral topic.
    #[pyo3(get)]
    stream: String,
    /// The JetStream domain of that stream, as the server named it; empty if it named none.
    #[pyo3(get)]
    domain: String,
    flags: u32,
    /// How many times it was sent.
    #[pyo3(get)]
    attempts: u32,
    latency_ns: u64,
}

impl Ack {
    /// The acknowledgement, or the exception that says why there is none.
    pub(crate) fn of(py: Python<'_>, report: &ackbus::Report<'_>) -> PyResult<Result<Ack, Py<PyAny>>> {
        if report.status() != Status::Ok {
            return errors::of_report(py, report).map(Err);
        }
        Ok(Ok(Ack {
            id: report.id(),
            seq: report.stream_seq(),
            stream: report.stream().to_owned(),
            domain: report.domain().to_owned(),
            flags: report.flags(),
            attempts: report.attempts(),
            latency_ns: report.latency_ns(),
        }))
    }
}

#[pymethods]
impl Ack {
    /// Whether the stream had a message with this Msg-Id already, though no earlier attempt of this one can have been stored.
    #[getter]
    fn duplicate(&self) -> bool {
        self.flags & REPORT_DUPLICATE != 0
    }

    /// Whether the topic is ephemeral: written, never acknowledged.
    #[getter]
    fn ephemeral(&self) -> bool {
        self.flags & REPORT_EPHEMERAL != 0
    }

    /// From acceptance to acknowledgement, in seconds.
    #[getter]
    fn latency(&self) -> f64 {
        self.latency_ns as f64 / 1e9
    }

    fn __repr__(&self) -> String {
        let duplicate = if self.duplicate() { " duplicate" } else { "" };
        if self.ephemeral() { format!("<ackbus.Ack id={} ephemeral>", self.id) } else { format!("<ackbus.Ack {}:{}{duplicate}>", self.stream, self.seq) }
    }
}

/// The outcome of one message, with the message itself.
#[pyclass(frozen, module = "ackbus")]
pub(crate) struct Report {
    /// The id that ``publish`` returned.
    #[pyo3(get)]
    id: u64,
    /// The object that was given as ``tag``, or None.
    #[pyo3(get)]
    tag: Option<Py<PyAny>>,
    /// The message's sequence in its stream; 0 unless persisted.
    #[pyo3(get)]
    seq: u64,
    status: Status,
    persistence: Persistence,
    flags: u32,
    /// JetStream's ``err_code``, or the status of a reply without a body (503); 0 when there was none.
    #[pyo3(get)]
    server_code: u32,
    /// How many times the message was sent; 0: it never left the process.
    #[pyo3(get)]
    attempts: u32,
    latency_ns: u64,
    /// Topic, payload, Msg-Id, stream, text and domain behind each other: one allocation, and the slot is free when the handler returns, whatever it keeps.
    bytes: Box<[u8]>,
    ends: [usize; 6],
}

impl Report {
    pub(crate) fn new(report: &ackbus::Report<'_>, tag: Option<Py<PyAny>>) -> Self {
        let texts = [report.topic(), report.msg_id(), report.stream(), report.text(), report.domain()];
        let [topic, msg_id, stream, text, domain] = texts.map(str::as_bytes);
        let parts = [topic, report.payload(), msg_id, stream, text, domain];
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            bytes.extend_from_slice(part);
            bytes.len()
        });
        Report {
            id: report.id(),
            tag,
            seq: report.stream_seq(),
            status: report.status(),
            persistence: report.persistence(),
            flags: report.flags(),
            server_code: report.server_code(),
            attempts: report.attempts(),
            latency_ns: report.latency_ns(),
            bytes: bytes.into_boxed_slice(),
            ends,
        }
    }

    fn part(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.bytes.get(Range { start, end: self.ends[index] }).unwrap_or_default()
    }

    fn text_part(&self, index: usize) -> &str {
        std::str::from_utf8(self.part(index)).unwrap_or_default()
    }
}

#[pymethods]
impl Report {
    /// ``Status.OK`` if the message is persisted (or ephemeral and written), else why not.
    #[getter]
    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        member(py, Enums::Status, self.status as i32)
    }

    /// What is known about the stored copy (:class:`Persistence`).
    #[getter]
    fn persistence(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        member(py, Enums::Persistence, self.persistence as i32)
    }

    /// The topic.
    #[getter]
    fn topic(&self) -> &str {
        self.text_part(0)
    }

    /// The payload as it was published, as bytes.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.part(1))
    }

    /// The Msg-Id, the caller's or the automatic one; empty without one.
    #[getter]
    fn msg_id(&self) -> &str {
        self.text_part(2)
    }

    /// The stream that stored the message; empty unless persisted.
    #[getter]
    fn stream(&self) -> &str {
        self.text_part(3)
    }

    /// What happened, in words; empty if all went well.
    #[getter]
    fn text(&self) -> &str {
        self.text_part(4)
    }

    /// The JetStream domain of the stream, as the server named it; empty if it named none, and unless persisted.
    #[getter]
    fn domain(&self) -> &str {
        self.text_part(5)
    }

    /// Whether the stream had a message with this Msg-Id already, though no earlier attempt of this one can have been stored.
    #[getter]
    fn duplicate(&self) -> bool {
        self.flags & REPORT_DUPLICATE != 0
    }

    /// Whether the topic is ephemeral: written, never acknowledged.
    #[getter]
    fn ephemeral(&self) -> bool {
        self.flags & REPORT_EPHEMERAL != 0
    }

    /// From acceptance to outcome, in seconds.
    #[getter]
    fn latency(&self) -> f64 {
        self.latency_ns as f64 / 1e9
    }

    /// The exception that ``publish_wait`` would have raised, or None if all went well.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if self.status == Status::Ok {
            return Ok(None);
        }
        errors::outcome(py, self.status, self.text(), self.persistence, self.server_code).map(Some)
    }

    fn __repr__(&self) -> String {
        let text = if self.text().is_empty() { String::new() } else { format!(": {}", self.text()) };
        format!("<ackbus.Report id={} topic={:?} {} {:?} attempts={}{text}>", self.id, self.topic(), self.status.name(), self.persistence, self.attempts)
    }
}
