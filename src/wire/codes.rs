//! The codes that reports carry whatever the wire is: programs compare them, and must find the same ones when they move from a server to memory.
//!
//! They are JetStream's numbers, where users know them from. The handler knows none of them: each answer and each refusal brings its own.

/// Nobody took the message: the status of a reply, not an error of the API.
pub(crate) const NOBODY: u32 = 503;
/// The stream does not exist.
pub(crate) const NO_STREAM: u32 = 10059;
/// The topic belongs to another stream than expected.
pub(crate) const WRONG_STREAM: u32 = 10060;
/// The stream's last message has another id than expected.
pub(crate) const WRONG_LAST_ID: u32 = 10070;
/// The stream, or the topic in it, has another last sequence than expected.
pub(crate) const WRONG_LAST_SEQ: u32 = 10071;
