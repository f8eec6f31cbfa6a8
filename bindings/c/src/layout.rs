//! What a type of C's must be, so that its bytes may be read as they came.

/// A type that is valid whatever its bytes are.
///
/// # Safety
/// The type is `repr(C)` or a primitive, and all its fields are integers or raw pointers.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: a primitive.
unsafe impl Plain for u8 {}

/// A struct that grows at its end (T18).
pub(crate) trait Growing: Plain {
    /// The smallest size that makes sense.
    const SMALLEST: usize;
    /// The C name, for error texts.
    const NAME: &'static str;
}

/// A struct that grows at its end and tells its size in its first field.
///
/// # Safety
/// The type is `repr(C)` and its first field is `struct_size: usize`.
pub(crate) unsafe trait Versioned: Growing {}
