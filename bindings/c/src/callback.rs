//! `callback, user_data, finalizer` as one value with one drop.

use std::cell::Cell;
use std::ffi::c_void;

use ackbus::{Error, Result, Status};

use crate::error::{ackbus_error, ackbus_status};
use crate::guard::{guard, guard_or};
use crate::handle::Call;
use crate::report::ackbus_reports;

/// Called once when the library will not use `user_data` again: after the last callback has returned and the last config or publisher that holds it has let go.
///
/// Threads: the thread that let go last. It may publish; calls that wait return `ACKBUS_ERR_WRONG_THREAD`.
pub type ackbus_drop_cb = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

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
        if INSIDE.get() {
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

thread_local! {
    /// A finalizer or a log callback runs on this thread. The core knows of its own callbacks only.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a function of C's that the core does not know to be a callback.
pub(crate) fn inside(run: impl FnOnce()) {
    let outer = INSIDE.replace(true);
    run();
    INSIDE.set(outer);
}

/// Refuses a waiting call from inside a callback (P5).
pub(crate) fn may_wait() -> Result<()> {
    if ackbus::in_callback() || INSIDE.get() {
        return Err(Error::new(Status::WrongThread, "this call waits, so it may not be made from a callback"));
    }
    Ok(())
}

/// A function of C's and the pointer that it gets.
pub(crate) struct Callback<F> {
    pub(crate) function: F,
    pub(crate) user_data: *mut c_void,
    finalizer: ackbus_drop_cb,
}

impl<F> Callback<F> {
    pub(crate) fn new(function: Option<F>, user_data: *mut c_void, finalizer: ackbus_drop_cb) -> Result<Self> {
        let function = function.ok_or_else(|| Error::new(Status::InvalidArgument, "the callback is NULL"))?;
        Ok(Callback { function, user_data, finalizer })
    }

    /// Lets go without the finalizer: the call that should have taken it over failed.
    pub(crate) fn disarm(mut self) {
        self.finalizer = None;
    }
}

impl<F> Drop for Callback<F> {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: C gave the two together, and this is their one last call.
            inside(|| unsafe { finalizer(self.user_data) });
        }
    }
}

// SAFETY: the header demands that callback, user_data and finalizer may be used from any thread; F is a function pointer.
unsafe impl<F: Send> Send for Callback<F> {}
// SAFETY: as above; the core makes one call at a time per publisher, and publishers that share a config may call at the same time, which the header says.
unsafe impl<F: Sync> Sync for Callback<F> {}
