//! `callback, user_data, finalizer` as one value with one drop.

use std::ffi::c_void;

use ackbus::{Error, Result, Status};

use crate::inside::inside;

/// Called once when the library will not use `user_data` again: after the last callback has returned and the last config or publisher that holds it has let go.
///
/// Threads: the thread that let go last. It may publish; calls that wait return `ACKBUS_ERR_WRONG_THREAD`.
pub type ackbus_drop_cb = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

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
