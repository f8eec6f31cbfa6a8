//! The version of this library.

/// The version as `0x00MMmmpp`: major, minor, patch.
#[must_use]
pub const fn version() -> u32 {
    const fn part(text: &str) -> u32 {
        let bytes = text.as_bytes();
        let (mut value, mut i) = (0, 0);
        while i < bytes.len() {
            value = value * 10 + (bytes[i] - b'0') as u32;
            i += 1;
        }
        value
    }
    part(env!("CARGO_PKG_VERSION_MAJOR")) << 16 | part(env!("CARGO_PKG_VERSION_MINOR")) << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// The version as text.
#[must_use]
pub const fn version_string() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
