//! Makes a thread of the program's one that is inside a callback, and tells whether it is.

use ackbus::{Error, Status};

use crate::error::{ackbus_error, ackbus_status};
use crate::guard::guard;
use crate::handle::Call;
use crate::inside::{in_call_of_ours, may_wait};
use crate::panics::guard_or;
use crate::report::ackbus_reports;

/// Makes the calling thread one that is inside a callback, until `ackbus_callback_leave`: for programs that poll and have handlers of their own. Publishes never
/// wait then, and as many of them as `reports` has are admitted whatever other threads wait for: a failed message can be dead-lettered at a full window.
///
/// `reports`: a polled batch, whose places in the window the publishes may use; once for each batch. It stays valid, and is to be freed after leaving. NULL: no
/// places, as in an event's callback.
///
/// Ownership: the batch stays the caller's. Threads: any that is not inside a callback; leave on the same thread, nobody else uses the batch meanwhile.
/// Errors: `ACKBUS_ERR_INVALID_STATE` inside a callback, or if the batch was used so before; `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_callback_enter(reports: *mut ackbus_reports, err_out: *mut *mut ackbus_error) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        if in_call_of_ours() {
            return Err(Error::new(Status::InvalidState, "this thread is inside a callback already"));
        }
        if reports.is_null() { ackbus::enter_callback() } else { call.exclusive(reports)?.enter_callback() }
    })
}

/// Ends what `ackbus_callback_enter` began on the calling thread: places that were not used go back to the window. Otherwise it does nothing.
///
/// Threads: the one that entered. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_callback_leave() {
    guard_or((), || {
        ackbus::leave_callback();
        Ok(())
    });
}

/// Whether the calling thread is inside a callback, a finalizer or between `ackbus_callback_enter` and `ackbus_callback_leave`, of any publisher. Calls that
/// wait return `ACKBUS_ERR_WRONG_THREAD` then.
///
/// Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_in_callback() -> bool {
    guard_or(false, || Ok(may_wait().is_err()))
}
