//! The one place where panics end and where errors become a status.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ackbus::{Error, Result, Status};

use crate::error::{ACKBUS_OK, ackbus_error, ackbus_status};
use crate::handle::{Call, give};

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

/// Runs the body of a function that cannot say that it failed; then it returns `otherwise`.
#[inline]
pub(crate) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> Result<T>) -> T {
    caught(body).unwrap_or(otherwise)
}

/// T12: an unwinding panic would abort the host at the `extern "C"` boundary. What a panic leaves behind is the core's matter: it settles all and fails (P1).
#[inline]
#[allow(clippy::disallowed_methods, reason = "this is the place for it")]
fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(internal(&*panic)))
}

#[cold]
fn failed(call: &Call, err_out: *mut *mut ackbus_error, error: Error) -> ackbus_status {
    let status = error.status() as ackbus_status;
    if !err_out.is_null() {
        call.write(err_out, give(ackbus_error::new(error)));
    }
    status
}

#[cold]
fn internal(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Status::Internal, format!("a panic inside ackbus: {}", text.unwrap_or("no text")))
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::error::{ACKBUS_ERR_INTERNAL, ackbus_error_free, ackbus_error_message};

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
