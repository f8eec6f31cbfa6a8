//! `ackbus_publisher`: its life. See `publish.rs` and `poll.rs` for what it is there for.

use std::ffi::c_char;
use std::ptr;

use ackbus::{Error, Publisher, Purge, Result, Status};

use crate::config::ackbus_config;
use crate::error::{ackbus_error, ackbus_status};
use crate::guard::guard;
use crate::handle::{Call, Handle, give};
use crate::inside::may_wait;
use crate::message::timeout;
use crate::panics::guard_or;

/// For `ackbus_publisher_purge`: the messages that were never sent.
pub const ACKBUS_PURGE_UNSENT: u32 = 1;
/// For `ackbus_publisher_purge`: the messages that were sent and are not acknowledged.
pub const ACKBUS_PURGE_IN_FLIGHT: u32 = 2;

/// A connection to the bus: accepts messages, sends them, and tells the outcome of each.
///
/// Ownership: from `ackbus_publisher_connect` to `ackbus_publisher_free`. Threads: any, also at the same time, except for free.
pub struct ackbus_publisher {
    pub(crate) core: Publisher,
}

impl Handle for ackbus_publisher {
    const MAGIC: u64 = u64::from_le_bytes(*b"ackb-pub");
    const NAME: &'static str = "ackbus_publisher";
}

/// Refuses a call in a forked child where the core's function cannot say so (P8).
pub(crate) fn not_forked() -> Result<()> {
    if ackbus::forked() { Err(Error::new(Status::Forked, Status::Forked.text())) } else { Ok(()) }
}

/// Makes a publisher and connects it. Waits up to `connect_timeout_ms`; with `retry_on_connect` it returns at once and goes on trying.
///
/// `config`: is copied. `out`: takes the publisher.
///
/// Ownership: the publisher is the caller's, freed with `ackbus_publisher_free`. After an error there is none, and the config's callbacks stay with the config.
/// Threads: any, but not from a callback.
/// Errors: `ACKBUS_ERR_CONNECT_FAILED`, `ACKBUS_ERR_AUTH_FAILED`, `ACKBUS_ERR_TLS_FAILED`, `ACKBUS_ERR_DENIED`, whose texts name the server and the cause;
/// `ACKBUS_ERR_INVALID_OPTION` for options that do not fit together; `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_WRONG_THREAD`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_connect(
    config: *const ackbus_config,
    out: *mut *mut ackbus_publisher,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let config = call.shared(config)?;
        call.needs(out, "out")?;
        may_wait()?;
        let core = Publisher::connect(&config.options, config.handlers.clone())?;
        call.write(out, give(ackbus_publisher { core }));
        Ok(())
    })
}

/// Waits until the publisher is connected; for use with `retry_on_connect`, or after a connection was lost.
///
/// `timeout_ms`: 0 does not wait, negative waits without limit.
///
/// Threads: any, also at the same time, but not from a callback.
/// Errors: `ACKBUS_ERR_TIMED_OUT`, `ACKBUS_ERR_CLOSED`, `ACKBUS_ERR_FAILED`, `ACKBUS_ERR_WRONG_THREAD`, `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_wait_connected(
    publisher: *const ackbus_publisher,
    timeout_ms: i64,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        may_wait()?;
        publisher.wait_connected(timeout(timeout_ms))
    })
}

/// Changes a topic rule while the publisher runs. It holds for messages that are published after the call.
///
/// Parameters, ownership and errors are those of `ackbus_config_set_topic`, and `ACKBUS_ERR_FORKED`. Threads: any, also at the same time; never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_set_topic(
    publisher: *const ackbus_publisher,
    pattern: *const c_char,
    key: *const c_char,
    value: *const c_char,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        publisher.set_topic(call.c_text(pattern, "pattern")?, call.c_text(key, "key")?, call.c_text(value, "value")?)
    })
}

/// Waits for all messages that were accepted before the call: in callback mode until their reports have returned, in poll mode until they are settled.
///
/// `timeout_ms`: 0 does not wait, negative waits without limit.
///
/// Threads: any, also at the same time, but not from a callback.
/// Errors: `ACKBUS_ERR_TIMED_OUT`, `ACKBUS_ERR_WRONG_THREAD`, `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`. A message that failed is no error here: its
/// report tells.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_flush(publisher: *const ackbus_publisher, timeout_ms: i64, err_out: *mut *mut ackbus_error) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        may_wait()?;
        publisher.flush(timeout(timeout_ms))
    })
}

/// Gives up pending messages: they are settled now, with `ACKBUS_ERR_PURGED`, and reported like any other.
///
/// `flags`: `ACKBUS_PURGE_UNSENT`, `ACKBUS_PURGE_IN_FLIGHT` or both; what was in flight may be persisted all the same. `out_count`: takes how many; may be NULL.
///
/// Threads: any, also at the same time, but not from a callback.
/// Errors: `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_CLOSED`, `ACKBUS_ERR_WRONG_THREAD`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_purge(
    publisher: *const ackbus_publisher,
    flags: u32,
    out_count: *mut u64,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        let what = purge(flags)?;
        may_wait()?;
        let count = publisher.purge(what)?;
        call.write(out_count, count);
        Ok(())
    })
}

fn purge(flags: u32) -> Result<Purge> {
    if flags == 0 || flags & !(ACKBUS_PURGE_UNSENT | ACKBUS_PURGE_IN_FLIGHT) != 0 {
        let text = format!("flags is {flags:#x}; it must be ACKBUS_PURGE_UNSENT, ACKBUS_PURGE_IN_FLIGHT or both");
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(Purge { unsent: flags & ACKBUS_PURGE_UNSENT != 0, in_flight: flags & ACKBUS_PURGE_IN_FLIGHT != 0 })
}

/// How many messages are accepted and not yet settled, or settled and not yet delivered. 0 after an error.
///
/// Threads: any, also at the same time; never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_pending(publisher: *const ackbus_publisher) -> u64 {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(0, || {
        let publisher = &call.shared(publisher)?.core;
        not_forked()?;
        Ok(publisher.pending())
    })
}

/// Their bytes, as `max_pending_bytes` counts them. 0 after an error.
///
/// Threads: any, also at the same time; never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_pending_bytes(publisher: *const ackbus_publisher) -> u64 {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(0, || {
        let publisher = &call.shared(publisher)?.core;
        not_forked()?;
        Ok(publisher.pending_bytes())
    })
}

/// Closes the publisher: publishes, also waiting ones, return `ACKBUS_ERR_CLOSED`; the call waits for acknowledgements, settles what is left when the time is
/// up (with `ACKBUS_ERR_CLOSED`), delivers all reports and ends the threads. After it no callback runs. In poll mode reports can still be polled.
///
/// `timeout_ms`: how long to wait for acknowledgements; 0 does not wait, negative: `close_timeout_ms`. Time in callbacks comes on top.
///
/// Ownership: the handle stays valid until `ackbus_publisher_free`. Threads: any, but not from a callback; several wait for the same end. Closing a closed
/// publisher is `ACKBUS_OK`.
/// Errors: `ACKBUS_ERR_CALLBACK_BUSY` if a callback has not returned one second after the end of the time: call close again. `ACKBUS_ERR_WRONG_THREAD`,
/// `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_close(publisher: *const ackbus_publisher, timeout_ms: i64, err_out: *mut *mut ackbus_error) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        may_wait()?;
        publisher.close(timeout(timeout_ms))
    })
}

/// Frees the publisher, and closes it first if it is open, with `close_timeout_ms`. NULL does nothing. In a child of fork it leaks the publisher and returns
/// `ACKBUS_OK`.
///
/// Ownership: after `ACKBUS_OK` the handle is gone. After `ACKBUS_ERR_WRONG_THREAD` (in a callback) and `ACKBUS_ERR_CALLBACK_BUSY` (a callback does not return)
/// it is still valid: free it later. Batches of reports and events stay valid. Threads: any, but not from a callback; nobody else may use the publisher.
/// Errors: these two, and `ACKBUS_ERR_INVALID_ARGUMENT` if this is no publisher.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_free(publisher: *mut ackbus_publisher) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, ptr::null_mut(), || {
        if publisher.is_null() {
            return Ok(());
        }
        let core = &call.shared(publisher.cast_const())?.core;
        if ackbus::forked() {
            // P8: its threads are not in this process and its locks may be held for ever.
            return Ok(());
        }
        may_wait()?;
        if let Err(error) = core.close(None)
            && matches!(error.status(), Status::WrongThread | Status::CallbackBusy)
        {
            return Err(error);
        }
        call.take(publisher).map(drop)
    })
}
