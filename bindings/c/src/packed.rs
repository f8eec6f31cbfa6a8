//! `ackbus_publisher_publish_packed`: many messages in two arrays without pointers, for languages that may not pass structs with pointers, such as Go.

use std::mem::offset_of;
use std::ptr;

use ackbus::{Error, Result, Status};

use crate::error::{ackbus_error, ackbus_status};
use crate::guard::guard;
use crate::handle::{Call, utf8};
use crate::layout::{Growing, Plain};
use crate::message::{Header, MAX_HEADERS, ackbus_message};
use crate::publish::{Rest, first_bad, publish_all};
use crate::publisher::ackbus_publisher;
use crate::text::ackbus_str;

/// A part of a slab: the bytes from `start` on, `len` of them. With `len` 0 it is empty, wherever it starts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_span {
    /// The place of the first byte, counted from the slab's beginning.
    pub start: u32,
    /// How many bytes.
    pub len: u32,
}

/// A message without pointers: all bytes of all messages of a call lie in one slab. Its fields mean what those of `ackbus_message` with the same names mean.
///
/// Ownership: the caller's. The bus has copied what it needs when the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_packed {
    /// The caller's number for this message; it comes back in the report.
    pub tag: u64,
    /// The topic, UTF-8.
    pub topic: ackbus_span,
    /// The payload, any bytes.
    pub payload: ackbus_span,
    /// `ACKBUS_MSG_...`, any number of them.
    pub flags: u32,
    /// How many headers.
    pub header_count: u32,
    /// The headers, one behind the other without gaps: the length of the name and that of the value as a `uint32_t` each, in the machine's byte order and at any
    /// address, then name and value.
    pub headers: ackbus_span,
    /// The Msg-Id; empty: by the option `msg_id`.
    pub msg_id: ackbus_span,
    /// The stream that is expected; empty: any.
    pub expected_stream: ackbus_span,
    /// The stream's last Msg-Id that is expected; empty: any.
    pub expected_last_msg_id: ackbus_span,
    /// The stream's last sequence; with `ACKBUS_MSG_EXPECTED_LAST_SEQ`.
    pub expected_last_seq: u64,
    /// The topic's last sequence; with `ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ`.
    pub expected_last_subject_seq: u64,
    /// How long the stream keeps the message, in ms; 0: as the stream says.
    pub ttl_ms: i64,
    /// How long the call waits for room, in ms; with `ACKBUS_MSG_STALL_WAIT`.
    pub stall_wait_ms: i64,
    /// The time until the outcome is decided, in ms; 0: by the option.
    pub delivery_timeout_ms: i64,
    /// The trace context; empty: none.
    pub traceparent: ackbus_span,
    /// What tracing systems add to it; empty: nothing.
    pub tracestate: ackbus_span,
}

// SAFETY: `repr(C)`, made of integers.
unsafe impl Plain for ackbus_packed {}
impl Growing for ackbus_packed {
    const SMALLEST: usize = offset_of!(ackbus_packed, headers);
    const NAME: &'static str = "ackbus_packed";
}

/// Publishes messages in their order until all are accepted or one is not, as `ackbus_publisher_publish_batch` does. One call, two arrays, no pointers inside.
///
/// `msgs`, `count`, `stride`: an array of `count` messages, `stride` bytes apart, which is `sizeof(ackbus_packed)`; with `count` 0 nothing happens.
/// `slab`, `slab_len`: the bytes that the messages' spans are parts of; at most 4 GiB can be reached.
/// `out_ids`: an array of `count` ids, of which the first `*out_accepted` are written; may be NULL.
/// `out_accepted`: takes how many messages were accepted, after an error too; may be NULL.
///
/// Ownership: everything is copied before the call returns. Threads: any, also at the same time. From a callback it takes what fits.
/// Errors: the one of `msgs[*out_accepted]`, as of `ackbus_publisher_publish_msg`, and `ACKBUS_ERR_INVALID_ARGUMENT` for spans that end beyond the slab and for
/// headers that do not fill theirs. The messages before it are accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_publish_packed(
    publisher: *const ackbus_publisher,
    msgs: *const ackbus_packed,
    count: usize,
    stride: usize,
    slab: *const u8,
    slab_len: usize,
    out_ids: *mut u64,
    out_accepted: *mut usize,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    let mut accepted = 0;
    let status = guard(&call, err_out, || {
        let publisher = call.shared(publisher)?;
        if count == 0 {
            return Ok(());
        }
        let slab = Slab(call.slice(slab, slab_len, "slab")?);
        let mut headers = Vec::new();
        let bad = first_bad(call.strided(msgs, count, stride, "msgs")?, |message| slab.headers(&message, &mut headers));
        let messages = call.strided(msgs, count, stride, "msgs")?.map(|message| slab.message(&message));
        publish_all(&call, publisher, messages, Rest::new(&headers, bad), |id| {
            call.write_at(out_ids, accepted, id);
            accepted += 1;
        })
    });
    call.write(out_accepted, accepted);
    status
}

/// The bytes of all messages of a call.
#[derive(Clone, Copy)]
struct Slab<'c>(&'c [u8]);

impl<'c> Slab<'c> {
    fn part(self, span: ackbus_span, what: &str) -> Result<&'c [u8]> {
        if span.len == 0 {
            return Ok(&[]);
        }
        let (start, len) = (span.start as usize, span.len as usize);
        self.0.get(start..).and_then(|tail| tail.get(..len)).ok_or_else(|| {
            let text = format!("{what} is {len} bytes from byte {start} on; the slab has {}", self.0.len());
            Error::new(Status::InvalidArgument, text)
        })
    }

    fn str(self, span: ackbus_span, what: &str) -> Result<ackbus_str> {
        let bytes = self.part(span, what)?;
        Ok(ackbus_str { data: bytes.as_ptr().cast(), len: bytes.len() })
    }

    /// The message, with views of the slab. Its headers stay out: they are read by `headers`.
    fn message(self, packed: &ackbus_packed) -> Result<ackbus_message> {
        let payload = self.part(packed.payload, "payload")?;
        Ok(ackbus_message {
            struct_size: size_of::<ackbus_message>(),
            topic: self.str(packed.topic, "topic")?,
            payload: payload.as_ptr().cast(),
            payload_len: payload.len(),
            headers: ptr::null(),
            header_count: packed.header_count as usize,
            msg_id: self.str(packed.msg_id, "msg_id")?,
            expected_stream: self.str(packed.expected_stream, "expected_stream")?,
            expected_last_msg_id: self.str(packed.expected_last_msg_id, "expected_last_msg_id")?,
            expected_last_seq: packed.expected_last_seq,
            expected_last_subject_seq: packed.expected_last_subject_seq,
            ttl_ms: packed.ttl_ms,
            stall_wait_ms: packed.stall_wait_ms,
            delivery_timeout_ms: packed.delivery_timeout_ms,
            tag: packed.tag,
            flags: packed.flags,
            traceparent: self.str(packed.traceparent, "traceparent")?,
            tracestate: self.str(packed.tracestate, "tracestate")?,
        })
    }

    /// Appends the message's headers to `into`.
    fn headers(self, packed: &ackbus_packed, into: &mut Vec<Header<'c>>) -> Result<()> {
        let count = packed.header_count as usize;
        if count > MAX_HEADERS {
            return Err(Error::new(Status::InvalidArgument, format!("header_count is {count}; at most {MAX_HEADERS} are allowed")));
        }
        let mut rest = if count == 0 { &[] } else { self.part(packed.headers, "headers")? };
        for index in 0..count {
            let (name, value, others) = split_header(rest).ok_or_else(|| {
                let text = format!("header {index} of {count} ends beyond the span of the headers, which has {} bytes", packed.headers.len);
                Error::new(Status::InvalidArgument, text)
            })?;
            into.push((utf8(name, "a header's name")?, utf8(value, "a header's value")?));
            rest = others;
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(Error::new(Status::InvalidArgument, format!("{} bytes follow the last of {count} headers in their span", rest.len())))
    }
}

/// A header's name, its value, and what follows.
fn split_header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_len, rest) = bytes.split_first_chunk()?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u32::from_ne_bytes(*name_len) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_ne_bytes(*value_len) as usize)?;
    Some((name, value, rest))
}
