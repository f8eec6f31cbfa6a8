//! `ackbus_str`: text with its length.

use std::ffi::c_char;

use crate::layout::Plain;

/// UTF-8 text with its length in bytes. `data` may be NULL if `len` is 0.
///
/// Those that the library hands out are also NUL-terminated (the NUL is not counted in `len`) and never NULL. Those that it takes need not be terminated.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_str {
    /// The first byte.
    pub data: *const c_char,
    /// How many bytes.
    pub len: usize,
}

// SAFETY: `repr(C)`, a raw pointer and an integer.
unsafe impl Plain for ackbus_str {}

impl ackbus_str {
    /// No text.
    pub(crate) const EMPTY: ackbus_str = ackbus_str { data: c"".as_ptr(), len: 0 };

    /// Shows C some text that ends with a NUL byte.
    pub(crate) fn of_terminated(text: &[u8]) -> Self {
        match text {
            [head @ .., 0] => ackbus_str { data: text.as_ptr().cast(), len: head.len() },
            // Never handed out unterminated.
            _ => ackbus_str::EMPTY,
        }
    }
}

/// Owned text with a NUL byte behind it, for `ackbus_str`s that are handed out.
pub(crate) struct Terminated(Vec<u8>);

impl Terminated {
    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        Terminated(bytes)
    }

    /// Valid as long as `self`, also when it is moved.
    pub(crate) fn view(&self) -> ackbus_str {
        ackbus_str::of_terminated(&self.0)
    }
}

/// A short text with NUL bytes behind it, made at compile time: a table made on first use could be half done when the process forks (P8).
/// Does not compile if the text and its NUL byte do not fit.
pub(crate) const fn terminated<const N: usize>(text: &str) -> [u8; N] {
    assert!(text.len() < N);
    let mut bytes = [0; N];
    let mut index = 0;
    while index < text.len() {
        bytes[index] = text.as_bytes()[index];
        index += 1;
    }
    bytes
}
