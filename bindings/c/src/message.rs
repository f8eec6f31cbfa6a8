//! `ackbus_message`: a message with everything that can be said about it.

use std::ffi::c_void;
use std::mem::offset_of;
use std::time::Duration;

use ackbus::{Error, Message, Result, StallWait, Status};

use crate::handle::Call;
use crate::layout::{Growing, Plain, Versioned};
use crate::text::ackbus_str;

/// In `ackbus_message.flags`: report this message's outcome in any case, whatever the option `report` says.
pub const ACKBUS_MSG_REPORT_ALWAYS: u32 = 1;
/// In `ackbus_message.flags`: `expected_last_seq` is given.
pub const ACKBUS_MSG_EXPECTED_LAST_SEQ: u32 = 2;
/// In `ackbus_message.flags`: `expected_last_subject_seq` is given.
pub const ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ: u32 = 4;
/// In `ackbus_message.flags`: `stall_wait_ms` is given.
pub const ACKBUS_MSG_STALL_WAIT: u32 = 8;
/// In `ackbus_message.flags`: the report comes with `ACKBUS_REPORT_MARK`. A layer between the library and its users tells its own messages from theirs by it,
/// whatever their tags are.
pub const ACKBUS_MSG_MARK: u32 = 16;

const KNOWN_FLAGS: u32 =
    ACKBUS_MSG_REPORT_ALWAYS | ACKBUS_MSG_EXPECTED_LAST_SEQ | ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ | ACKBUS_MSG_STALL_WAIT | ACKBUS_MSG_MARK;
/// Far more than a header block holds: a wild count is refused before it is believed.
pub(crate) const MAX_HEADERS: usize = 65_536;

/// A header: a name and a value. Neither may contain CR or LF.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_header {
    /// The name.
    pub name: ackbus_str,
    /// The value.
    pub value: ackbus_str,
}

// SAFETY: `repr(C)`, made of plain fields.
unsafe impl Plain for ackbus_header {}

/// A message. Start with `ACKBUS_MESSAGE_INIT`, then fill in what is wanted: everything but the topic may stay as it is.
///
/// Ownership: the caller's, with all that it points to. The bus has copied what it needs when the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_message {
    /// `sizeof(ackbus_message)`, set by `ACKBUS_MESSAGE_INIT`.
    pub struct_size: usize,
    /// The topic, UTF-8: tokens with dots between them, no wildcards, no blanks.
    pub topic: ackbus_str,
    /// The payload, any bytes. NULL if `payload_len` is 0.
    pub payload: *const c_void,
    /// The payload's length in bytes.
    pub payload_len: usize,
    /// The headers, an array. NULL if `header_count` is 0.
    pub headers: *const ackbus_header,
    /// How many headers.
    pub header_count: usize,
    /// The Msg-Id by which the stream knows copies; empty: by the option `msg_id`.
    pub msg_id: ackbus_str,
    /// Refused unless this stream stores it; empty: any.
    pub expected_stream: ackbus_str,
    /// Refused unless the stream's last message has this Msg-Id; empty: any.
    pub expected_last_msg_id: ackbus_str,
    /// Refused unless this is the stream's last sequence; with `ACKBUS_MSG_EXPECTED_LAST_SEQ`.
    pub expected_last_seq: u64,
    /// Refused unless this is the topic's last sequence; with `ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ`.
    pub expected_last_subject_seq: u64,
    /// How long the stream keeps the message, in ms; 0: as the stream says. Needs a stream that allows it.
    pub ttl_ms: i64,
    /// How long the call waits for room, in ms, with `ACKBUS_MSG_STALL_WAIT`: 0 does not wait, negative waits without limit.
    pub stall_wait_ms: i64,
    /// The time until the outcome is decided, in ms from now; 0: by the option `delivery_timeout_ms`.
    pub delivery_timeout_ms: i64,
    /// The caller's number for this message; it comes back in the report.
    pub tag: u64,
    /// `ACKBUS_MSG_...`, any number of them. An unknown flag is refused.
    pub flags: u32,
    /// The trace that the message belongs to, as the header `traceparent` of W3C Trace Context: `version-traceid-parentid-flags` in lower-case hex; empty: none.
    pub traceparent: ackbus_str,
    /// What tracing systems add to it: the header `tracestate`, 1 to 512 bytes, only with `traceparent`; empty: none.
    pub tracestate: ackbus_str,
}

// SAFETY: `repr(C)`, made of integers and raw pointers.
unsafe impl Plain for ackbus_message {}
impl Growing for ackbus_message {
    const SMALLEST: usize = offset_of!(ackbus_message, headers);
    const NAME: &'static str = "ackbus_message";
}
// SAFETY: `struct_size` comes first.
unsafe impl Versioned for ackbus_message {}

/// A name and a value, as the core takes them.
pub(crate) type Header<'c> = (&'c str, &'c str);

impl ackbus_message {
    /// Appends the message's headers to `into`.
    pub(crate) fn read_headers<'c>(&self, call: &'c Call, into: &mut Vec<Header<'c>>) -> Result<()> {
        if self.header_count > MAX_HEADERS {
            let text = format!("header_count is {}; at most {MAX_HEADERS} are allowed", self.header_count);
            return Err(Error::new(Status::InvalidArgument, text));
        }
        for header in call.slice(self.headers, self.header_count, "headers")? {
            into.push((call.str(header.name, "a header's name")?, call.str(header.value, "a header's value")?));
        }
        Ok(())
    }

    /// The message as the core takes it. `headers` are its own, from `read_headers`.
    pub(crate) fn convert<'c>(&self, call: &'c Call, headers: &'c [Header<'c>]) -> Result<Message<'c>> {
        if self.flags & !KNOWN_FLAGS != 0 {
            let text = format!("flags has {:#x}, which this version does not know", self.flags & !KNOWN_FLAGS);
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let given = |flag| self.flags & flag != 0;
        let topic = call.str(self.topic, "topic")?;
        let payload = call.slice(self.payload.cast::<u8>(), self.payload_len, "payload")?;
        let mut message = Message::new(topic, payload);
        message.headers = headers;
        message.msg_id = call.str_given(self.msg_id, "msg_id")?;
        message.expected_stream = call.str_given(self.expected_stream, "expected_stream")?;
        message.expected_last_msg_id = call.str_given(self.expected_last_msg_id, "expected_last_msg_id")?;
        message.expected_last_seq = given(ACKBUS_MSG_EXPECTED_LAST_SEQ).then_some(self.expected_last_seq);
        message.expected_last_subject_seq = given(ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ).then_some(self.expected_last_subject_seq);
        message.traceparent = call.str_given(self.traceparent, "traceparent")?;
        message.tracestate = call.str_given(self.tracestate, "tracestate")?;
        message.ttl = time_given(self.ttl_ms, "ttl_ms")?;
        message.delivery_timeout = time_given(self.delivery_timeout_ms, "delivery_timeout_ms")?;
        if given(ACKBUS_MSG_STALL_WAIT) {
            message.stall_wait = timeout(self.stall_wait_ms).map_or(StallWait::NoLimit, StallWait::AtMost);
        }
        message.tag = self.tag;
        message.report_always = given(ACKBUS_MSG_REPORT_ALWAYS);
        message.mark = given(ACKBUS_MSG_MARK);
        Ok(message)
    }
}

/// A `timeout_ms` of C's: 0 = try, negative = no limit.
pub(crate) fn timeout(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// A time for which 0 means that it is not given.
fn time_given(ms: i64, what: &str) -> Result<Option<Duration>> {
    let ms = u64::try_from(ms).map_err(|_| Error::new(Status::InvalidArgument, format!("{what} is {ms}; it must not be negative")))?;
    Ok((ms > 0).then(|| Duration::from_millis(ms)))
}
