//! The options as the rest of the core reads them: typed, with every default filled in, and checked against each other.

use std::time::Duration;

use crate::base::error::{Error, Result, Status};
use crate::base::level::Level;
use crate::base::secret::Secret;
use crate::config::row::choices;
use crate::config::servers::Servers;

/// The most connections that a publisher has; each has a bit in a word.
pub(crate) const MOST_LANES: usize = 64;

choices! {
    /// What a publish does when the window is full.
    OnFull {
        /// It waits, up to `stall_wait`.
        Block = "block",
        /// It returns `QUEUE_FULL` at once.
        Fail = "fail",
    }

    /// Where a message's `Nats-Msg-Id` comes from.
    MsgIdMode {
        /// From the caller if given, else made by the bus.
        Auto = "auto",
        /// From the caller; a persistent message without one is sent without.
        Caller = "caller",
        /// From nobody: not sent at all.
        None = "none",
    }

    /// What happens to messages whose topic no stream takes.
    OnNoStream {
        /// They settle at once, proven not stored.
        Fail = "fail",
        /// They wait for a stream until their deadline.
        Wait = "wait",
    }

    /// What a publish does while there is no connection. Pending messages go on in both cases.
    OnDisconnect {
        /// It is accepted as long as there is room.
        Wait = "wait",
        /// It is refused with `DISCONNECTED`.
        Fail = "fail",
    }

    /// Which outcomes become reports.
    ReportMode {
        /// Those that are not OK, and messages with `report_always`.
        Failures = "failures",
        /// Every one.
        All = "all",
        /// None but messages with `report_always`; counters only.
        None = "none",
    }
}

/// Every option, resolved. The table in `config/table.rs` fills it; `Config::settings` completes and checks it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) servers: Servers,
    pub(crate) name: String,
    pub(crate) auth: AuthSettings,
    pub(crate) tls: TlsSettings,
    pub(crate) inbox_prefix: String,
    pub(crate) jetstream_domain: Option<String>,

    pub(crate) max_pending: usize,
    pub(crate) max_pending_bytes: usize,
    pub(crate) on_full: OnFull,
    /// `None`: no limit.
    pub(crate) stall_wait: Option<Duration>,

    pub(crate) ack_wait: Duration,
    pub(crate) delivery_timeout: Duration,
    /// 0: as many as the deadline allows.
    pub(crate) max_attempts: u32,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
    pub(crate) msg_id: MsgIdMode,
    pub(crate) resend_without_msg_id: bool,
    pub(crate) retry_stream_full: bool,
    pub(crate) on_no_stream: OnNoStream,
    pub(crate) assume_duplicate_window: Duration,
    /// Percent of the window.
    pub(crate) gate_share: u32,

    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) retry_on_connect: bool,
    pub(crate) reconnect_wait: Duration,
    /// `None`: no limit.
    pub(crate) max_reconnects: Option<u32>,
    pub(crate) ping_interval: Duration,
    pub(crate) discover_servers: bool,

    pub(crate) report: ReportMode,
    pub(crate) event_queue: usize,
    pub(crate) pending_warn: usize,
    /// Zero: off.
    pub(crate) monitor_interval: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) log_level: Level,
}

/// How the client proves who it is; at most one kind is given. Credentials in URLs are in [`Servers`].
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthSettings {
    pub(crate) token: Option<Secret>,
    pub(crate) user: Option<Secret>,
    pub(crate) password: Option<Secret>,
    /// The text of a credentials file.
    pub(crate) credentials: Option<Secret>,
    pub(crate) credentials_file: Option<String>,
    pub(crate) nkey_seed: Option<Secret>,
    pub(crate) nkey_seed_file: Option<String>,
}

/// How the connection is encrypted.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsSettings {
    pub(crate) required: bool,
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) server_name: Option<String>,
    /// The handshake comes before the server's first line.
    pub(crate) first: bool,
}

impl Settings {
    /// How many lanes there are. In memory there is no server that a second connection could reach, and streams have one sequence: one is enough.
    pub(crate) fn lanes(&self) -> usize {
        match self.servers {
            Servers::Memory => 1,
            Servers::Nats(_) => self.connections,
        }
    }

    /// Checks the rules between options, which arrive one at a time.
    pub(super) fn check(&self) -> Result<()> {
        self.auth.check(&self.servers)?;
        self.tls.check()?;
        if self.retry_backoff > self.retry_backoff_max {
            return Err(conflict(format!(
                "retry_backoff_ms is {} and retry_backoff_max_ms is {}; the first may not be larger than the second",
                self.retry_backoff.as_millis(),
                self.retry_backoff_max.as_millis()
            )));
        }
        Ok(())
    }
}

impl AuthSettings {
    fn check(&self, servers: &Servers) -> Result<()> {
        if self.user.is_some() != self.password.is_some() {
            let (given, missing) = if self.user.is_some() { ("user", "password") } else { ("password", "user") };
            return Err(conflict(format!("{given} is given without {missing}; give both, or token for a single secret")));
        }
        if self.credentials.is_some() && self.credentials_file.is_some() {
            return Err(conflict("credentials and credentials_file are both given; give the text or the file"));
        }
        if self.nkey_seed.is_some() && self.nkey_seed_file.is_some() {
            return Err(conflict("nkey_seed and nkey_seed_file are both given; give the text or the file"));
        }
        let in_url = matches!(servers, Servers::Nats(urls) if urls.iter().any(|url| url.user.is_some() || url.password.is_some() || url.token.is_some()));
        let kinds = [
            ("token", self.token.is_some()),
            ("user with password", self.user.is_some()),
            ("credentials", self.credentials.is_some() || self.credentials_file.is_some()),
            ("nkey_seed", self.nkey_seed.is_some() || self.nkey_seed_file.is_some()),
            ("a server URL", in_url),
        ];
        let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
        if given.len() > 1 {
            return Err(conflict(format!("more than one kind of authentication is given: {}; give one", given.join(", "))));
        }
        Ok(())
    }
}

impl TlsSettings {
    fn check(&self) -> Result<()> {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Err(conflict("tls_cert_file is given without tls_key_file; give both")),
            (None, Some(_)) => Err(conflict("tls_key_file is given without tls_cert_file; give both")),
            _ => Ok(()),
        }
    }

    /// Whether certificates or keys come from files, which may be replaced while the publisher runs.
    pub(crate) fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()
    }

    /// The option that asks for TLS without `tls_required`. Whoever names a CA must not get a plain connection because the server offered no TLS.
    pub(super) fn implied_by(&self) -> Option<&'static str> {
        let asking = [
            ("tls_ca_file", self.ca_file.is_some()),
            ("tls_cert_file", self.cert_file.is_some()),
            ("tls_key_file", self.key_file.is_some()),
            ("tls_server_name", self.server_name.is_some()),
            ("tls_first", self.first),
        ];
        asking.iter().find(|(_, given)| *given).map(|(key, _)| *key)
    }
}

/// Options that are allowed one by one but not together.
#[cold]
pub(super) fn conflict(message: impl Into<String>) -> Error {
    Error::new(Status::InvalidOption, message)
}
