//! Versions of header and library.

use std::ffi::c_char;

use ackbus::{Error, Status};

use crate::error::ackbus_status;
use crate::guard::guard;
use crate::handle::Call;
use crate::layout::Growing;
use crate::message::ackbus_message;
use crate::report::ackbus_report;
use crate::stats::ackbus_stats;

/// The header's version, major part.
pub const ACKBUS_VERSION_MAJOR: u32 = 0;
/// The header's version, minor part.
pub const ACKBUS_VERSION_MINOR: u32 = 1;
/// The header's version, patch part.
pub const ACKBUS_VERSION_PATCH: u32 = 0;
/// The header's version as one number, 0x00MMmmpp: major, minor, patch.
pub const ACKBUS_VERSION: u32 = 0x0000_0100;
/// The header's ABI version, the number in the library's soname. 0 may change with any minor version; from 1.0 on it changes with the major one.
pub const ACKBUS_ABI_VERSION: u32 = 0;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The library's version as one number, 0x00MMmmpp. Compare it with `ACKBUS_VERSION`, which is the header's.
///
/// Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_version() -> u32 {
    ackbus::version()
}

/// The library's version as text, such as "0.1.0".
///
/// Ownership: static, never freed. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_version_string() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The library's ABI version. Compare it with `ACKBUS_ABI_VERSION`, which is the header's.
///
/// Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_abi_version() -> u32 {
    ACKBUS_ABI_VERSION
}

/// Checks that the header a program was compiled with fits this library. Call the macro `ackbus_check_abi()`, which fills in the arguments.
///
/// `abi`: the header's `ACKBUS_ABI_VERSION`. `message`, `report`, `stats`: the sizes of these structs in bytes. A library that is newer than the header fits;
/// one that is older fits unless a struct has grown.
///
/// Threads: any. Errors: `ACKBUS_ERR_ABI_MISMATCH`.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_check_abi_(abi: u32, message: usize, report: usize, stats: usize) -> ackbus_status {
    // SAFETY: there are no pointers.
    let call = unsafe { Call::from_c() };
    guard(&call, std::ptr::null_mut(), || {
        let fits = abi == ACKBUS_ABI_VERSION
            && (ackbus_message::SMALLEST..=size_of::<ackbus_message>()).contains(&message)
            && (ackbus_report::SMALLEST..=size_of::<ackbus_report>()).contains(&report)
            && (ackbus_stats::SMALLEST..=size_of::<ackbus_stats>()).contains(&stats);
        if fits { Ok(()) } else { Err(Error::new(Status::AbiMismatch, Status::AbiMismatch.text())) }
    })
}
