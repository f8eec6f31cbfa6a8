//! The publisher as a Python class. The package's own class inherits it and adds what is easier said in Python.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ackbus::{Config, Error, Handlers, Message, Purge, StallWait, Status};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use crate::arguments::{self, Given};
use crate::errors;
use crate::events::Event;
use crate::outcome::Ack;
use crate::sink::{Events, Outcomes, Wanted};
use crate::tags::{Luggage, Tags};
use crate::waiting::waiting;

/// State, server, its version, max_payload, the last error.
type Standing = (i32, String, String, u64, Option<Py<PyAny>>);

/// Reports that `drain` takes at a time.
const DRAIN: usize = 1_024;

/// A publisher, unadorned.
#[pyclass(subclass, frozen, weakref, module = "ackbus._native")]
pub(crate) struct Publisher {
    bus: Arc<ackbus::Publisher>,
    outcomes: Arc<Outcomes>,
    closed: AtomicBool,
}

#[pymethods]
impl Publisher {
    /// Connects. `polled`: outcomes are taken with `drain`, for an event loop.
    #[new]
    fn new(
        py: Python<'_>,
        options: Vec<(String, String)>,
        topics: Vec<(String, String, String)>,
        on_report: Option<Py<PyAny>>,
        on_error: Option<Py<PyAny>>,
        on_event: Option<Py<PyAny>>,
        polled: bool,
    ) -> PyResult<Self> {
        let mut config = Config::new();
        let set = |config: &mut Config| {
            for (key, value) in &options {
                config.set(key, value)?;
            }
            for (pattern, key, value) in &topics {
                config.set_topic(pattern, key, value)?;
            }
            Ok(())
        };
        set(&mut config).map_err(|error| errors::raise(py, &error))?;
        let mode = config.get("report").map_err(|error| errors::raise(py, &error))?;
        let tags = Arc::new(Tags::default());
        let outcomes = Arc::new(Outcomes { on_report, on_error, tags: Arc::clone(&tags), wanted: Wanted::named(&mode) });
        let handlers = if polled { Handlers::default() } else { Handlers { reports: Some(outcomes.clone()), events: Some(Arc::new(Events(on_event))) } };
        let bus = waiting(py, || ackbus::Publisher::connect(&config, handlers))?;
        // With callbacks only the report thread needs them: they are released when it ends, though the publisher lives on.
        let outcomes = if polled { outcomes } else { Arc::new(Outcomes { tags, ..Outcomes::default() }) };
        Ok(Publisher { bus: Arc::new(bus), outcomes, closed: AtomicBool::new(false) })
    }

    /// Publishes a message and returns its id, at once while there is room.
    ///
    /// ``topic``: str. ``payload``: bytes, str (sent as UTF-8), or any object with the buffer protocol; it is copied.
    /// ``tag``: any object, handed back in the report. ``headers``: a mapping of str to str or to a sequence of str.
    /// ``msg_id``: by which the stream knows a second copy; the bus makes one if none is given.
    /// ``expected_stream``, ``expected_last_msg_id``, ``expected_last_seq``, ``expected_last_subject_seq``: what must hold, or the stream refuses.
    /// ``traceparent``, ``tracestate``: the trace that it belongs to (W3C Trace Context); ``ackbus.opentelemetry`` gives them by itself.
    /// ``ttl``: how long the stream keeps it, where it allows that. ``stall_wait``: how long to wait for room, at most.
    /// ``delivery_timeout``: how long it may stay pending. All three in seconds, or as a timedelta.
    /// ``report_always``: call a handler with its outcome whatever the option ``report`` says.
    ///
    /// With a full window it waits as ``on_full`` and ``stall_wait`` say, without the GIL, and Ctrl-C ends the wait. From a handler it never waits.
    ///
    /// Raises InvalidTopicError, InvalidHeaderError, InvalidArgumentError, MessageTooLargeError, QueueFullError, DisconnectedError (with
    /// ``on_disconnect="fail"``), ClosedError, FailedError, ForkedError: the message was not accepted.
    // Every keyword by name: a method with **kwargs gets its arguments as a tuple and a dict made for each call, which costs a third of a publish.
    #[allow(clippy::too_many_arguments, reason = "they are Python's keywords")]
    #[pyo3(signature = (topic, payload=None, *, tag=None, headers=None, msg_id=None, expected_stream=None, expected_last_msg_id=None, expected_last_seq=None,
                        expected_last_subject_seq=None, traceparent=None, tracestate=None, ttl=None, stall_wait=None, delivery_timeout=None, report_always=None))]
    fn publish<'py>(
        &self,
        py: Python<'py>,
        topic: &Bound<'py, PyAny>,
        payload: Option<&Bound<'py, PyAny>>,
        tag: Option<Bound<'py, PyAny>>,
        headers: Option<Bound<'py, PyAny>>,
        msg_id: Option<Bound<'py, PyAny>>,
        expected_stream: Option<Bound<'py, PyAny>>,
        expected_last_msg_id: Option<Bound<'py, PyAny>>,
        expected_last_seq: Option<Bound<'py, PyAny>>,
        expected_last_subject_seq: Option<Bound<'py, PyAny>>,
        traceparent: Option<Bound<'py, PyAny>>,
        tracestate: Option<Bound<'py, PyAny>>,
        ttl: Option<Bound<'py, PyAny>>,
        stall_wait: Option<Bound<'py, PyAny>>,
        delivery_timeout: Option<Bound<'py, PyAny>>,
        report_always: Option<Bound<'py, PyAny>>,
    ) -> PyResult<u64> {
        let mut given = Given::new(topic, payload)?;
        given.tag = tag;
        let more = [
            ("headers", headers),
            ("msg_id", msg_id),
            ("expected_stream", expected_stream),
            ("expected_last_msg_id", expected_last_msg_id),
            ("expected_last_seq", expected_last_seq),
            ("expected_last_subject_seq", expected_last_subject_seq),
            ("traceparent", traceparent),
            ("tracestate", tracestate),
            ("ttl", ttl),
            ("stall_wait", stall_wait),
            ("delivery_timeout", delivery_timeout),
            ("report_always", report_always),
        ];
        for (key, value) in more {
            if let Some(value) = value {
                given.set(key, value)?;
            }
        }
        self.send(py, &given, None)
    }

    /// Publishes a series and returns the ids.
    ///
    /// ``messages``: an iterable of ``(topic, payload)`` or ``(topic, payload, dict of keyword arguments of publish)``; payloads alone with ``topic``.
    ///
    /// Raises what :meth:`publish` raises, for the first message that is not accepted; those before it are accepted, and ``accepted_ids`` of the exception
    /// has their ids. Exceptions of the iterable itself pass through in the same way.
    #[pyo3(signature = (messages, *, topic=None))]
    fn publish_many<'py>(&self, py: Python<'py>, messages: &Bound<'py, PyAny>, topic: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyList>> {
        let ids = PyList::empty(py);
        for message in messages.try_iter()? {
            let sent = message.and_then(|message| self.send(py, &Given::element(&message, topic)?, None));
            match sent {
                Ok(id) => ids.append(id)?,
                Err(error) => {
                    // How far it came: what was accepted is on its way.
                    let _ = error.value(py).setattr(intern!(py, "accepted_ids"), &ids);
                    let _ = error
                        .value(py)
                        .call_method1(intern!(py, "add_note"), (format!("publish_many: message {} was not accepted, those before it were", ids.len()),));
                    return Err(error);
                }
            }
        }
        Ok(ids)
    }

    /// Publishes a message and returns a ``concurrent.futures.Future`` of its :class:`Ack`.
    ///
    /// The arguments are those of :meth:`publish`, and so are the exceptions. The future holds the exception of an outcome that is not persisted, such as
    /// NoStreamError. It cannot be cancelled. Its callbacks run on the thread of the handlers, and may not wait either.
    #[pyo3(signature = (topic, payload=None, **more))]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        topic: &Bound<'py, PyAny>,
        payload: Option<&Bound<'py, PyAny>>,
        more: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        static FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = FUTURE.get_or_try_init(py, || py.import("concurrent.futures")?.getattr("Future").map(Bound::unbind))?;
        let given = Given::with(topic, payload, more)?;
        let future = class.call0(py)?;
        // A message that was accepted cannot be called back: cancel() answers False.
        future.call_method0(py, intern!(py, "set_running_or_notify_cancel"))?;
        self.send(py, &given, Some(future.clone_ref(py)))?;
        Ok(future)
    }

    /// Publishes a message and waits for its acknowledgement, at most ``timeout`` seconds, waiting for room included; None: as long as it takes.
    ///
    /// The arguments are those of :meth:`publish`. Ctrl-C ends the wait.
    ///
    /// Raises what :meth:`publish` raises; the exception of an outcome that is not persisted; TimedOutError: the message stays pending, and its outcome goes
    /// to the handlers; WrongThreadError from a handler.
    #[pyo3(signature = (topic, payload=None, *, timeout=None, **more))]
    fn publish_wait<'py>(
        &self,
        py: Python<'py>,
        topic: &Bound<'py, PyAny>,
        payload: Option<&Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
        more: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Ack> {
        if ackbus::in_callback() {
            return Err(errors::raise(py, &Error::new(Status::WrongThread, "publish_wait may not be called from a callback: it would wait for itself")));
        }
        let limit = arguments::timeout(timeout)?;
        let begin = Instant::now();
        let given = Given::with(topic, payload, more)?;
        let headers = given.headers()?;
        let tag = self.check_in(&given, None);
        let accepted = given.message(&headers, tag).and_then(|message| {
            let message = Message { stall_wait: within(message.stall_wait, limit), ..message };
            waiting(py, || self.bus.submit(&message))
        });
        let ticket = match accepted {
            Ok(ticket) => ticket,
            Err(error) => {
                drop(self.outcomes.tags.claim(tag));
                return Err(error);
            }
        };
        // From here on the message is the bus's: if the wait ends early, the report goes the usual way, and takes the luggage along.
        let reports = waiting(py, || ticket.wait(limit.map(|limit| limit.saturating_sub(begin.elapsed()))))?;
        let Some(report) = reports.get(0) else { return Err(errors::broken("a ticket held no report")) };
        drop(self.outcomes.tags.claim(report.tag()));
        Ack::of(py, &report)?.map_err(|exception| PyErr::from_value(exception.into_bound(py)))
    }

    /// For an event loop: accepts the message if there is room, and resolves `future` in a later `drain`. Gives the message's id, which is above 0. Without room:
    /// -1 less the number of what it waits for, which is 0 for the window; or with `refuse` QueueFullError.
    fn try_submit<'py>(
        &self,
        py: Python<'py>,
        future: Py<PyAny>,
        topic: &Bound<'py, PyAny>,
        payload: &Bound<'py, PyAny>,
        more: &Bound<'py, PyDict>,
        refuse: bool,
    ) -> PyResult<i64> {
        let given = Given::with(topic, Some(payload), Some(more))?;
        let headers = given.headers()?;
        let tag = self.check_in(&given, Some(future));
        let sent = given.message(&headers, tag).and_then(|message| {
            let sent = if refuse {
                self.bus.publish_message(&Message { stall_wait: StallWait::AtMost(Duration::ZERO), ..message }).map(Ok)
            } else {
                self.bus.try_publish_or_held(&message)
            };
            sent.map_err(|error| errors::raise(py, &error))
        });
        if !matches!(sent, Ok(Ok(_))) {
            drop(self.outcomes.tags.claim(tag));
        }
        // Ids are counted from 1, and numbers of shares have 63 bits: both fit.
        Ok(match sent? {
            Ok(id) => i64::try_from(id).unwrap_or(i64::MAX),
            Err(held_by) => -1 - i64::try_from(held_by).unwrap_or(i64::MAX - 1),
        })
    }

    /// Resolves what was settled. Returns whether more may come. On the event loop's thread.
    fn drain(&self, py: Python<'_>) -> PyResult<bool> {
        let mut once_more = true;
        loop {
            match self.bus.poll(DRAIN, Some(Duration::ZERO)) {
                Ok(mut batch) => {
                    // Handlers run now: they publish as from a callback, into the places of these reports (P3).
                    let entered = !batch.is_empty() && batch.enter_callback().is_ok();
                    self.outcomes.tell(py, batch.iter());
                    if entered {
                        ackbus::leave_callback();
                    }
                    if batch.len() < DRAIN {
                        // The places of these reports may be the room that somebody waits for: that is told now, and not by another turn of the loop.
                        if batch.is_empty() || !once_more {
                            return Ok(true);
                        }
                        once_more = false;
                    }
                }
                Err(error) if error.status() == Status::Closed => return Ok(false),
                Err(error) => return Err(errors::raise(py, &error)),
            }
        }
    }

    /// The events since the last call.
    fn drain_events(&self, py: Python<'_>) -> PyResult<Vec<Event>> {
        match self.bus.poll_events(usize::MAX, Some(Duration::ZERO)) {
            Ok(events) => Ok(events.iter().map(Event::new).collect()),
            Err(error) if error.status() == Status::Closed => Ok(Vec::new()),
            Err(error) => Err(errors::raise(py, &error)),
        }
    }

    /// The descriptor that an event loop watches; readable while something waits to be drained.
    fn wake_fd(&self) -> PyResult<i32> {
        self.bus.wake_fd().ok_or_else(|| PyRuntimeError::new_err("there is no descriptor: reports go to callbacks, or the process was forked"))
    }

    /// Waits until everything accepted before this call is settled and its handlers have returned.
    ///
    /// ``timeout``: seconds or a timedelta; None: no limit. Raises TimedOutError, WrongThreadError from a handler, ForkedError. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = arguments::timeout(timeout)?;
        waiting(py, || self.bus.flush(limit))
    }

    /// Removes pending messages, each of which is reported with PURGED, and returns how many there were.
    ///
    /// ``unsent``: those that never left the process. ``in_flight``: those that did, and may have been stored.
    #[pyo3(signature = (*, unsent=true, in_flight=true))]
    fn purge(&self, py: Python<'_>, unsent: bool, in_flight: bool) -> PyResult<u64> {
        waiting(py, || self.bus.purge(Purge { unsent, in_flight }))
    }

    /// Closes: no more publishes, waits up to ``timeout`` for acknowledgements, settles the rest with CLOSED, and calls the handlers for all that is left.
    ///
    /// ``timeout``: seconds or a timedelta; None: the option ``close_timeout``. A second close is nothing. After it no handler runs, and the bus has let go of
    /// them. Raises CallbackBusyError when a handler has not returned one second after the time (call close again), WrongThreadError from a handler. Ctrl-C
    /// ends the wait; the closing goes on.
    #[pyo3(signature = (timeout=None))]
    fn close(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = arguments::timeout(timeout)?;
        waiting(py, || self.bus.close(limit))?;
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until there is a connection. Raises TimedOutError with the last error of the connection, FailedError, ClosedError.
    #[pyo3(signature = (timeout=None))]
    fn wait_connected(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = arguments::timeout(timeout)?;
        waiting(py, || self.bus.wait_connected(limit))
    }

    fn _set_topic(&self, py: Python<'_>, pattern: &str, key: &str, value: &str) -> PyResult<()> {
        self.bus.set_topic(pattern, key, value).map_err(|error| errors::raise(py, &error))
    }

    /// Messages accepted and not yet settled.
    #[getter]
    fn pending(&self) -> u64 {
        self.bus.pending()
    }

    /// Bytes that pending messages and reports not yet handled take in the window.
    #[getter]
    fn pending_bytes(&self) -> u64 {
        self.bus.pending_bytes()
    }

    /// Whether :meth:`close` has ended.
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The figures of this moment as OpenMetrics text, with the option ``name`` as the label ``publisher``: ``ackbus.metrics.text`` for one.
    ///
    /// From any thread at any time, also after close; it never waits.
    fn metrics(&self, py: Python<'_>) -> String {
        py.detach(|| self.bus.metrics())
    }

    /// The figures in the order of `stats_fields`.
    fn _stats(&self) -> Vec<u64> {
        self.bus.stats().values().to_vec()
    }

    /// State, server, its version, max_payload, the last error.
    fn _info(&self, py: Python<'_>) -> PyResult<Standing> {
        let info = self.bus.info();
        let last_error = info.last_error.map(|error| errors::raise(py, &error).into_value(py).into_any());
        Ok((info.state as i32, info.server, info.server_version, info.max_payload, last_error))
    }
}

impl Publisher {
    pub(crate) fn bus(&self) -> Arc<ackbus::Publisher> {
        Arc::clone(&self.bus)
    }

    fn check_in(&self, given: &Given<'_>, future: Option<Py<PyAny>>) -> u64 {
        self.outcomes.tags.check_in(Luggage { tag: given.tag.as_ref().map(|tag| tag.clone().unbind()), future, report_always: given.report_always })
    }

    /// Accepts a message: at once if there is room, which needs no detaching, else after waiting for it.
    fn send(&self, py: Python<'_>, given: &Given<'_>, future: Option<Py<PyAny>>) -> PyResult<u64> {
        let headers = given.headers()?;
        let tag = self.check_in(given, future);
        let sent = given.message(&headers, tag).and_then(|message| match self.bus.try_publish(&message) {
            Ok(Some(id)) => Ok(id),
            Ok(None) => waiting(py, || self.bus.publish_message(&message)),
            Err(error) => Err(errors::raise(py, &error)),
        });
        if sent.is_err() {
            drop(self.outcomes.tags.claim(tag));
        }
        sent
    }
}

/// The wait for room counts against the time for the whole call.
fn within(stall: StallWait, limit: Option<Duration>) -> StallWait {
    match (stall, limit) {
        (stall, None) => stall,
        (StallWait::AtMost(stall), Some(limit)) => StallWait::AtMost(stall.min(limit)),
        (StallWait::Configured | StallWait::NoLimit, Some(limit)) => StallWait::AtMost(limit),
    }
}

/// Threads that close what was dropped without a close.
static ABANDONED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

impl Drop for Publisher {
    /// T5: closing waits for the report thread, which waits for the interpreter that this thread holds. So another thread closes.
    fn drop(&mut self) {
        if *self.closed.get_mut() || ackbus::forked() {
            return;
        }
        let bus = Arc::clone(&self.bus);
        let close = move || while bus.close(None).is_err_and(|error| error.status() == Status::CallbackBusy) {};
        match std::thread::Builder::new().name("ackbus-close".to_owned()).spawn(close) {
            Ok(thread) => {
                let mut abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
                abandoned.retain(|thread| !thread.is_finished());
                abandoned.push(thread);
            }
            // Rather a leak than a deadlock.
            Err(_) => std::mem::forget(Arc::clone(&self.bus)),
        }
    }
}

/// Waits for publishers that were dropped without a close. At exit, before the interpreter goes (T7).
#[pyfunction]
pub(crate) fn join_abandoned(py: Python<'_>) {
    py.detach(|| {
        let threads = std::mem::take(&mut *ABANDONED.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    });
}
