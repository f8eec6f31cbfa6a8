//! `ackbus_info`: how a publisher is doing.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;

use ackbus::Info;

use crate::error::{ACKBUS_OK, ackbus_status};
use crate::guard::guard;
use crate::handle::Call;
use crate::layout::{Growing, Plain, Versioned};
use crate::publisher::{ackbus_publisher, not_forked};

/// In `ackbus_info.state`: not every connection was made yet.
pub const ACKBUS_STATE_CONNECTING: i32 = 0;
/// In `ackbus_info.state`: every connection stands.
pub const ACKBUS_STATE_CONNECTED: i32 = 1;
/// In `ackbus_info.state`: a connection was lost and is being made again; its messages wait.
pub const ACKBUS_STATE_RECONNECTING: i32 = 2;
/// In `ackbus_info.state`: close is under way; nothing new is accepted.
pub const ACKBUS_STATE_CLOSING: i32 = 3;
/// In `ackbus_info.state`: closed.
pub const ACKBUS_STATE_CLOSED: i32 = 4;
/// In `ackbus_info.state`: given up for good; the last error tells why.
pub const ACKBUS_STATE_FAILED: i32 = 5;

/// How a publisher is doing. Start with `ACKBUS_INFO_INIT`. The texts are NUL-terminated; one that is too long is cut.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_info {
    /// `sizeof(ackbus_info)`, set by `ACKBUS_INFO_INIT`.
    pub struct_size: usize,
    /// `ACKBUS_STATE_...`. Later versions may add some.
    pub state: i32,
    /// The last error's status; `ACKBUS_OK` if there was none.
    pub last_error: ackbus_status,
    /// The largest payload that every server of ours takes, in bytes; 0 if not yet known.
    pub max_payload: u64,
    /// The last error's server code; 0 if there is none.
    pub last_error_server_code: u32,
    /// Zero.
    pub reserved: u32,
    /// The server of the newest connection, without credentials; empty before the first.
    pub server: [c_char; 256],
    /// Its version, such as "2.12.1".
    pub server_version: [c_char; 64],
    /// The last error's text.
    pub last_error_text: [c_char; 512],
}

// SAFETY: `repr(C)`, made of integers.
unsafe impl Plain for ackbus_info {}
impl Growing for ackbus_info {
    const SMALLEST: usize = offset_of!(ackbus_info, max_payload);
    const NAME: &'static str = "ackbus_info";
}
// SAFETY: `struct_size` comes first.
unsafe impl Versioned for ackbus_info {}

impl ackbus_info {
    fn of(info: &Info) -> Self {
        let error = info.last_error.as_ref();
        ackbus_info {
            struct_size: size_of::<ackbus_info>(),
            state: info.state as i32,
            last_error: error.map_or(ACKBUS_OK, |error| error.status() as ackbus_status),
            max_payload: info.max_payload,
            last_error_server_code: error.map_or(0, ackbus::Error::server_code),
            reserved: 0,
            server: fixed(&info.server),
            server_version: fixed(&info.server_version),
            last_error_text: fixed(error.map_or("", ackbus::Error::message)),
        }
    }
}

/// As much of the text as fits with a NUL byte behind it, in whole characters. Room of its own, so that nobody has to own the text.
fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut chars = [0; N];
    let end = (0..N).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    for (to, from) in chars.iter_mut().zip(text.bytes().take(end)) {
        *to = from as c_char;
    }
    chars
}

/// Tells how the publisher is doing. It stays readable after close.
///
/// `inout`: starts with its `struct_size`; the rest is filled in, as far as this version knows it.
///
/// Threads: any, also at the same time; never waits. Errors: `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_info(publisher: *const ackbus_publisher, inout: *mut ackbus_info) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, ptr::null_mut(), || {
        let publisher = &call.shared(publisher)?.core;
        call.struct_size(inout)?;
        not_forked()?;
        call.fill(inout, &ackbus_info::of(&publisher.info()))
    })
}
