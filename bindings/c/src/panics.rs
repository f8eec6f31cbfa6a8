//! The one place where panics end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ackbus::{Error, Result, Status};

/// Runs the body of a function that cannot say that it failed; then it returns `otherwise`.
#[inline]
pub(crate) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> Result<T>) -> T {
    caught(body).unwrap_or(otherwise)
}

/// T12: an unwinding panic would abort the host at the `extern "C"` boundary. What a panic leaves behind is the core's matter: it settles all and fails (P1).
#[inline]
#[allow(clippy::disallowed_methods, reason = "this is the place for it")]
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(internal(&*panic)))
}

#[cold]
fn internal(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Status::Internal, format!("a panic inside ackbus: {}", text.unwrap_or("no text")))
}
