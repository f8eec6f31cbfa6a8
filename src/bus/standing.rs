//! Standing: how a publisher stands, as users see it.

use crate::base::error::Error;

/// How a publisher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum State {
    /// Not every connection was made yet (`retry_on_connect`).
    Connecting = 0,
    /// Every connection stands.
    Connected = 1,
    /// A connection was lost; another is sought.
    Reconnecting = 2,
    /// `close` was called.
    Closing = 3,
    /// Closed.
    Closed = 4,
    /// Given up for good.
    Failed = 5,
}

impl State {
    pub(crate) const ALL: [State; 6] = [State::Connecting, State::Connected, State::Reconnecting, State::Closing, State::Closed, State::Failed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Connected => "connected",
            State::Reconnecting => "reconnecting",
            State::Closing => "closing",
            State::Closed => "closed",
            State::Failed => "failed",
        }
    }
}

/// How a publisher stands, and with whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The state.
    pub state: State,
    /// The server of the newest connection, without credentials.
    pub server: String,
    /// Its version.
    pub server_version: String,
    /// What every server of ours takes, headers and payload, in bytes; 0 while not known.
    pub max_payload: u64,
    /// The last error of a connection.
    pub last_error: Option<Error>,
}

/// What `purge` removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Messages that wait to be sent (or sent again): `NotPersisted` unless an earlier attempt is in doubt.
    pub unsent: bool,
    /// Messages whose ack is awaited: `PossiblyPersisted`.
    pub in_flight: bool,
}
