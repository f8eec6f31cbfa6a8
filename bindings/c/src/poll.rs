//! The polling functions of `ackbus_publisher`.

use std::ffi::c_int;

use ackbus::{Error, Result, Status};

use crate::error::{ackbus_error, ackbus_status};
use crate::event::ackbus_events;
use crate::guard::guard;
use crate::handle::{Call, give};
use crate::inside::may_wait;
use crate::message::timeout;
use crate::panics::guard_or;
use crate::publisher::{ackbus_publisher, not_forked};
use crate::report::ackbus_reports;

/// Fetches reports, in poll mode: when no report callback was set. Returns as soon as there is at least one.
///
/// `max`: at most so many, at least 1. `timeout_ms`: how long to wait for the first; 0 does not wait, negative waits without limit.
/// `out`: takes a batch, which is empty if nothing came in time.
///
/// Ownership: the batch is the caller's, freed with `ackbus_reports_free`; until then its messages keep their places in the window.
/// Threads: any, also at the same time, but not from a callback.
/// Errors: `ACKBUS_ERR_CLOSED` after close when none is left; `ACKBUS_ERR_INVALID_STATE` if a report callback is set; `ACKBUS_ERR_WRONG_THREAD`,
/// `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_poll(
    publisher: *const ackbus_publisher,
    max: usize,
    timeout_ms: i64,
    out: *mut *mut ackbus_reports,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        call.needs(out, "out")?;
        may_wait()?;
        let reports = publisher.poll(at_least_one(max)?, timeout(timeout_ms))?;
        call.write(out, give(ackbus_reports::new(reports)));
        Ok(())
    })
}

/// Fetches events, when no event callback was set. Returns as soon as there is at least one.
///
/// `max`: at most so many, at least 1. `timeout_ms`: how long to wait for the first; 0 does not wait, negative waits without limit.
/// `out`: takes a batch, which is empty if nothing came in time.
///
/// Ownership: the batch is the caller's, freed with `ackbus_events_free`. Threads: any, also at the same time, but not from a callback.
/// Errors: those of `ackbus_publisher_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_poll_events(
    publisher: *const ackbus_publisher,
    max: usize,
    timeout_ms: i64,
    out: *mut *mut ackbus_events,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        call.needs(out, "out")?;
        may_wait()?;
        let events = publisher.poll_events(at_least_one(max)?, timeout(timeout_ms))?;
        call.write(out, give(ackbus_events::new(&events)));
        Ok(())
    })
}

fn at_least_one(max: usize) -> Result<usize> {
    if max == 0 { Err(Error::new(Status::InvalidArgument, "max is 0; it must be at least 1")) } else { Ok(max) }
}

/// A file descriptor for poll, epoll or an event loop. It is readable while reports or events wait, or when there is room again after an
/// `ACKBUS_ERR_QUEUE_FULL`. Level-triggered: only `ackbus_publisher_poll` and `ackbus_publisher_poll_events` clear it.
///
/// Room: as soon as one of the publishes that got `ACKBUS_ERR_QUEUE_FULL` would be let in, be it that a place or bytes are free, a share (`gate_share`), or that a
/// gate opened; also when the publisher was closed or its rules changed. `ackbus_reports_has_room` of the next batch says so, once. Then try again what was refused:
/// all of it, in the order of its coming, up to the first that is refused with `ackbus_error_held_by` 0; one that waits for a share (another number) holds up
/// those with the same number only. What is refused again is told again. What is not tried again is not told again.
///
/// Ownership: the publisher's; do not read, write or close it. It ends with `ackbus_publisher_free`. Threads: any.
/// Returns -1 if a report callback is set, and after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_wake_fd(publisher: *const ackbus_publisher) -> c_int {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(-1, || {
        let publisher = &call.shared(publisher)?.core;
        not_forked()?;
        Ok(publisher.wake_fd().unwrap_or(-1))
    })
}
