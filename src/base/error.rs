//! What can go wrong, in one list of numbers that every language shares.
//!
//! [`Status`] values are part of the C ABI: append only, never renumber (T16). They come in groups: the call was wrong (100…), flow (200…), transport (300…),
//! JetStream said no (400…), us (500…).

use std::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $upper:literal, $text:literal;)*) => {
        /// The result of a call, or the final word on a message. The numbers are stable and the same in every language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Status { $($(#[$doc])* $name = $value,)* }

        impl Status {
            /// Every status, in the order of their numbers.
            pub const ALL: &'static [Status] = &[$(Status::$name,)*];

            /// The stable upper-case name, such as `QUEUE_FULL`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Status::$name => $upper,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Status::$name => $text,)* }
            }

            /// The status with this number, if there is one.
            #[must_use]
            pub const fn from_code(code: i32) -> Option<Status> {
                match code { $($value => Some(Status::$name),)* _ => None }
            }
        }
    };
}

impl Status {
    /// Whether what failed with this status may succeed later. About the call, not about a message: for messages look at [`Persistence`].
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Status::QueueFull
                | Status::TimedOut
                | Status::CallbackBusy
                | Status::Disconnected
                | Status::ConnectFailed
                | Status::AckTimeout
                | Status::Overloaded
                | Status::Unavailable
        )
    }
}

statuses! {
    /// Done; for a message: persisted (or, ephemeral, written).
    Ok = 0, "OK", "success";
    /// An argument is missing or has a value that is not allowed.
    InvalidArgument = 100, "INVALID_ARGUMENT", "an argument is not valid";
    /// Text that must be UTF-8 is not.
    InvalidUtf8 = 101, "INVALID_UTF8", "text is not valid UTF-8";
    /// The topic is empty, has empty tokens, wildcards, blanks or control bytes, or is too long.
    InvalidTopic = 102, "INVALID_TOPIC", "the topic is not valid";
    /// A header name or value is not allowed, or the header block is too large.
    InvalidHeader = 103, "INVALID_HEADER", "a header is not valid";
    /// An option's key is unknown or its value is not allowed.
    InvalidOption = 104, "INVALID_OPTION", "an option is not valid";
    /// The call does not fit the publisher's mode or state, such as polling while callbacks are set.
    InvalidState = 105, "INVALID_STATE", "the call is not possible in this state";
    /// A waiting call was made from a callback (P5).
    WrongThread = 106, "WRONG_THREAD", "this call may not be made from a callback";
    /// The message can never be sent: larger than `max_pending_bytes`, the server's `max_payload` or the stream's limit.
    TooLarge = 107, "TOO_LARGE", "the message is too large";
    /// Header and library do not fit together.
    AbiMismatch = 108, "ABI_MISMATCH", "the header and the library have different ABI versions";
    /// The process was forked after it first connected (P8).
    Forked = 109, "FORKED", "publishers do not work in a forked child; connect after the fork, or use spawn";
    /// The window of pending messages is full.
    QueueFull = 200, "QUEUE_FULL", "the window of pending messages is full";
    /// The time that the caller gave ran out.
    TimedOut = 201, "TIMED_OUT", "the time given ran out";
    /// The message was removed by `purge`.
    Purged = 202, "PURGED", "the message was purged";
    /// A callback had not returned one second after the end of `close`'s time (P6).
    CallbackBusy = 203, "CALLBACK_BUSY", "a callback has not returned; call close again";
    /// The publisher is closed, or was closed before the message's outcome was known.
    Closed = 204, "CLOSED", "the publisher is closed";
    /// The host wanted its thread back while the call waited.
    Interrupted = 205, "INTERRUPTED", "the wait was interrupted";
    /// There is no connection to a server.
    Disconnected = 300, "DISCONNECTED", "not connected to a server";
    /// No server could be reached.
    ConnectFailed = 301, "CONNECT_FAILED", "no server could be reached";
    /// The server refused the credentials.
    AuthFailed = 302, "AUTH_FAILED", "the server refused the credentials";
    /// The TLS handshake or the check of a certificate failed.
    TlsFailed = 303, "TLS_FAILED", "TLS failed";
    /// No acknowledgement came until the message's deadline or its last attempt.
    AckTimeout = 304, "ACK_TIMEOUT", "no acknowledgement came in time";
    /// The server's permissions do not allow this topic, or not the replies.
    Denied = 305, "DENIED", "the server's permissions do not allow it";
    /// The server sent something that is not its protocol.
    ProtocolError = 306, "PROTOCOL_ERROR", "the server broke the protocol";
    /// The publisher gave up for good; its last error tells why.
    Failed = 307, "FAILED", "the publisher has failed";
    /// No stream takes the topic.
    NoStream = 400, "NO_STREAM", "no stream takes the topic";
    /// The stream is full and refuses new messages.
    StreamFull = 401, "STREAM_FULL", "the stream is full";
    /// The server is overloaded and refused the message until its deadline.
    Overloaded = 402, "OVERLOADED", "the server is overloaded";
    /// An expectation (last sequence, last id, stream) did not hold.
    WrongExpectation = 403, "WRONG_EXPECTATION", "an expected sequence, id or stream did not match";
    /// An account or server quota is used up.
    QuotaExceeded = 404, "QUOTA_EXCEEDED", "a quota of the account or the server is used up";
    /// JetStream refused the message for another reason; see the server code and text.
    Rejected = 405, "REJECTED", "the stream refused the message";
    /// The stream has no leader or the server no resources, until the message's deadline.
    Unavailable = 406, "UNAVAILABLE", "the stream is not available";
    /// The stream could not be created.
    CreateFailed = 407, "CREATE_FAILED", "the stream could not be created";
    /// A fault inside ackbus. Please report it.
    Internal = 500, "INTERNAL", "an internal error";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known about the message's copy in the stream (P2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Persistence {
    /// Proven: no attempt was stored. Sending it again cannot make a second copy.
    NotPersisted = 0,
    /// An attempt may have been stored. Sending it again may make a second copy.
    PossiblyPersisted = 1,
    /// The server acknowledged it.
    Persisted = 2,
}

/// A call that failed: what was wrong, which value, what is allowed. One word wide, so that `publish` returns it in registers.
#[derive(Clone)]
pub struct Error(Box<Detail>);

#[derive(Clone)]
struct Detail {
    status: Status,
    message: String,
    server_code: u32,
    fatal: bool,
    held_by: u64,
}

impl Error {
    /// An error with its text.
    #[cold]
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Error(Box::new(Detail { status, message: message.into(), server_code: 0, fatal: false, held_by: 0 }))
    }

    /// The same with the server's code: JetStream's `err_code`, or the status of a headers-only reply.
    #[must_use]
    pub fn with_server_code(mut self, code: u32) -> Self {
        self.0.server_code = code;
        self
    }

    /// The same with the number of the share that is used up.
    #[must_use]
    pub(crate) fn with_held_by(mut self, share: u64) -> Self {
        self.0.held_by = share;
        self
    }

    /// The same, marked as final: no later call on this publisher can succeed.
    #[must_use]
    pub fn into_fatal(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    /// The same about a call without a publisher: there is no later call that it could end.
    #[must_use]
    pub(crate) fn without_publisher(mut self) -> Self {
        self.0.fatal = false;
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// The text, without the status' name.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The server's code, or 0.
    #[must_use]
    pub fn server_code(&self) -> u32 {
        self.0.server_code
    }

    /// Of [`Status::QueueFull`]: what stands in the way. 0: the window is full, for everybody. Another number: the share of a stream that is held is used up (`gate_share`);
    /// the number is the same for all that wait for the same share, and whoever is refused with another number, or with 0, waits for something else.
    #[must_use]
    pub fn held_by(&self) -> u64 {
        self.0.held_by
    }

    /// Whether the same call may succeed later. About the call, not about a message: for messages look at [`Persistence`].
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        !self.0.fatal && self.0.status.is_retriable()
    }

    /// Whether the publisher is beyond repair.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.0.fatal
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.status.name(), self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("status", &self.0.status)
            .field("message", &self.0.message)
            .field("server_code", &self.0.server_code)
            .field("fatal", &self.0.fatal)
            .finish()
    }
}

impl std::error::Error for Error {}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_grow_only() {
        for pair in Status::ALL.windows(2) {
            assert!((pair[0] as i32) < (pair[1] as i32), "{:?} and {:?} are out of order", pair[0], pair[1]);
        }
        for &status in Status::ALL {
            assert_eq!(Status::from_code(status as i32), Some(status));
            assert!(!status.text().is_empty());
        }
        assert_eq!(Status::from_code(1), None);
    }
}
