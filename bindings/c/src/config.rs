//! `ackbus_config`: options, topic rules and callbacks, before a publisher is made of them.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};

use ackbus::{Config, Handlers};

use crate::callback::ackbus_drop_cb;
use crate::error::{ackbus_error, ackbus_status};
use crate::event::{EventSink, ackbus_event_cb};
use crate::guard::guard;
use crate::handle::{Call, Handle, give};
use crate::panics::guard_or;
use crate::report::{ReportSink, ackbus_report_cb};

/// What a publisher is made of: options, topic rules and callbacks. A publisher copies it, so it may be changed, used again or freed after connect.
///
/// Ownership: from `ackbus_config_new` or `ackbus_config_clone` to `ackbus_config_free`. Threads: one at a time.
#[derive(Clone)]
pub struct ackbus_config {
    pub(crate) options: Config,
    /// Clones and publishers share the callbacks; the last to let go runs the finalizer.
    pub(crate) handlers: Handlers,
}

impl Handle for ackbus_config {
    const MAGIC: u64 = u64::from_le_bytes(*b"ackb-cfg");
    const NAME: &'static str = "ackbus_config";
}

/// Makes a config with every option at its default.
///
/// Ownership: the caller's; free it with `ackbus_config_free`. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_config_new() -> *mut ackbus_config {
    guard_or(ptr::null_mut(), || Ok(give(ackbus_config { options: Config::new(), handlers: Handlers::default() })))
}

/// Makes a copy. The callbacks are shared: their finalizers run when the last of all copies and publishers has let go.
///
/// Ownership: the copy is the caller's; free it with `ackbus_config_free`. Threads: any. Returns NULL if `config` is NULL or no config.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_clone(config: *const ackbus_config) -> *mut ackbus_config {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(ptr::null_mut(), || Ok(give(call.shared(config)?.clone())))
}

/// Frees a config; publishers made of it go on. NULL does nothing. If no clone and no publisher shares its callbacks, their finalizers run now.
///
/// Threads: any; nobody else may use the config. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_free(config: *mut ackbus_config) {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or((), || call.take(config).map(drop));
}

/// Sets an option. `key` and `value` are C strings; `docs/CONFIGURATION.md` lists them all. The value is checked now; what only fits or does not fit together
/// with other options is checked by `ackbus_publisher_connect`.
///
/// Ownership: both are copied. Threads: the caller's config alone.
/// Errors: `ACKBUS_ERR_INVALID_OPTION` names the key, the value and what is allowed; `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_INVALID_UTF8`.
/// After an error the option is as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_set(
    config: *mut ackbus_config,
    key: *const c_char,
    value: *const c_char,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let config = call.exclusive(config)?;
        config.options.set(call.c_text(key, "key")?, call.c_text(value, "value")?)?;
        Ok(())
    })
}

/// Reads an option as text. Secrets come back as "***".
///
/// `key`: a C string. `buf`: takes the value and a NUL byte. `cap`: its size in bytes. `out_len`: takes the value's length without the NUL byte; may be NULL.
/// With `buf` NULL and `cap` 0 only the length is told.
///
/// Threads: the caller's config alone, which others may read. Errors: `ACKBUS_ERR_INVALID_OPTION` for an unknown key; `ACKBUS_ERR_INVALID_ARGUMENT` if `buf` is
/// too small: then `*out_len` is written all the same and `buf` is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_get(
    config: *const ackbus_config,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let value = call.shared(config)?.options.get(call.c_text(key, "key")?)?;
        call.write_text(buf, cap, out_len, &value)
    })
}

/// The name of option number `i`, counted from 0; NULL behind the last one.
///
/// Ownership: static, never freed. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_config_key(i: usize) -> *const c_char {
    static KEYS: OnceLock<Vec<CString>> = OnceLock::new();
    guard_or(ptr::null(), || Ok(nth(&KEYS, Config::keys(), i)))
}

/// The name of topic option number `i`, counted from 0; NULL behind the last one.
///
/// Ownership: static, never freed. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_config_topic_key(i: usize) -> *const c_char {
    static KEYS: OnceLock<Vec<CString>> = OnceLock::new();
    guard_or(ptr::null(), || Ok(nth(&KEYS, Config::topic_keys(), i)))
}

fn nth(cache: &'static OnceLock<Vec<CString>>, keys: &[&str], i: usize) -> *const c_char {
    let keys = cache.get_or_init(|| keys.iter().filter_map(|key| CString::new(*key).ok()).collect());
    keys.get(i).map_or(ptr::null(), |key| key.as_ptr())
}

/// Says how the topics that match `pattern` are handled. `pattern`: a topic in which `*` stands for one token and `>` for all that follow; the most specific
/// pattern wins. `key` and `value`: a topic option, such as "stream" and "ORDERS"; `docs/CONFIGURATION.md` lists them all. All three are C strings.
///
/// Ownership: all are copied. Threads: the caller's config alone. Errors: `ACKBUS_ERR_INVALID_TOPIC` for the pattern, `ACKBUS_ERR_INVALID_OPTION`,
/// `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_INVALID_UTF8`. After an error the rule is as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_set_topic(
    config: *mut ackbus_config,
    pattern: *const c_char,
    key: *const c_char,
    value: *const c_char,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let config = call.exclusive(config)?;
        config.options.set_topic(call.c_text(pattern, "pattern")?, call.c_text(key, "key")?, call.c_text(value, "value")?)?;
        Ok(())
    })
}

/// Sets the callback for reports. Without one the publisher is in poll mode: see `ackbus_publisher_poll`. The option `report` says which reports come: failures
/// (the default), all or none. A second call replaces the callback and lets go of the first.
///
/// `user_data`: passed on as it is; may be NULL. `finalizer`: called once with it when nobody needs it any more; may be NULL.
/// Ownership: with `ACKBUS_OK` the library holds `user_data` until the finalizer; after an error it stays with the caller and the finalizer does not run.
///
/// Threads: the caller's config alone. Errors: `ACKBUS_ERR_INVALID_ARGUMENT` if the callback is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_on_reports(
    config: *mut ackbus_config,
    callback: ackbus_report_cb,
    user_data: *mut c_void,
    finalizer: ackbus_drop_cb,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let handlers = &mut call.exclusive(config)?.handlers;
        let old = handlers.reports.replace(Arc::new(ReportSink::new(callback, user_data, finalizer)?));
        // Its finalizer may run here and is free to use the config again.
        drop(old);
        Ok(())
    })
}

/// Sets the callback for events of the connection and of streams. Without one they wait for `ackbus_publisher_poll_events`. It runs on the same thread as the
/// report callback.
///
/// Parameters, ownership, threads and errors are those of `ackbus_config_on_reports`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_config_on_event(
    config: *mut ackbus_config,
    callback: ackbus_event_cb,
    user_data: *mut c_void,
    finalizer: ackbus_drop_cb,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let handlers = &mut call.exclusive(config)?.handlers;
        let old = handlers.events.replace(Arc::new(EventSink::new(callback, user_data, finalizer)?));
        drop(old);
        Ok(())
    })
}
