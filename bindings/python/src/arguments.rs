//! From Python arguments to a message of the core.

use std::time::Duration;

use ackbus::{Message, StallWait};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyMemoryView, PyString, PyTuple};

/// The bytes of a payload, kept alive by the object that holds them.
enum Payload<'py> {
    Empty,
    Bytes(Bound<'py, PyBytes>),
    Text(Bound<'py, PyString>),
}

impl<'py> Payload<'py> {
    fn of(given: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let Some(given) = given else { return Ok(Payload::Empty) };
        if let Ok(bytes) = given.cast::<PyBytes>() {
            return Ok(Payload::Bytes(bytes.clone()));
        }
        if let Ok(text) = given.cast::<PyString>() {
            return Ok(Payload::Text(text.clone()));
        }
        // Whatever has a buffer, contiguous or not, as bytes. Lists and integers have none, though bytes() would take them.
        let wrong = |_| PyTypeError::new_err(format!("payload: {} is not allowed; give bytes, str, or an object with the buffer protocol", type_name(given)));
        let view = PyMemoryView::from(given).map_err(wrong)?;
        Ok(Payload::Bytes(view.call_method0("tobytes")?.cast_into()?))
    }

    fn bytes(&self) -> PyResult<&[u8]> {
        Ok(match self {
            Payload::Empty => b"",
            Payload::Bytes(bytes) => bytes.as_bytes(),
            Payload::Text(text) => utf8("payload", text)?.as_bytes(),
        })
    }
}

/// A message as Python gave it. It owns references, so that what the core reads stays where it is, attached or not.
pub(crate) struct Given<'py> {
    topic: Bound<'py, PyString>,
    payload: Payload<'py>,
    pub(crate) tag: Option<Bound<'py, PyAny>>,
    headers: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>,
    msg_id: Option<Bound<'py, PyString>>,
    expected_stream: Option<Bound<'py, PyString>>,
    expected_last_msg_id: Option<Bound<'py, PyString>>,
    expected_last_seq: Option<u64>,
    expected_last_subject_seq: Option<u64>,
    traceparent: Option<Bound<'py, PyString>>,
    tracestate: Option<Bound<'py, PyString>>,
    ttl: Option<Duration>,
    stall_wait: StallWait,
    delivery_timeout: Option<Duration>,
    pub(crate) report_always: bool,
}

/// What else a message may have, for the error that names them.
const ALLOWED: &str = "tag, headers, msg_id, expected_stream, expected_last_msg_id, expected_last_seq, expected_last_subject_seq, traceparent, tracestate, ttl, stall_wait, delivery_timeout, report_always";

impl<'py> Given<'py> {
    /// A message without options.
    pub(crate) fn new(topic: &Bound<'py, PyAny>, payload: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        Ok(Given {
            topic: text("topic", topic)?,
            payload: Payload::of(payload)?,
            tag: None,
            headers: Vec::new(),
            msg_id: None,
            expected_stream: None,
            expected_last_msg_id: None,
            expected_last_seq: None,
            expected_last_subject_seq: None,
            traceparent: None,
            tracestate: None,
            ttl: None,
            stall_wait: StallWait::Configured,
            delivery_timeout: None,
            report_always: false,
        })
    }

    /// A message with the options in `more`.
    pub(crate) fn with(topic: &Bound<'py, PyAny>, payload: Option<&Bound<'py, PyAny>>, more: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        let mut given = Given::new(topic, payload)?;
        for (key, value) in more.into_iter().flatten() {
            let key = text("keyword", &key)?;
            if !value.is_none() {
                given.set(utf8("keyword", &key)?, value)?;
            }
        }
        Ok(given)
    }

    /// One element of `publish_many`: `(topic, payload)`, `(topic, payload, {…})`, or a payload alone when the call names the topic.
    pub(crate) fn element(element: &Bound<'py, PyAny>, topic: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        if let Some(topic) = topic {
            return Given::new(topic, Some(element));
        }
        let wrong = || {
            PyTypeError::new_err(format!(
                "{} is not allowed; give (topic, payload) or (topic, payload, dict of keyword arguments), or payloads alone with topic=…",
                type_name(element)
            ))
        };
        let parts = element.cast::<PyTuple>().map_err(|_| wrong())?;
        match parts.len() {
            2 => Given::new(&parts.get_item(0)?, Some(&parts.get_item(1)?)),
            3 => {
                let more = parts.get_item(2)?;
                Given::with(&parts.get_item(0)?, Some(&parts.get_item(1)?), Some(more.cast::<PyDict>().map_err(|_| wrong())?))
            }
            _ => Err(wrong()),
        }
    }

    /// One option, by its keyword.
    pub(crate) fn set(&mut self, key: &str, value: Bound<'py, PyAny>) -> PyResult<()> {
        match key {
            "tag" => self.tag = Some(value),
            "headers" => self.headers = headers(&value)?,
            "msg_id" => self.msg_id = Some(text(key, &value)?),
            "expected_stream" => self.expected_stream = Some(text(key, &value)?),
            "expected_last_msg_id" => self.expected_last_msg_id = Some(text(key, &value)?),
            "expected_last_seq" => self.expected_last_seq = Some(sequence(key, &value)?),
            "expected_last_subject_seq" => self.expected_last_subject_seq = Some(sequence(key, &value)?),
            "traceparent" => self.traceparent = Some(text(key, &value)?),
            "tracestate" => self.tracestate = Some(text(key, &value)?),
            "ttl" => self.ttl = Some(duration(key, &value)?),
            "stall_wait" => self.stall_wait = duration_or_infinite(key, &value)?.map_or(StallWait::NoLimit, StallWait::AtMost),
            "delivery_timeout" => self.delivery_timeout = Some(duration(key, &value)?),
            "report_always" => self.report_always = value.is_truthy()?,
            other => return Err(PyTypeError::new_err(format!("unexpected keyword argument {other:?}; allowed: {ALLOWED}"))),
        }
        Ok(())
    }

    /// The headers as the core wants them; borrowed by the message.
    pub(crate) fn headers(&self) -> PyResult<Vec<(&str, &str)>> {
        self.headers.iter().map(|(name, value)| Ok((utf8("headers", name)?, utf8("headers", value)?))).collect()
    }

    /// The message. One that carries luggage is always reported, so that the luggage is claimed.
    pub(crate) fn message<'a>(&'a self, headers: &'a [(&'a str, &'a str)], tag: u64) -> PyResult<Message<'a>> {
        let optional = |name, text: &'a Option<Bound<'py, PyString>>| text.as_ref().map(|text| utf8(name, text)).transpose();
        Ok(Message {
            headers,
            msg_id: optional("msg_id", &self.msg_id)?,
            expected_stream: optional("expected_stream", &self.expected_stream)?,
            expected_last_msg_id: optional("expected_last_msg_id", &self.expected_last_msg_id)?,
            expected_last_seq: self.expected_last_seq,
            expected_last_subject_seq: self.expected_last_subject_seq,
            traceparent: optional("traceparent", &self.traceparent)?,
            tracestate: optional("tracestate", &self.tracestate)?,
            ttl: self.ttl,
            stall_wait: self.stall_wait,
            delivery_timeout: self.delivery_timeout,
            tag,
            report_always: tag != 0,
            ..Message::new(utf8("topic", &self.topic)?, self.payload.bytes()?)
        })
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "this type".to_owned(), |name| name.to_string())
}

fn text<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    given.cast::<PyString>().cloned().map_err(|_| PyTypeError::new_err(format!("{name}: {} is not allowed; give a str", type_name(given))))
}

fn utf8<'a>(name: &str, text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    // Lone surrogates have no UTF-8 form.
    text.to_str().map_err(|_| {
        PyValueError::new_err(format!(
            "{name}: {} is not valid Unicode (it has a lone surrogate)",
            text.repr().map_or_else(|_| String::new(), |r| r.to_string())
        ))
    })
}

fn sequence(name: &str, given: &Bound<'_, PyAny>) -> PyResult<u64> {
    given.extract::<u64>().map_err(|_| {
        let shown = given.repr().map_or_else(|_| type_name(given), |r| r.to_string());
        PyValueError::new_err(format!("{name}: {shown} is not allowed; give an int from 0 to 2**64 - 1"))
    })
}

/// A mapping of names to a value or several.
fn headers<'py>(given: &Bound<'py, PyAny>) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>> {
    let wrong = || PyTypeError::new_err(format!("headers: {} is not allowed; give a mapping of str to str or to a sequence of str", type_name(given)));
    let mapping = given.cast::<PyMapping>().map_err(|_| wrong())?;
    let mut all = Vec::with_capacity(mapping.len()?);
    for item in mapping.items()?.iter() {
        let (name, value) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
        let name = text("headers", &name)?;
        let wrong_value = || PyTypeError::new_err(format!("headers[{name:?}]: {} is not allowed; give a str or a sequence of str", type_name(&value)));
        if let Ok(value) = value.cast::<PyString>() {
            all.push((name, value.clone()));
            continue;
        }
        if value.is_instance_of::<PyBytes>() {
            return Err(wrong_value());
        }
        for one in value.try_iter().map_err(|_| wrong_value())? {
            let one = one?;
            let one = one.cast_into::<PyString>().map_err(|_| wrong_value())?;
            all.push((name.clone(), one));
        }
    }
    Ok(all)
}

/// Seconds as a number or a `timedelta`; `None` or infinity: no limit.
pub(crate) fn timeout(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    given.map_or(Ok(None), |given| duration_or_infinite("timeout", given))
}

fn duration(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    duration_or_infinite(name, given)?.ok_or_else(|| PyValueError::new_err(format!("{name}: infinity is not allowed")))
}

fn duration_or_infinite(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    let py = given.py();
    let wrong = || {
        let shown = given.repr().map_or_else(|_| type_name(given), |r| r.to_string());
        format!("{name}: {shown} is not allowed; give seconds as a number of at least 0, or a timedelta")
    };
    let seconds = match given.getattr_opt(pyo3::intern!(py, "total_seconds"))? {
        Some(total) => total.call0()?.extract::<f64>()?,
        None => given.extract::<f64>().map_err(|_| PyTypeError::new_err(wrong()))?,
    };
    if seconds == f64::INFINITY {
        return Ok(None);
    }
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| PyValueError::new_err(wrong()))
}
