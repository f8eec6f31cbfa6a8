//! A message on its way in: what a caller may say about it, and the checks that everything the caller gives passes before it reaches the wire.
//!
//! The checks are also what keeps the protocol safe: a line break in a topic or a header would let a caller write frames of his own.

pub(crate) mod trace_context;

use std::time::Duration;

use crate::base::error::{Error, Result, Status};
use crate::base::names::{MAX_TOPIC, bad_header, check_stream_name, invalid, quoted, subject_fault, value_fault};
use crate::base::time::FOREVER;

/// The longest message id in bytes. The server keeps every id for its duplicate window.
const MAX_MSG_ID: usize = 1_024;

/// What the caller's headers may take together. JetStream refuses blocks over 65,535 bytes, and the message's own fields need up to 3 KiB.
const MAX_HEADER_BYTES: usize = 62_000;

/// JetStream refuses a shorter time to live.
const MIN_TTL: Duration = Duration::from_secs(1);

/// 100 years. The server counts nanoseconds in 64 bits.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A message to publish: borrowed from the caller, copied when it is accepted.
///
/// ```
/// use ackbus::Message;
///
/// let message = Message { msg_id: Some("order-17"), tag: 17, ..Message::new("orders.created", b"{}") };
/// assert_eq!(message.topic, "orders.created");
/// ```
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The topic: tokens with dots between them, 3,800 bytes at most. Wildcard tokens, blanks and control bytes are refused, and so are topics that begin with
    /// `$`, which belong to the server.
    pub topic: &'a str,
    /// The payload: any bytes, also none. Headers and payload together may not exceed the server's `max_payload`.
    pub payload: &'a [u8],
    /// Header names and values, sent in this order. A name is printable ASCII without `:`; a value is text without control bytes and without blanks at its ends,
    /// which a reader would lose. Headers that have a field of their own here are refused, and so are those of batches, which change what an acknowledgement
    /// means. All of them together may take 62,000 bytes.
    pub headers: &'a [(&'a str, &'a str)],
    /// The id by which the stream knows a second copy: 1 to 1,024 bytes with the rules of a header value. `None`: as the option `msg_id` says.
    pub msg_id: Option<&'a str>,
    /// Refuse unless the topic belongs to this stream.
    pub expected_stream: Option<&'a str>,
    /// Refuse unless the stream's last message has this id.
    pub expected_last_msg_id: Option<&'a str>,
    /// Refuse unless this is the stream's last sequence. 0 is a value: the stream is empty.
    pub expected_last_seq: Option<u64>,
    /// Refuse unless this is the last sequence with this topic. 0 is a value: there is none yet.
    pub expected_last_subject_seq: Option<u64>,
    /// The trace that the message belongs to, as the header `traceparent` of W3C Trace Context: `version-traceid-parentid-flags` in lower-case hex. `None`: no such
    /// header, unless `headers` has it. nats-server 2.11 and later trace a sampled message themselves where the account's `msg_trace` asks for it (ADR-41).
    pub traceparent: Option<&'a str>,
    /// What tracing systems add to it: the header `tracestate`, 1 to 512 bytes. Only with `traceparent`.
    pub tracestate: Option<&'a str>,
    /// How long the stream keeps the message: 1 second to 100 years. The stream must allow it. `None`: as the stream says.
    pub ttl: Option<Duration>,
    /// How long the publish may wait for room.
    pub stall_wait: StallWait,
    /// How long the message may stay pending, all retries included: more than zero, 30 days at most. `None`: as the option `delivery_timeout_ms` says.
    pub delivery_timeout: Option<Duration>,
    /// A number of the caller's, handed back in the report. The bus does not look at it.
    pub tag: u64,
    /// Report this message's outcome whatever the option `report` says.
    pub report_always: bool,
    /// Flag the report with [`REPORT_MARK`](crate::REPORT_MARK): a layer above the bus tells its own messages from its users' by it. The bus does not look at it.
    pub mark: bool,
}

/// How long a publish may wait while the window is full. Only with `on_full=block` does `Configured` wait at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StallWait {
    /// As the options `on_full` and `stall_wait_ms` say.
    #[default]
    Configured,
    /// As long as it takes.
    NoLimit,
    /// This long; zero does not wait.
    AtMost(Duration),
}

impl<'a> Message<'a> {
    /// A message with a topic and a payload, and everything else left to the options.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Message {
            topic,
            payload,
            headers: &[],
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
            tag: 0,
            report_always: false,
            mark: false,
        }
    }

    /// Checks all that can be checked without a server; sizes against its limits come later. Allocates only to tell what is wrong.
    pub(crate) fn check(&self) -> Result<()> {
        check_topic(self.topic)?;
        check_headers(self.headers)?;
        trace_context::check(self.traceparent, self.tracestate, self.headers)?;
        if let Some(id) = self.msg_id {
            check_id("msg_id", id)?;
        }
        if let Some(id) = self.expected_last_msg_id {
            check_id("expected_last_msg_id", id)?;
        }
        if let Some(stream) = self.expected_stream {
            check_stream_name("expected_stream", stream, Status::InvalidArgument)?;
        }
        if let Some(ttl) = self.ttl.filter(|ttl| !(MIN_TTL..=MAX_TTL).contains(ttl)) {
            return Err(invalid(format!("ttl is {ttl:?}; allowed: 1 second to 100 years")));
        }
        if let Some(timeout) = self.delivery_timeout.filter(|timeout| timeout.is_zero() || *timeout > FOREVER) {
            return Err(invalid(format!("delivery_timeout is {timeout:?}; allowed: more than zero, 30 days at most")));
        }
        Ok(())
    }
}

/// Checks a topic to publish to.
pub(crate) fn check_topic(topic: &str) -> Result<()> {
    match topic_fault(topic) {
        None => Ok(()),
        Some(fault) => Err(topic_error(topic, fault)),
    }
}

fn topic_fault(topic: &str) -> Option<&'static str> {
    match topic.as_bytes() {
        [b'$', ..] => Some("begins with `$`, which is reserved for the server (`$JS.API` and the like)"),
        bytes if bytes.len() > MAX_TOPIC => Some("is too long"),
        _ => subject_fault(topic, false),
    }
}

#[cold]
fn topic_error(topic: &str, fault: &str) -> Error {
    let text = format!(
        "the topic {} ({} bytes) {fault}; allowed: 1 to {MAX_TOPIC} bytes of tokens with dots between them, without blanks, control bytes and the wildcards * and >",
        quoted(topic),
        topic.len()
    );
    Error::new(Status::InvalidTopic, text)
}

/// Checks the caller's headers.
pub(crate) fn check_headers(headers: &[(&str, &str)]) -> Result<()> {
    let mut total = 0;
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(bad_header(format!("the header name {} is not allowed; allowed: printable ASCII without blanks and `:`", quoted(name))));
        }
        if let Some(instead) = reserved_header(name) {
            return Err(bad_header(format!("the header {name} is reserved; {instead}")));
        }
        if let Some(fault) = value_fault(value) {
            return Err(bad_header(format!("the value {} of the header {} {fault}", quoted(value), quoted(name))));
        }
        total += name.len() + value.len() + 4; // ": " and CR LF
    }
    if total > MAX_HEADER_BYTES {
        return Err(bad_header(format!("the headers take {total} bytes; allowed: {MAX_HEADER_BYTES}")));
    }
    Ok(())
}

/// What to do in place of setting this header, if it is not the caller's to set. The server looks for the exact spelling; another one is a mistake all the same.
fn reserved_header(name: &str) -> Option<&'static str> {
    const FIELDS: [(&str, &str); 7] = [
        ("Nats-Msg-Id", "use the field msg_id"),
        ("Nats-Expected-Stream", "use the field expected_stream"),
        ("Nats-Expected-Last-Msg-Id", "use the field expected_last_msg_id"),
        ("Nats-Expected-Last-Sequence", "use the field expected_last_seq"),
        ("Nats-Expected-Last-Subject-Sequence", "use the field expected_last_subject_seq"),
        ("Nats-TTL", "use the field ttl"),
        ("Nats-Expected-Last-Subject-Sequence-Subject", "expected_last_subject_seq is always about the message's own topic"),
    ];
    // One comparison for nearly every header of nearly every message.
    if !has_prefix(name, "Nats-") {
        return None;
    }
    if let Some((_, instead)) = FIELDS.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)) {
        return Some(instead);
    }
    if has_prefix(name, "Nats-Expected-") {
        return Some("expectations are given by the expected_ fields");
    }
    // A batch's messages are acknowledged together or not at all: the bus would wait for acks that never come.
    has_prefix(name, "Nats-Batch-").then_some("batches are not offered, every message has an acknowledgement of its own")
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn check_id(field: &str, id: &str) -> Result<()> {
    if id.is_empty() || id.len() > MAX_MSG_ID {
        return Err(invalid(format!("{field} has {} bytes; allowed: 1 to {MAX_MSG_ID}", id.len())));
    }
    match value_fault(id) {
        None => Ok(()),
        Some(fault) => Err(invalid(format!("{field} {} {fault}", quoted(id)))),
    }
}

#[cfg(test)]
mod tests;
