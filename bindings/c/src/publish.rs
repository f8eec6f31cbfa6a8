//! The publishing functions of `ackbus_publisher`.

use std::ffi::{c_char, c_void};
use std::ptr;

use ackbus::{Error, Result};

use crate::error::{ackbus_error, ackbus_status};
use crate::guard::guard;
use crate::handle::{Call, give};
use crate::inside::may_wait;
use crate::message::{Header, ackbus_message, timeout};
use crate::publisher::ackbus_publisher;
use crate::report::ackbus_reports;

/// Publishes a message and returns at once while there is room; on a full window it waits or fails as the options `on_full` and `stall_wait_ms` say.
/// With `ACKBUS_OK` the bus owns a copy and owes exactly one outcome.
///
/// `topic`, `topic_len`: UTF-8, need not be NUL-terminated. `payload`, `payload_len`: any bytes. `tag`: the caller's number, comes back in the report.
/// `out_id`: takes the message's id, counted from 1, with gaps if there are several `connections`; may be NULL.
///
/// Ownership: topic and payload are copied before the call returns. Threads: any, also at the same time. From a callback it never waits.
/// Errors: `ACKBUS_ERR_QUEUE_FULL`, `ACKBUS_ERR_CLOSED`, `ACKBUS_ERR_FAILED`, `ACKBUS_ERR_INVALID_TOPIC`, `ACKBUS_ERR_INVALID_UTF8`, `ACKBUS_ERR_TOO_LARGE`,
/// `ACKBUS_ERR_DISCONNECTED` with `on_disconnect=fail`, `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`. After an error nothing was accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_publish(
    publisher: *const ackbus_publisher,
    topic: *const c_char,
    topic_len: usize,
    payload: *const c_void,
    payload_len: usize,
    tag: u64,
    out_id: *mut u64,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        let topic = call.text(topic, topic_len, "topic")?;
        let payload = call.slice(payload.cast::<u8>(), payload_len, "payload")?;
        call.write(out_id, publisher.publish(topic, payload, tag)?);
        Ok(())
    })
}

/// Publishes a message with headers, ids, expectations or times of its own. Otherwise like `ackbus_publisher_publish`.
///
/// `message`: see `ackbus_message`. `out_id`: takes the message's id; may be NULL.
///
/// Ownership: everything is copied before the call returns. Threads: any, also at the same time. From a callback it never waits.
/// Errors: those of `ackbus_publisher_publish`, and `ACKBUS_ERR_INVALID_HEADER`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_publish_msg(
    publisher: *const ackbus_publisher,
    message: *const ackbus_message,
    out_id: *mut u64,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        let message = call.read(message)?;
        let mut headers = Vec::new();
        message.read_headers(&call, &mut headers)?;
        call.write(out_id, publisher.publish_message(&message.convert(&call, &headers)?)?);
        Ok(())
    })
}

/// Publishes messages in their order until all are accepted or one is not. On a full window it waits as the window frees, `stall_wait_ms` in all, or fails.
/// From a callback it takes what fits.
///
/// `msgs`: an array whose elements are `msgs->struct_size` bytes apart, all alike. `count`: how many; with 0 nothing happens.
/// `out_ids`: an array of `count` ids, of which the first `*out_accepted` are written; may be NULL.
/// `out_accepted`: takes how many messages were accepted, after an error too; may be NULL.
///
/// Ownership: everything is copied before the call returns. Threads: any, also at the same time.
/// Errors: the one of `msgs[*out_accepted]`, as of `ackbus_publisher_publish_msg`. The messages before it are accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_publish_batch(
    publisher: *const ackbus_publisher,
    msgs: *const ackbus_message,
    count: usize,
    out_ids: *mut u64,
    out_accepted: *mut usize,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    let mut accepted = 0;
    let status = guard(&call, err_out, || {
        let publisher = call.shared(publisher)?;
        publish_batch(&call, publisher, msgs, count, |id| {
            call.write_at(out_ids, accepted, id);
            accepted += 1;
        })
    });
    call.write(out_accepted, accepted);
    status
}

fn publish_batch(call: &Call, publisher: &ackbus_publisher, msgs: *const ackbus_message, count: usize, accepted: impl FnMut(u64)) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let size = call.struct_size(msgs)?;
    // The headers of all messages, one behind the other: the core borrows them until the batch ends.
    let mut headers = Vec::new();
    let bad = first_bad(call.structs(msgs, count, size, "msgs")?, |message| message.read_headers(call, &mut headers));
    publish_all(call, publisher, call.structs(msgs, count, size, "msgs")?.map(Ok), Rest::new(&headers, bad), accepted)
}

/// The first message whose headers cannot be read, and its number: it ends the batch.
pub(crate) fn first_bad<M>(messages: impl Iterator<Item = M>, mut read_headers: impl FnMut(M) -> Result<()>) -> Option<(usize, Error)> {
    messages.enumerate().find_map(|(index, message)| read_headers(message).err().map(|error| (index, error)))
}

/// What was read of a batch before its messages: their headers, and which message ends the batch because its headers are bad.
pub(crate) struct Rest<'c> {
    headers: &'c [Header<'c>],
    bad: Option<(usize, Error)>,
}

impl<'c> Rest<'c> {
    pub(crate) fn new(headers: &'c [Header<'c>], bad: Option<(usize, Error)>) -> Self {
        Rest { headers, bad }
    }

    /// The headers of the next message, which is number `index`.
    fn next(&mut self, index: usize, count: usize) -> Result<&'c [Header<'c>]> {
        if let Some((_, error)) = self.bad.take_if(|(at, _)| *at == index) {
            return Err(error);
        }
        let (own, others) = self.headers.split_at_checked(count).unwrap_or_default();
        self.headers = others;
        Ok(own)
    }
}

/// Publishes a batch whose headers were read before.
pub(crate) fn publish_all<'c>(
    call: &'c Call,
    publisher: &ackbus_publisher,
    messages: impl Iterator<Item = Result<ackbus_message>>,
    mut rest: Rest<'c>,
    accepted: impl FnMut(u64),
) -> Result<()> {
    let messages = messages.enumerate().map(|(index, message)| {
        let message = message?;
        message.convert(call, rest.next(index, message.header_count)?)
    });
    publisher.core.publish_batch(messages, accepted)
}

/// Publishes a message and waits for its outcome, which goes to this caller alone.
///
/// `message`: see `ackbus_message`. `timeout_ms`: how long to wait, including for room; 0 does not wait, negative waits without limit.
/// `out`: takes a batch with the one report, or NULL if there is none; it is overwritten in any case. May be NULL.
///
/// Ownership: the message is copied; the batch is the caller's, freed with `ackbus_reports_free`. Threads: any, but not from a callback.
/// Errors: `ACKBUS_OK` only if the message is persisted (or, ephemeral, written); else the report's status, with `*out` set.
/// `ACKBUS_ERR_TIMED_OUT` with `*out` NULL: the message stays pending and its outcome goes the usual way.
/// Else as `ackbus_publisher_publish_msg`, and `ACKBUS_ERR_WRONG_THREAD`: nothing was accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_publish_wait(
    publisher: *const ackbus_publisher,
    message: *const ackbus_message,
    timeout_ms: i64,
    out: *mut *mut ackbus_reports,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        call.write(out, ptr::null_mut());
        let publisher = &call.shared(publisher)?.core;
        may_wait()?;
        let message = call.read(message)?;
        let mut headers = Vec::new();
        message.read_headers(&call, &mut headers)?;
        let reports = ackbus_reports::new(publisher.publish_wait(&message.convert(&call, &headers)?, timeout(timeout_ms))?);
        let outcome = reports.outcome();
        if !out.is_null() {
            call.write(out, give(reports));
        }
        outcome
    })
}
