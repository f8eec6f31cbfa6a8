//! A publisher's figures as OpenMetrics text.

use std::ffi::c_char;

use ackbus::{Publisher, Result};

use crate::error::{ackbus_error, ackbus_status};
use crate::guard::guard;
use crate::handle::Call;
use crate::layout::Plain;
use crate::publisher::{ackbus_publisher, not_forked};

/// How many bytes always suffice for `ackbus_publisher_metrics`, its NUL byte included. Later versions may add metrics: there is room for them.
pub const ACKBUS_METRICS_MAX: usize = 131_072;
// No text has so many bytes, so there is room for the NUL byte.
const _: () = assert!(ACKBUS_METRICS_MAX == ackbus::METRICS_MAX);

// SAFETY: a primitive.
unsafe impl Plain for *const ackbus_publisher {}

/// Writes the publisher's figures as OpenMetrics 1.0 text: those of `ackbus_stats`, failures by status, latencies as a histogram, limits, state and server.
/// `docs/STATISTICS.md` lists all metrics. Every sample has the label `publisher`, which is the option `name`; the text ends with "# EOF" and a newline. To serve
/// it over HTTP is the program's part, as `ACKBUS_METRICS_CONTENT_TYPE`; the library never listens. It stays readable after close.
///
/// `buf`: takes the text and a NUL byte. `cap`: its size in bytes; `ACKBUS_METRICS_MAX` always suffices. `out_len`: takes the text's length without the NUL byte;
/// may be NULL. With `buf` NULL and `cap` 0 only the length is told, but figures grow: the next text may be longer.
///
/// Threads: any, also at the same time; never waits. Errors: `ACKBUS_ERR_INVALID_ARGUMENT`, also if `buf` is too small: then `*out_len` is written all the same
/// and `buf` is not; `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_metrics(
    publisher: *const ackbus_publisher,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let publisher = &call.shared(publisher)?.core;
        write(&call, &[publisher], buf, cap, out_len)
    })
}

/// The same for several publishers, as one text: a text may describe a metric only once, so the texts of two publishers cannot stand one behind the other.
///
/// `publishers`: an array of `count`; NULL with 0. Where several have the same name, the second in the array gets the label "name#2", and so on: give each a
/// name, or the same array each time. One that is there twice is told once. `cap`: `count * ACKBUS_METRICS_MAX` always suffices, but for 0 publishers, where
/// `ACKBUS_METRICS_MAX` does. The rest is as in `ackbus_publisher_metrics`.
///
/// Threads and errors are those of `ackbus_publisher_metrics`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_metrics(
    publishers: *const *const ackbus_publisher,
    count: usize,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
    err_out: *mut *mut ackbus_error,
) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, err_out, || {
        let handles = call.slice(publishers, count, "publishers")?;
        let publishers = handles.iter().map(|&handle| Ok(&call.shared(handle)?.core)).collect::<Result<Vec<_>>>()?;
        write(&call, &publishers, buf, cap, out_len)
    })
}

fn write(call: &Call, publishers: &[&Publisher], buf: *mut c_char, cap: usize, out_len: *mut usize) -> Result<()> {
    not_forked()?;
    call.write_text(buf, cap, out_len, &ackbus::metrics(publishers))
}
