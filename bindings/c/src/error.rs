//! `ackbus_status` and `ackbus_error`.

use std::ffi::c_char;

use ackbus::{Error, Status};

use crate::handle::{Call, Handle};
use crate::panics::guard_or;
use crate::text::{Terminated, ackbus_str, terminated};

/// The result of a call, or the final word on a message: `ACKBUS_OK` or one of `ACKBUS_ERR_...`.
///
/// The numbers are part of the ABI and never change; later versions add some. The groups: the call was wrong (100 and up), flow (200), transport (300),
/// JetStream said no (400), ackbus itself (500).
pub type ackbus_status = i32;

/// Done; for a message: persisted (or, ephemeral, written).
pub const ACKBUS_OK: ackbus_status = 0;
/// An argument is missing or has a value that is not allowed.
pub const ACKBUS_ERR_INVALID_ARGUMENT: ackbus_status = 100;
/// Text that must be UTF-8 is not.
pub const ACKBUS_ERR_INVALID_UTF8: ackbus_status = 101;
/// The topic is empty, has empty tokens, wildcards, blanks or control bytes, or is too long.
pub const ACKBUS_ERR_INVALID_TOPIC: ackbus_status = 102;
/// A header name or value is not allowed, or the header block is too large.
pub const ACKBUS_ERR_INVALID_HEADER: ackbus_status = 103;
/// An option's key is unknown or its value is not allowed.
pub const ACKBUS_ERR_INVALID_OPTION: ackbus_status = 104;
/// The call does not fit the publisher's mode or state, such as polling while callbacks are set.
pub const ACKBUS_ERR_INVALID_STATE: ackbus_status = 105;
/// A waiting call was made from a callback (P5).
pub const ACKBUS_ERR_WRONG_THREAD: ackbus_status = 106;
/// The message can never be sent: larger than `max_pending_bytes`, the server's `max_payload` or the stream's limit.
pub const ACKBUS_ERR_TOO_LARGE: ackbus_status = 107;
/// Header and library do not fit together.
pub const ACKBUS_ERR_ABI_MISMATCH: ackbus_status = 108;
/// The process was forked after it first connected (P8).
pub const ACKBUS_ERR_FORKED: ackbus_status = 109;
/// The window of pending messages is full.
pub const ACKBUS_ERR_QUEUE_FULL: ackbus_status = 200;
/// The time that the caller gave ran out.
pub const ACKBUS_ERR_TIMED_OUT: ackbus_status = 201;
/// The message was removed by `purge`.
pub const ACKBUS_ERR_PURGED: ackbus_status = 202;
/// A callback had not returned one second after the end of `close`'s time (P6).
pub const ACKBUS_ERR_CALLBACK_BUSY: ackbus_status = 203;
/// The publisher is closed, or was closed before the message's outcome was known.
pub const ACKBUS_ERR_CLOSED: ackbus_status = 204;
/// The host wanted its thread back while the call waited. Language bindings only: no function of this header returns it.
pub const ACKBUS_ERR_INTERRUPTED: ackbus_status = 205;
/// There is no connection to a server.
pub const ACKBUS_ERR_DISCONNECTED: ackbus_status = 300;
/// No server could be reached.
pub const ACKBUS_ERR_CONNECT_FAILED: ackbus_status = 301;
/// The server refused the credentials.
pub const ACKBUS_ERR_AUTH_FAILED: ackbus_status = 302;
/// The TLS handshake or the check of a certificate failed.
pub const ACKBUS_ERR_TLS_FAILED: ackbus_status = 303;
/// No acknowledgement came until the message's deadline or its last attempt.
pub const ACKBUS_ERR_ACK_TIMEOUT: ackbus_status = 304;
/// The server's permissions do not allow this topic, or not the replies.
pub const ACKBUS_ERR_DENIED: ackbus_status = 305;
/// The server sent something that is not its protocol.
pub const ACKBUS_ERR_PROTOCOL_ERROR: ackbus_status = 306;
/// The publisher gave up for good; its last error tells why.
pub const ACKBUS_ERR_FAILED: ackbus_status = 307;
/// No stream takes the topic.
pub const ACKBUS_ERR_NO_STREAM: ackbus_status = 400;
/// The stream is full and refuses new messages.
pub const ACKBUS_ERR_STREAM_FULL: ackbus_status = 401;
/// The server is overloaded and refused the message until its deadline.
pub const ACKBUS_ERR_OVERLOADED: ackbus_status = 402;
/// An expectation (last sequence, last id, stream) did not hold.
pub const ACKBUS_ERR_WRONG_EXPECTATION: ackbus_status = 403;
/// An account or server quota is used up.
pub const ACKBUS_ERR_QUOTA_EXCEEDED: ackbus_status = 404;
/// JetStream refused the message for another reason; see the server code and text.
pub const ACKBUS_ERR_REJECTED: ackbus_status = 405;
/// The stream has no leader or the server no resources, until the message's deadline.
pub const ACKBUS_ERR_UNAVAILABLE: ackbus_status = 406;
/// The stream could not be created.
pub const ACKBUS_ERR_CREATE_FAILED: ackbus_status = 407;
/// A fault inside ackbus. Please report it.
pub const ACKBUS_ERR_INTERNAL: ackbus_status = 500;

/// Why a call failed: a status, a text for people, and what to do about it.
///
/// Ownership: made by the function that fails, if it was given an `err_out`; free it with `ackbus_error_free`. Threads: any, also at the same time.
pub struct ackbus_error {
    error: Error,
    message: Terminated,
}

impl Handle for ackbus_error {
    const MAGIC: u64 = u64::from_le_bytes(*b"ackb-err");
    const NAME: &'static str = "ackbus_error";
}

impl ackbus_error {
    pub(crate) fn new(error: Error) -> Self {
        let message = Terminated::new(error.message());
        ackbus_error { error, message }
    }
}

/// The error's status. NULL gives `ACKBUS_OK`.
///
/// Threads: any. Errors: `ACKBUS_ERR_INVALID_ARGUMENT` if this is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_status(error: *const ackbus_error) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(ACKBUS_ERR_INVALID_ARGUMENT, || if error.is_null() { Ok(ACKBUS_OK) } else { Ok(call.shared(error)?.error.status() as ackbus_status) })
}

/// The error's text: what was wrong, which value, what is allowed. NULL gives an empty text.
///
/// Ownership: the text belongs to the error and ends with it. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_message(error: *const ackbus_error) -> ackbus_str {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(ackbus_str::EMPTY, || Ok(call.shared(error)?.message.view()))
}

/// JetStream's `err_code`, or the status of a reply without a body (such as 503); 0 if the server had no part in it, or for NULL.
///
/// Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_server_code(error: *const ackbus_error) -> u32 {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(0, || Ok(call.shared(error)?.error.server_code()))
}

/// Of `ACKBUS_ERR_QUEUE_FULL`: what the publish waits for. 0: room in the window. Another number: room in the share of a stream that is held (`gate_share`); it is
/// the same for all that wait for the same share. A program with waiting lines of its own keeps one for each number: those behind 0 go in the order of their
/// coming, and no line holds up another. 0 for other errors, and for NULL.
///
/// Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_held_by(error: *const ackbus_error) -> u64 {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(0, || Ok(call.shared(error)?.error.held_by()))
}

/// Whether the same call may succeed later. It speaks of the call, not of a message: whether a message may be published again is told by
/// `ackbus_report.persistence`.
///
/// Threads: any. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_is_retriable(error: *const ackbus_error) -> bool {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(false, || Ok(call.shared(error)?.error.is_retriable()))
}

/// Whether the publisher is beyond repair: no later call on it can succeed, except close and free.
///
/// Threads: any. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_is_fatal(error: *const ackbus_error) -> bool {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(false, || Ok(call.shared(error)?.error.is_fatal()))
}

/// Frees an error and its text. NULL does nothing.
///
/// Threads: any; nobody else may use the error. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_error_free(error: *mut ackbus_error) {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or((), || call.take(error).map(drop));
}

/// A status' stable upper-case name, such as "QUEUE_FULL"; "UNKNOWN" for a number that this version does not know.
///
/// Ownership: static, never freed. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_status_name(status: ackbus_status) -> *const c_char {
    find(status).map_or(c"UNKNOWN".as_ptr(), |row| row.name.as_ptr().cast())
}

/// One sentence for people on a status; "unknown status" for a number that this version does not know.
///
/// Ownership: static, never freed. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_status_text(status: ackbus_status) -> *const c_char {
    find(status).map_or(c"unknown status".as_ptr(), |row| row.text.as_ptr().cast())
}

/// Whether what failed with this status may succeed later, as `ackbus_error_is_retriable` says it of an error; for the status of a report, which comes without
/// one. Whether the message may be published again is told by `ackbus_report.persistence`. False for a number that this version does not know.
///
/// Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_status_is_retriable(status: ackbus_status) -> bool {
    Status::from_code(status).is_some_and(Status::is_retriable)
}

/// A status' words with NUL bytes behind them.
struct Row {
    name: [u8; 32],
    text: [u8; 96],
}

static ROWS: [Row; Status::ALL.len()] = {
    let mut rows = [const { Row { name: [0; _], text: [0; _] } }; Status::ALL.len()];
    let mut index = 0;
    while index < rows.len() {
        rows[index] = Row { name: terminated(Status::ALL[index].name()), text: terminated(Status::ALL[index].text()) };
        index += 1;
    }
    rows
};

fn find(status: ackbus_status) -> Option<&'static Row> {
    Status::ALL.iter().zip(&ROWS).find(|(known, _)| **known as ackbus_status == status).map(|(_, row)| row)
}
