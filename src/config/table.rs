//! The option table: the one place that knows an option's key, default, range and meaning. `set`, `get`, `keys`, the typed settings and
//! docs/CONFIGURATION.md all come from here.

use std::time::Duration;

use super::row::Row;
use super::settings::{MOST_LANES, MsgIdMode, OnDisconnect, OnFull, OnNoStream, ReportMode, Settings};
use crate::base::level::Level;
use crate::base::names::subject_fault;
use crate::base::time::FOREVER;

type Opt = Row<Settings>;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// The longest time a message may stay pending. The longest per-message deadline is the same.
const LONGEST: u64 = FOREVER.as_millis() as u64;
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Every option, in the order in which they are listed and documented.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt::servers("servers", "nats://127.0.0.1:4222", |s, v| s.servers = v).opens("Servers", "Which servers, and what this client is to them.").doc(
        "Where to connect: `nats://host:port`, `tls://host:port` or a bare `host`, the port defaults to 4222, an IPv6 address goes in brackets. A URL may hold \
         `user:password@` or `token@`; they are used and never printed. `memory:` is the bus without a server, for tests.",
    ),
    Opt::text("name", "ackbus", "1 to 256 bytes without control bytes", |v| is_line(v) && v.len() <= 256, |s, v| s.name = owned(v).unwrap_or_default())
        .doc("The name of this client in the server's monitoring."),
    Opt::text("inbox_prefix", "_INBOX", INBOX_ALLOWED, is_inbox_prefix, |s, v| s.inbox_prefix = owned(v).unwrap_or_default())
        .doc("The subject under which acknowledgements arrive. Set it when the server's permissions allow a client only an inbox of its own."),
    Opt::text("jetstream_domain", "", "one token without dots, wildcards and blanks", |v| !v.contains('.') && subject_fault(v, false).is_none(), |s, v| {
        s.jetstream_domain = owned(v);
    })
    .doc("The JetStream domain that stream checks and creations are sent to, behind a leaf node for instance. Messages go to their topic in any case."),
    //
    Opt::secret("token", LINE, is_line, |s, v| s.auth.token = v).opens("Authentication", "At most one kind: `token`, `user` with `password`, `credentials` or `credentials_file`, `nkey_seed` or `nkey_seed_file`, or credentials in a server URL. \
             A client certificate may come with any of them.").doc("A token."),
    Opt::secret("user", LINE, is_line, |s, v| s.auth.user = v).doc("A user name; needs `password`."),
    Opt::secret("password", LINE, is_line, |s, v| s.auth.password = v).doc("The password of `user`."),
    Opt::secret("credentials", "the text of a credentials file (for a path use credentials_file)", is_credentials, |s, v| s.auth.credentials = v)
        .doc("The text of a credentials file: the user's JWT and the seed that signs the server's challenge."),
    Opt::text("credentials_file", "", PATH, is_path, |s, v| s.auth.credentials_file = owned(v))
        .doc("The path of a credentials file. It is read again at each connect, so it may be replaced while the publisher runs."),
    Opt::secret("nkey_seed", "a user seed, 58 characters that begin with SU (for a path use nkey_seed_file)", is_user_seed, |s, v| s.auth.nkey_seed = v)
        .doc("The seed of a user's nkey. The seed signs the server's challenge and is never sent."),
    Opt::text("nkey_seed_file", "", PATH, is_path, |s, v| s.auth.nkey_seed_file = owned(v))
        .doc("The path of a file with the seed of a user's nkey. It is read again at each connect."),
    //
    Opt::switch("tls_required", false, |s, v| s.tls.required = v)
        .opens("TLS", "Certificates are always checked. `tls://` in a server's URL asks for TLS with that server.")
        .doc("Connect with TLS or not at all. A server that demands TLS gets it in any case, and from then on no server gets plain text. Every other `tls_` option turns this on."),
    Opt::text("tls_ca_file", "", PATH, is_path, |s, v| s.tls.ca_file = owned(v))
        .doc("A PEM file with the authorities to trust, in place of the system's. It is read again at each connect."),
    Opt::text("tls_cert_file", "", PATH, is_path, |s, v| s.tls.cert_file = owned(v))
        .doc("A PEM file with the client's certificate and its chain; needs `tls_key_file`. It is read again at each connect."),
    Opt::text("tls_key_file", "", PATH, is_path, |s, v| s.tls.key_file = owned(v))
        .doc("A PEM file with the key of the client's certificate. It is read again at each connect."),
    Opt::text("tls_server_name", "", "a host name or an IP address", is_host, |s, v| s.tls.server_name = owned(v))
        .doc("The name that the server's certificate must have, in place of the host in the URL."),
    Opt::switch("tls_first", false, |s, v| s.tls.first = v)
        .doc("Begin with the TLS handshake, before the server's first line. The server must be set up with `handshake_first`."),
    //
    Opt::number("max_pending", 10_000, 1..=1_000_000, "messages", |s, v| s.max_pending = size(v))
        .opens("The window of pending messages", "What is accepted and not yet settled is bounded in messages and in bytes, whatever happens.")
        .doc("How many accepted messages may wait for their outcome. Reports that are not delivered yet count."),
    Opt::number("max_pending_bytes", 128 << 20, 1_024..=64 << 30, "bytes", |s, v| s.max_pending_bytes = size(v))
        .doc("How many bytes the pending messages may hold together, headers and protocol included. A larger single message is refused with `TOO_LARGE`."),
    Opt::choice("on_full", "block", OnFull::NAMES, |s, v| s.on_full = OnFull::from_name(v))
        .doc("What a publish does when the window is full: `block` waits for room, `fail` returns `QUEUE_FULL`. A publish from a callback never waits."),
    Opt::limit("stall_wait_ms", 0..=DAY, "ms", NO_LIMIT, |s, v| s.stall_wait = v.map(Duration::from_millis))
        .doc("How long a publish waits for room with `on_full=block`, before it returns `QUEUE_FULL`. A message may bring a limit of its own."),
    Opt::number("gate_share", 75, 1..=100, "percent", |s, v| s.gate_share = count(v))
        .doc("The part of the window that messages behind one stream that refuses them may use, so that one bad stream does not stop the others."),
    //
    Opt::number("ack_wait_ms", 5_000, 1..=HOUR, "ms", |s, v| s.ack_wait = Duration::from_millis(v))
        .opens("Delivery", "When a message is sent again, and when the bus gives up.")
        .doc("How long one sending waits for its acknowledgement before the message is sent again."),
    Opt::number("delivery_timeout_ms", 60_000, 1..=LONGEST, "ms", |s, v| s.delivery_timeout = Duration::from_millis(v))
        .doc("How long a message may stay pending, from acceptance, all retries included. It runs on while there is no connection."),
    Opt::number("max_attempts", 0, 0..=1_000_000, "sendings", |s, v| s.max_attempts = count(v))
        .doc("How often a message is sent at most. 0: as often as `delivery_timeout_ms` allows."),
    Opt::number("retry_backoff_ms", 100, 1..=HOUR, "ms", |s, v| s.retry_backoff = Duration::from_millis(v))
        .doc(
        "The pause before the first retry after a refusal. It doubles with each one, with jitter. While a stream takes nothing, one message at a time is tried, \
         with pauses of a fiftieth of the time so far, and a quarter of this at least.",
    ),
    Opt::number("retry_backoff_max_ms", 2_000, 1..=HOUR, "ms", |s, v| s.retry_backoff_max = Duration::from_millis(v))
        .doc("The longest pause between retries; at least `retry_backoff_ms`."),
    Opt::choice("msg_id", "auto", MsgIdMode::NAMES, |s, v| s.msg_id = MsgIdMode::from_name(v)).doc(
        "Where a message's id comes from, by which the stream knows a second copy: `auto` makes one where the caller gives none, `caller` sends the caller's \
         alone, `none` sends none at all.",
    ),
    Opt::switch("resend_without_msg_id", false, |s, v| s.resend_without_msg_id = v)
        .doc("Send a message without an id again although it may have been stored. The stream may then hold it twice."),
    Opt::switch("retry_stream_full", false, |s, v| s.retry_stream_full = v)
        .doc("Retry until the deadline when a stream refuses because it is full. Otherwise the message settles at once with `STREAM_FULL`."),
    Opt::choice("on_no_stream", "fail", OnNoStream::NAMES, |s, v| s.on_no_stream = OnNoStream::from_name(v))
        .doc("What becomes of messages that no stream takes: `fail` settles them at once with `NO_STREAM`, `wait` tries until the deadline."),
    Opt::number("assume_duplicate_window_ms", 120_000, 0..=LONGEST, "ms", |s, v| s.assume_duplicate_window = Duration::from_millis(v)).doc(
        "The duplicate window to assume where the stream's cannot be read. No message that may be stored is sent again later than this, less `ack_wait_ms`, \
         after its first sending. 0: it is never sent again.",
    ),
    //
    Opt::number("connect_timeout_ms", 5_000, 1..=HOUR, "ms", |s, v| s.connect_timeout = Duration::from_millis(v))
        .opens("Connection", "How the connection is made, watched and made again.")
        .doc("How long one try to connect to one server may take, handshakes and authentication included."),
    Opt::switch("retry_on_connect", false, |s, v| s.retry_on_connect = v)
        .doc("Let `connect` succeed while no server can be reached, and go on trying in the background."),
    Opt::number("reconnect_wait_ms", 50, 1..=60_000, "ms", |s, v| s.reconnect_wait = Duration::from_millis(v))
        .doc("The first pause between tries to reconnect; the first try comes at once. The pause grows with the time lost, a hundredth of it, up to 2,000 ms, with jitter; it stays if it is longer."),
    Opt::limit("max_reconnects", 0..=1_000_000, "tries", NO_LIMIT, |s, v| s.max_reconnects = v.map(count)).doc(
        "How many tries in a row to reconnect may fail before the publisher fails for good and settles what is pending. The same refusal of the credentials \
         twice in a row has this effect too.",
    ),
    Opt::number("ping_interval_ms", 5_000, 10..=HOUR, "ms", |s, v| s.ping_interval = Duration::from_millis(v))
        .doc("How long the connection may be silent before the server is asked for a sign of life."),
    Opt::switch("discover_servers", true, |s, v| s.discover_servers = v).doc("Also reconnect to servers that the cluster has told about."),
    Opt::choice("on_disconnect", "wait", OnDisconnect::NAMES, |s, v| s.on_disconnect = OnDisconnect::from_name(v)).doc(
        "What a publish does while there is no connection for its topic: `wait` accepts while there is room, `fail` returns `DISCONNECTED`. Pending messages go on in both \
         cases.",
    ),
    Opt::number("connections", 1, 1..=MOST_LANES as u64, "connections", |s, v| s.connections = size(v)).doc(
        "How many connections carry the messages, each with a thread. A topic always goes by the same one, chosen by a hash: messages to one topic keep their \
         order; between topics of different connections there is none. Window, reports, `flush`, `purge`, `close` and state are one over all: the publisher is \
         connected when every connection stands, and fails when one is given up. More than one costs CPU for each message, and brings something only where one \
         thread is the limit, other cores are free and several streams take the messages: [the figures](SCALE.md#several-connections). `memory:` has one, \
         whatever is set.",
    ),
    //
    Opt::choice("report", "failures", ReportMode::NAMES, |s, v| s.report = ReportMode::from_name(v))
        .opens("Reports and observation", "What the bus tells, and when.")
        .doc("Which outcomes are reported: `failures`, `all`, or `none`. A message with `report_always` is reported in any case, and counters count all."),
    Opt::number("event_queue", 1_024, 1..=1_000_000, "events", |s, v| s.event_queue = size(v))
        .doc("How many lifecycle events may wait. When it is full the oldest is dropped and counted."),
    Opt::number("pending_warn", 0, 0..=1_000_000, "messages", |s, v| s.pending_warn = size(v))
        .doc("From how many pending messages on the bus warns. 0: half of `max_pending`. More than `max_pending`: never."),
    Opt::number("monitor_interval_ms", 10_000, 0..=DAY, "ms", |s, v| s.monitor_interval = Duration::from_millis(v))
        .doc("How often the number of pending messages is logged and compared with `pending_warn`. 0: never."),
    Opt::number("close_timeout_ms", 30_000, 0..=DAY, "ms", |s, v| s.close_timeout = Duration::from_millis(v))
        .doc("How long `close` waits for acknowledgements when the caller gives no time; also when the publisher is dropped."),
    Opt::choice("log_level", "warn", LEVELS, |s, v| s.log_level = level(v)).doc("The most detailed level that this publisher logs."),
];

const NO_LIMIT: &str = "no limit";
const LINE: &str = "text without control bytes";
const PATH: &str = "a path";
const INBOX_ALLOWED: &str = "1 to 128 bytes of tokens with dots between them, without wildcards and blanks, not beginning with $, _R_ or _GR_";

/// The server treats replies under these as its own and would never deliver ours.
fn is_inbox_prefix(value: &str) -> bool {
    value.len() <= 128 && subject_fault(value, false).is_none() && !["$", "_R_", "_GR_"].iter().any(|reserved| value.starts_with(reserved))
}

fn is_line(value: &str) -> bool {
    !value.is_empty() && !value.bytes().any(|byte| byte.is_ascii_control())
}

fn is_path(value: &str) -> bool {
    !value.is_empty() && !value.contains('\0')
}

fn is_host(value: &str) -> bool {
    value.len() <= 253 && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
}

/// Tells the text from a path, the usual mistake; the parser checks the rest at the connect.
fn is_credentials(value: &str) -> bool {
    value.contains("BEGIN NATS USER JWT") && value.contains("BEGIN USER NKEY SEED")
}

/// Read from a file or a variable it often ends with a line break.
fn is_user_seed(value: &str) -> bool {
    let seed = value.trim();
    seed.starts_with("SU") && nkeys::KeyPair::from_seed(seed).is_ok()
}

fn level(name: &str) -> Level {
    match name {
        "off" => Level::Off,
        "error" => Level::Error,
        "info" => Level::Info,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => Level::Warn,
    }
}

fn owned(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

/// A checked number as a size; only a 32-bit target can meet the bound.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
