//! `ackbus_log_set`: where the library's log goes.

use std::ffi::c_void;
use std::sync::Arc;

use ackbus::log::{self, Level};
use ackbus::{Error, Result, Status};

use crate::callback::{Callback, ackbus_drop_cb};
use crate::error::{ackbus_error, ackbus_status};
use crate::guard::guard;
use crate::handle::Call;
use crate::inside::inside;
use crate::text::{Terminated, ackbus_str};

/// A log level: nothing.
pub const ACKBUS_LOG_OFF: i32 = 0;
/// A log level: a publisher cannot go on, or messages were lost to it.
pub const ACKBUS_LOG_ERROR: i32 = 1;
/// A log level: something needs an operator's eye: a lost connection, a held gate, too much pending.
pub const ACKBUS_LOG_WARN: i32 = 2;
/// A log level: what happens to a publisher in ordinary life.
pub const ACKBUS_LOG_INFO: i32 = 3;
/// A log level: why the bus decided as it did.
pub const ACKBUS_LOG_DEBUG: i32 = 4;
/// A log level: single frames and acks.
pub const ACKBUS_LOG_TRACE: i32 = 5;

/// Receives one line of the log.
///
/// `user_data`: as given to `ackbus_log_set`. `level`: `ACKBUS_LOG_ERROR` to `ACKBUS_LOG_TRACE`. `target`: the part of the library that speaks, such as "ackbus::wire". `text`: the line,
/// without a newline.
///
/// Ownership: the texts end when the callback returns. Threads: the library's log thread, one call at a time. Calls that wait return `ACKBUS_ERR_WRONG_THREAD`.
pub type ackbus_log_cb = Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: ackbus_str, text: ackbus_str)>;

type LogFn = unsafe extern "C" fn(*mut c_void, i32, ackbus_str, ackbus_str);

/// Says where the log of all publishers of this process goes, and down to which level; replaces what was set before. Without it nothing is logged.
/// `ACKBUS_LOG_OFF` with `callback` NULL ends the log.
///
/// `max_level`: `ACKBUS_LOG_OFF` to `ACKBUS_LOG_TRACE`. `user_data`: passed on as it is; may be NULL. `finalizer`: called once with it after the last line, when
/// the callback is replaced; may be NULL.
///
/// Ownership: with `ACKBUS_OK` the library holds `user_data` until the finalizer; after an error it stays with the caller and the finalizer does not run.
/// Threads: any, also at the same time, also from callbacks; never waits. A callback that falls behind loses lines, and is told how many.
/// Errors: `ACKBUS_ERR_INVALID_ARGUMENT` for a level that does not exist, or a level without a callback; `ACKBUS_ERR_QUEUE_FULL` when many changes wait for a
/// callback that does not return; `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_log_set(
    max_level: i32,
    callback: ackbus_log_cb,
    user_data: *mut c_void,
    finalizer: ackbus_drop_cb,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let level = level(max_level)?;
        let Some(function) = callback else { return log::set(level, None) };
        let callback = Arc::new(Callback::new(Some(function), user_data, finalizer)?);
        let set = log::set(level, Some(Box::new(sink(Arc::clone(&callback)))));
        if set.is_err()
            && let Some(callback) = Arc::into_inner(callback)
        {
            callback.disarm();
        }
        set
    })
}

fn level(number: i32) -> Result<Level> {
    Level::from_code(number).ok_or_else(|| {
        let text = format!("max_level is {number}; it must be {ACKBUS_LOG_OFF} (off) to {ACKBUS_LOG_TRACE} (trace)");
        Error::new(Status::InvalidArgument, text)
    })
}

fn sink(callback: Arc<Callback<LogFn>>) -> impl Fn(Level, &str, &str) + Send + 'static {
    move |level, target, text| {
        let (target, text) = (Terminated::new(target), Terminated::new(text));
        // SAFETY: C gave function and user_data together; the texts are valid until this returns.
        inside(|| unsafe { (callback.function)(callback.user_data, level as i32, target.view(), text.view()) });
    }
}
