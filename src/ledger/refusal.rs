//! Refusals: what a server said of one attempt, and what may follow.

use crate::base::error::Status;

/// A refusal of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    /// Proof that this attempt was not stored. All else counts as possibly stored (P2).
    pub(crate) definite: bool,
    pub(crate) retry: Retry,
    pub(crate) server_code: u32,
    /// The stream that the refusal names; `None` when it names none. Refusals name no domain.
    pub(crate) stream: Option<Box<str>>,
    pub(crate) text: String,
}

/// What may follow a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Final.
    No,
    /// The message alone, after a pause.
    Backoff,
    /// The stream has a problem of its own: hold all that goes to it.
    Hold(Trouble),
    /// Final, unless `retry_stream_full` asks for more.
    IfStreamFull,
}

/// Why a gate is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody took the message: no stream, no leader, or nobody has streams. Ask which.
    NobodyThere,
    /// The stream has too much to do: come back with half the load.
    Overloaded,
}
