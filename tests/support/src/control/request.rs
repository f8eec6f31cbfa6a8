//! What may be asked, one request per line. `tests/support/README.md` describes each.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    Start {
        #[serde(default)]
        config: String,
        /// Text inside the `jetstream` block, or `false` for a server without JetStream.
        #[serde(default)]
        jetstream: Option<JetStream>,
        #[serde(default)]
        tls: Option<Tls>,
        #[serde(default)]
        credentials: bool,
        #[serde(default)]
        login: Option<Login>,
    },
    Cluster {
        size: usize,
        #[serde(default)]
        config: String,
    },
    Stop {
        server: usize,
    },
    Kill {
        server: usize,
    },
    Pause {
        server: usize,
    },
    Resume {
        server: usize,
    },
    Restart {
        server: usize,
    },
    Reload {
        server: usize,
        config: String,
    },
    LameDuck {
        server: usize,
    },
    Log {
        server: usize,
    },
    CreateStream {
        server: usize,
        config: Value,
    },
    UpdateStream {
        server: usize,
        config: Value,
    },
    DeleteStream {
        server: usize,
        stream: String,
    },
    PurgeStream {
        server: usize,
        stream: String,
    },
    StreamInfo {
        server: usize,
        stream: String,
    },
    Leader {
        server: usize,
        stream: String,
    },
    StepDown {
        server: usize,
        stream: String,
    },
    Read {
        server: usize,
        stream: String,
    },
    WaitStored {
        server: usize,
        stream: String,
        count: u64,
        #[serde(default = "patience")]
        timeout_ms: u64,
    },
    Publish {
        server: usize,
        subject: String,
        #[serde(default)]
        payload: String,
    },
    Subscribe {
        server: usize,
        subject: String,
    },
    Received {
        subscription: usize,
        count: usize,
        #[serde(default = "patience")]
        timeout_ms: u64,
    },
    Proxy {
        server: usize,
    },
    Hold {
        proxy: usize,
    },
    HoldReplies {
        proxy: usize,
    },
    Release {
        proxy: usize,
    },
    Cut {
        proxy: usize,
    },
    Refuse {
        proxy: usize,
    },
    Accept {
        proxy: usize,
    },
    OnReply {
        proxy: usize,
        action: ReplyAction,
        /// The first reply that meets the action, from 1.
        #[serde(default = "one")]
        from: u64,
        /// How many do; without it one.
        #[serde(default = "one")]
        count: u64,
    },
    PassReplies {
        proxy: usize,
    },
    Connections {
        proxy: usize,
    },
    Reset {},
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum JetStream {
    Has(bool),
    With(String),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tls {
    Server,
    Mutual,
    First,
}

/// How the program's own client logs in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What happens to a reply to a publish.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ReplyAction {
    Drop,
    Duplicate,
    Cut,
    Delay { ms: u64 },
    Replace { find: String, with: String },
}

fn patience() -> u64 {
    30_000
}

fn one() -> u64 {
    1
}
