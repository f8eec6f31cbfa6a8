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
        #[serde(default)]
        name: Option<String>,
        /// Leaf nodes may connect to it.
        #[serde(default)]
        hub: bool,
        /// The number of the server whose leaf node it is.
        #[serde(default)]
        leaf_of: Option<usize>,
    },
    Cluster {
        size: usize,
        #[serde(default)]
        config: String,
        /// Its members can be cut off.
        #[serde(default)]
        linked: bool,
    },
    WaitWanted {
        server: usize,
        subject: String,
    },
    WaitAlone {
        server: usize,
    },
    CutOff {
        server: usize,
    },
    ConnectAgain {
        server: usize,
    },
    Answer {
        server: usize,
        subject: String,
        payload: String,
    },
    EndAnswers {
        service: usize,
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
    HoldPublishes {
        proxy: usize,
    },
    Discard {
        proxy: usize,
    },
    Release {
        proxy: usize,
    },
    KeepBytes {
        proxy: usize,
        keep: bool,
    },
    /// Without more it is a good link again.
    Link {
        proxy: usize,
        #[serde(default)]
        delay_ms: u64,
        #[serde(default)]
        bytes_per_second: Option<u64>,
        #[serde(default)]
        slice: Option<usize>,
    },
    Inject {
        proxy: usize,
        text: String,
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
    AcceptSilently {
        proxy: usize,
        silently: bool,
    },
    Retarget {
        proxy: usize,
        server: usize,
    },
    OnReply {
        proxy: usize,
        action: FrameAction,
        /// The first reply that meets the action, from 1; without it the first.
        #[serde(default)]
        from: Option<u64>,
        /// How many do; without it one.
        #[serde(default)]
        count: Option<u64>,
        /// Or how many of a hundred do, by a chance that depends on the seed alone.
        #[serde(default)]
        percent: Option<f64>,
        #[serde(default)]
        seed: Option<u64>,
    },
    PassReplies {
        proxy: usize,
    },
    OnPublish {
        proxy: usize,
        action: FrameAction,
        #[serde(default)]
        from: Option<u64>,
        #[serde(default)]
        count: Option<u64>,
        #[serde(default)]
        percent: Option<f64>,
        #[serde(default)]
        seed: Option<u64>,
    },
    PassPublishes {
        proxy: usize,
    },
    Connections {
        proxy: usize,
    },
    Liar {
        script: String,
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

/// What happens to a publish, or to a reply to one.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FrameAction {
    Drop,
    Duplicate,
    Cut,
    Tear { bytes: usize },
    Delay { ms: u64 },
    Replace { find: String, with: String },
    Corrupt,
    ZeroSeqDuplicate { stream: String },
}

fn patience() -> u64 {
    30_000
}
