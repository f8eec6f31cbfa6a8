//! Every conversion between C's pointers and Rust's references. Clippy forbids them in all other files.
//!
//! An entry point makes one [`Call`] and asks it for references. What can be checked is checked here: NULL, alignment, magic number (T19), lengths (T15),
//! `struct_size` (T18), UTF-8. What cannot be checked is a dangling pointer (P7).

#![allow(clippy::disallowed_methods, reason = "this is the place for them")]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ackbus::{Error, Result, Status};

use crate::layout::{Growing, Plain, Versioned};
use crate::text::ackbus_str;

/// The longest topic, id or header value that is read at all: a wild length is refused before it is touched. The core's own limits are lower.
const MAX_TEXT: usize = 1 << 20;
/// The largest `struct_size` that a later version could have. A larger one is a struct that nobody initialised.
const MAX_STRUCT: usize = 4096;

/// A type that C knows by its address alone.
pub(crate) trait Handle {
    /// Stands at the start of each allocation of this type, and of no other.
    const MAGIC: u64;
    /// The C name, for error texts.
    const NAME: &'static str;
}

/// What a handle really points to. The magic number is at the same place in all of them, so a handle of another type is found out.
#[repr(C)]
struct Tagged<T> {
    magic: AtomicU64,
    value: T,
}

/// Gives a value away to C. It comes back through [`Call::take`].
pub(crate) fn give<T: Handle>(value: T) -> *mut T {
    Box::into_raw(Box::new(Tagged { magic: AtomicU64::new(T::MAGIC), value })).cast()
}

/// The promise that C kept the header's rules for one call. References made from it end with it.
///
/// It exists so that an entry point has one unsafe line, not one per argument.
pub(crate) struct Call(());

impl Call {
    /// # Safety
    /// The `Call` is used for the arguments of the running call from C alone, and for what those point to. Each pointer is NULL or points to what the header
    /// says, for as long as the call runs; what the header calls the caller's alone is used by no other thread.
    #[inline]
    pub(crate) unsafe fn from_c() -> Self {
        Call(())
    }

    /// A handle that other threads may use at the same time.
    #[inline]
    pub(crate) fn shared<T: Handle>(&self, handle: *const T) -> Result<&T> {
        let tagged: *const Tagged<T> = self.checked(handle)?;
        // SAFETY: by the promise of `from_c` and the check, this is a live `Tagged<T>`, and nobody has it exclusively.
        Ok(unsafe { &(*tagged).value })
    }

    /// A handle that is the caller's alone.
    #[allow(clippy::mut_from_ref, reason = "it comes from C's pointer, not from the `Call`, and no entry point asks twice for the same")]
    pub(crate) fn exclusive<T: Handle>(&self, handle: *mut T) -> Result<&mut T> {
        let tagged: *const Tagged<T> = self.checked(handle)?;
        // SAFETY: as in `shared`, and by the promise of `from_c` nobody else uses it meanwhile.
        Ok(unsafe { &mut (*tagged.cast_mut()).value })
    }

    /// Takes a handle back. The caller may not use it again; NULL gives `None`.
    pub(crate) fn take<T: Handle>(&self, handle: *mut T) -> Result<Option<T>> {
        if handle.is_null() {
            return Ok(None);
        }
        let tagged: *const Tagged<T> = self.checked(handle)?;
        // SAFETY: as in `exclusive`; `give` made it with `Box::into_raw`.
        let tagged = unsafe { Box::from_raw(tagged.cast_mut()) };
        // Helps to find a second free or a later use, as long as the memory has no new owner.
        tagged.magic.store(0, Relaxed);
        Ok(Some(tagged.value))
    }

    #[inline]
    fn checked<T: Handle>(&self, handle: *const T) -> Result<*const Tagged<T>> {
        let tagged: *const Tagged<T> = handle.cast();
        if tagged.is_null() || !tagged.is_aligned() {
            return Err(no_handle::<T>(handle));
        }
        // SAFETY: by the promise of `from_c` this is a handle of ours, perhaps of another type; all start with the magic number.
        if unsafe { &(*tagged).magic }.load(Relaxed) != T::MAGIC {
            return Err(no_handle::<T>(handle));
        }
        Ok(tagged)
    }

    /// A C string: NUL-terminated UTF-8.
    pub(crate) fn c_text(&self, text: *const c_char, what: &str) -> Result<&str> {
        if text.is_null() {
            return Err(Error::new(Status::InvalidArgument, format!("{what} is NULL")));
        }
        // SAFETY: not NULL, so by the promise of `from_c` NUL-terminated.
        let text = unsafe { CStr::from_ptr(text) };
        utf8(text.to_bytes(), what)
    }

    /// UTF-8 with its length.
    #[inline]
    pub(crate) fn text(&self, data: *const c_char, len: usize, what: &str) -> Result<&str> {
        if len > MAX_TEXT {
            return Err(Error::new(Status::InvalidArgument, format!("{what} is {len} bytes long; at most {MAX_TEXT} are allowed")));
        }
        utf8(self.slice::<u8>(data.cast(), len, what)?, what)
    }

    /// The same as a struct.
    pub(crate) fn str(&self, text: ackbus_str, what: &str) -> Result<&str> {
        self.text(text.data, text.len, what)
    }

    /// The same, or `None` if it is empty.
    pub(crate) fn str_given(&self, text: ackbus_str, what: &str) -> Result<Option<&str>> {
        Ok(Some(self.str(text, what)?).filter(|text| !text.is_empty()))
    }

    /// An array with its length. NULL is an array of length 0 (T15).
    #[inline]
    pub(crate) fn slice<T: Plain>(&self, data: *const T, len: usize, what: &str) -> Result<&[T]> {
        if len == 0 {
            return Ok(&[]);
        }
        if data.is_null() || !data.is_aligned() || len > isize::MAX as usize / size_of::<T>() {
            return Err(no_array(data, len, what));
        }
        // SAFETY: not NULL, aligned, no longer than memory; by the promise of `from_c` it has `len` elements, and any bytes make a `T`.
        Ok(unsafe { std::slice::from_raw_parts(data, len) })
    }

    /// A struct of the caller's version: a smaller one is filled up with zeros, of a larger one the tail is ignored.
    pub(crate) fn read<T: Versioned>(&self, from: *const T) -> Result<T> {
        let size = self.struct_size(from)?;
        Ok(self.copy(from, size))
    }

    /// The `struct_size` of the struct there.
    pub(crate) fn struct_size<T: Versioned>(&self, of: *const T) -> Result<usize> {
        if of.is_null() {
            return Err(Error::new(Status::InvalidArgument, format!("the {} is NULL", T::NAME)));
        }
        // SAFETY: not NULL; by the promise of `from_c` a struct that starts with its size.
        let size = unsafe { ptr::read_unaligned(of.cast::<usize>()) };
        sized::<T>("struct_size", size)
    }

    /// The structs of an array whose elements are as far apart as the caller says, which is their size in his version.
    pub(crate) fn strided<T: Growing>(&self, first: *const T, count: usize, stride: usize, what: &str) -> Result<impl ExactSizeIterator<Item = T>> {
        let stride = sized::<T>("stride", stride)?;
        if first.is_null() && count > 0 {
            return Err(no_array(first, count, what));
        }
        self.structs(first, count, stride, what)
    }

    /// The structs of an array whose elements are `stride` bytes apart. `count` of them must not be larger than memory.
    pub(crate) fn structs<T: Growing>(&self, first: *const T, count: usize, stride: usize, what: &str) -> Result<impl ExactSizeIterator<Item = T>> {
        if count > isize::MAX as usize / stride.max(1) {
            return Err(no_array(first, count, what));
        }
        Ok((0..count).map(move |index| self.copy(first.wrapping_byte_add(index * stride), stride)))
    }

    fn copy<T: Growing>(&self, from: *const T, size: usize) -> T {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: by the promise of `from_c` there are `size` bytes; `value` has room for the part that is copied; any bytes make a `T`.
        unsafe {
            ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size.min(size_of::<T>()));
            value.assume_init()
        }
    }

    /// Fills a struct of the caller's version, as far as it reaches. Its `struct_size` stays.
    pub(crate) fn fill<T: Versioned>(&self, into: *mut T, value: &T) -> Result<()> {
        let size = self.struct_size(into)?.min(size_of::<T>());
        let skip = size_of::<usize>();
        let (from, to) = (ptr::from_ref(value).cast::<u8>(), into.cast::<u8>());
        // SAFETY: by the promise of `from_c` there are `size` bytes, and `value` has as many; `skip` leaves out the first field.
        unsafe { ptr::copy_nonoverlapping(from.add(skip), to.add(skip), size - skip) };
        Ok(())
    }

    /// Refuses a NULL output before anything happens.
    pub(crate) fn needs<T>(&self, out: *mut T, what: &str) -> Result<()> {
        if out.is_null() { Err(Error::new(Status::InvalidArgument, format!("{what} is NULL"))) } else { Ok(()) }
    }

    /// Writes an output; NULL means that the caller does not want it.
    #[inline]
    pub(crate) fn write<T>(&self, out: *mut T, value: T) {
        if !out.is_null() {
            // SAFETY: not NULL; by the promise of `from_c` there is room for a `T`, perhaps not aligned.
            unsafe { ptr::write_unaligned(out, value) };
        }
    }

    /// Writes one element of an output array; NULL means that the caller does not want it.
    pub(crate) fn write_at<T>(&self, out: *mut T, index: usize, value: T) {
        if !out.is_null() {
            self.write(out.wrapping_add(index), value);
        }
    }

    /// Writes text and a NUL byte into a buffer of `cap` bytes, which must be enough for both, and its length in any case. Without a buffer only the length.
    pub(crate) fn write_text(&self, buf: *mut c_char, cap: usize, out_len: *mut usize, text: &str) -> Result<()> {
        self.write(out_len, text.len());
        if buf.is_null() && cap == 0 {
            return Ok(());
        }
        if buf.is_null() || cap <= text.len() {
            let need = text.len() + 1;
            return Err(Error::new(Status::InvalidArgument, format!("buf has {} bytes, the value needs {need}", if buf.is_null() { 0 } else { cap })));
        }
        // SAFETY: by the promise of `from_c` there are `cap` bytes, which is more than the text has.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), buf.cast::<u8>(), text.len());
            ptr::write(buf.add(text.len()), 0);
        }
        Ok(())
    }
}

/// Checks the size of a struct of the caller's version.
fn sized<T: Growing>(what: &str, size: usize) -> Result<usize> {
    // Sizes of C structs with 8-byte fields are multiples of 8, so a prefix never cuts a field in two.
    if !(T::SMALLEST..=MAX_STRUCT).contains(&size) || !size.is_multiple_of(align_of::<T>()) {
        let text = format!("{what} of the {0} is {size}, must be sizeof({0}), which is {1} in this version", T::NAME, size_of::<T>());
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(size)
}

#[inline]
pub(crate) fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    if bytes.is_ascii() {
        // Nearly every topic. The full check of one would cost more than the rest of this crate's part in a publish.
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|fault| {
        let text = format!("{what} is not UTF-8: byte {} of {} does not fit", fault.valid_up_to(), bytes.len());
        Error::new(Status::InvalidUtf8, text)
    })
}

#[cold]
fn no_handle<T: Handle>(handle: *const T) -> Error {
    let name = T::NAME;
    let text = if handle.is_null() { format!("the {name} is NULL") } else { format!("this is no {name}, or it was freed") };
    Error::new(Status::InvalidArgument, text)
}

#[cold]
fn no_array<T>(data: *const T, len: usize, what: &str) -> Error {
    let text = if data.is_null() {
        format!("{what} is NULL and its length is {len}; NULL is allowed with length 0 only")
    } else if !data.is_aligned() {
        format!("{what} is not aligned to {} bytes", align_of::<T>())
    } else {
        format!("{what} has the length {len}, which is more than memory")
    };
    Error::new(Status::InvalidArgument, text)
}
