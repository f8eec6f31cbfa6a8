//! The one place where an error becomes a status and an `ackbus_error`.

use std::ptr;

use ackbus::{Error, Result};

use crate::error::{ACKBUS_OK, ackbus_error, ackbus_status};
use crate::handle::{Call, give};
use crate::panics::caught;

/// Runs the body of a function that returns a status. `err_out` is overwritten, never read; with NULL nothing is allocated for it.
#[inline]
pub(crate) fn guard(call: &Call, err_out: *mut *mut ackbus_error, body: impl FnOnce() -> Result<()>) -> ackbus_status {
    match caught(body) {
        Ok(()) => {
            call.write(err_out, ptr::null_mut());
            ACKBUS_OK
        }
        Err(error) => failed(call, err_out, error),
    }
}

#[cold]
fn failed(call: &Call, err_out: *mut *mut ackbus_error, error: Error) -> ackbus_status {
    let status = error.status() as ackbus_status;
    if !err_out.is_null() {
        call.write(err_out, give(ackbus_error::new(error)));
    }
    status
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::error::{ACKBUS_ERR_INTERNAL, ackbus_error_free, ackbus_error_message};
    use crate::panics::guard_or;

    /// P7. The C programs cannot make the library panic, so this is tested here.
    #[test]
    fn a_panic_becomes_an_error() {
        // SAFETY: the pointers below are a local's and one of `give`.
        let call = unsafe { Call::from_c() };
        let mut error = ptr::null_mut();
        assert_eq!(guard(&call, &raw mut error, || panic!("out of {}", "cheese")), ACKBUS_ERR_INTERNAL);
        // SAFETY: made by `give` a moment ago.
        let text = unsafe { ackbus_error_message(error) };
        assert_eq!(call.str(text, "text").ok(), Some("a panic inside ackbus: out of cheese"));
        // SAFETY: as above, and this is its last use.
        unsafe { ackbus_error_free(error) };

        assert_eq!(guard(&call, ptr::null_mut(), || panic!("nobody asks why")), ACKBUS_ERR_INTERNAL);
        assert_eq!(guard_or(7, || panic!("no way to tell")), 7);
    }
}
