//! A real nats-server for one test.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::port::Port;
use crate::process::Process;
use crate::{Certs, Credentials};

/// How long a server may take to answer after its start. A recovering store and a busy machine make it slow, not wrong.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Where the nats-server is: `ACKBUS_NATS_SERVER`, or what `make server` installed into the project's `.tools`.
///
/// # Errors
/// A text that says what to do when there is none.
pub fn server_binary() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("ACKBUS_NATS_SERVER") {
        let path = PathBuf::from(named);
        return if path.is_file() { Ok(path) } else { Err(format!("ACKBUS_NATS_SERVER is {}, which is not a file", path.display())) };
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let installed = project.join(".tools/nats-server/bin/nats-server");
    if installed.is_file() { Ok(installed) } else { Err("there is no nats-server: run `make server`, or name one with ACKBUS_NATS_SERVER".into()) }
}

/// How a server is started. Build it with [`Server::options`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    config: String,
    jetstream: String,
    users: String,
    accounts: String,
    name: Option<String>,
    pub(crate) takes_leaves: bool,
    without_jetstream: bool,
    tls_first: bool,
}

impl Options {
    /// Adds text to the server's configuration, such as `max_payload: 4096`.
    #[must_use]
    pub fn config(mut self, text: impl AsRef<str>) -> Self {
        let _ = writeln!(self.config, "{}", text.as_ref());
        self
    }

    /// Adds text to the `jetstream` block, such as `max_file_store: 1M`.
    #[must_use]
    pub fn jetstream(mut self, text: impl AsRef<str>) -> Self {
        let _ = writeln!(self.jetstream, "  {}", text.as_ref());
        self
    }

    /// Starts the server without JetStream.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.without_jetstream = true;
        self
    }

    /// Adds a user with a password. `permissions` is the inside of the server's block, such as `publish: { deny: "secret.>" }`; empty for all rights.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, permissions: &str) -> Self {
        let _ = writeln!(self.users, "  {{ user: \"{name}\", password: \"{password}\", permissions: {{ {permissions} }} }}");
        self
    }

    /// Adds an account with one user, who has the account's name in small letters and the password `pw`: see [`Server::url_of`]. `more` is the inside of
    /// the server's block, such as `jetstream: enabled, exports: [{ service: "orders.>" }]`.
    #[must_use]
    pub fn account(self, name: &str, more: &str) -> Self {
        self.account_with(name, "", more)
    }

    /// The same with permissions for the user, such as `publish: { deny: "$JS.API.>" }`.
    #[must_use]
    pub fn account_with(mut self, name: &str, permissions: &str, more: &str) -> Self {
        let user = name.to_lowercase();
        let _ = writeln!(self.accounts, "  {name} {{ users: [{{ user: \"{user}\", password: pw, permissions: {{ {permissions} }} }}]\n    {more} }}");
        self
    }

    /// Gives it another name than all others have.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Adds a user with an nkey, given by its public part.
    #[must_use]
    pub fn nkey(mut self, public_key: &str) -> Self {
        let _ = writeln!(self.users, "  {{ nkey: {public_key} }}");
        self
    }

    /// Lets in whoever has user credentials of this set, and nobody else.
    #[must_use]
    pub fn credentials(self, credentials: &Credentials) -> Self {
        self.config(credentials.server_config())
    }

    /// Demands TLS with the certificates' server side.
    #[must_use]
    pub fn tls(self, certs: &Certs) -> Self {
        self.config(certs.server_config(""))
    }

    /// Demands TLS and a client certificate.
    #[must_use]
    pub fn tls_verify(self, certs: &Certs) -> Self {
        self.config(certs.server_config("verify: true"))
    }

    /// Demands TLS from the first byte on, before INFO.
    #[must_use]
    pub fn tls_first(mut self, certs: &Certs) -> Self {
        self.tls_first = true;
        self.config(certs.server_config("handshake_first: true"))
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When there is no nats-server, or it does not start; the text has the server's log.
    #[must_use]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|text| panic!("{text}"))
    }

    /// The same, with the reason as a text.
    ///
    /// # Errors
    /// When there is no nats-server, or it does not start.
    pub fn try_start(self) -> Result<Server, String> {
        let name = self.name.clone();
        let server = Server::prepare(self, name.as_deref().unwrap_or("ackbus-test")).map_err(|error| format!("cannot prepare a nats-server: {error}"))?;
        server.launch()?;
        server.wait_ready(START_LIMIT)?;
        Ok(server)
    }
}

/// A nats-server on a port of 127.0.0.1 that stays the same over restarts. All methods may be called from any thread.
#[derive(Debug)]
pub struct Server {
    // Fields drop in this order: the process must be gone before its folder and its ports are given back.
    process: Mutex<Option<Process>>,
    options: Mutex<Options>,
    name: String,
    cluster: String,
    client: Port,
    monitor: Port,
    pub(crate) leaves: Option<Port>,
    folder: TempDir,
}

impl Server {
    /// A server with JetStream, a store of its own and nothing else.
    #[must_use]
    pub fn start() -> Self {
        Options::default().start()
    }

    /// Options for one with more.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// The version of the nats-server that all tests use, such as `2.12.1`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn version() -> String {
        let binary = server_binary().unwrap_or_else(|text| panic!("{text}"));
        let output = Command::new(&binary).arg("--version").output().unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()));
        let text = String::from_utf8_lossy(&output.stdout);
        // "nats-server: v2.12.1"
        text.trim().rsplit(": v").next().unwrap_or_default().to_owned()
    }

    /// Whether that version is this one or a later one: for what servers do differently.
    ///
    /// # Panics
    /// When there is none, or its version cannot be read.
    #[must_use]
    pub fn is_at_least(major: u32, minor: u32) -> bool {
        static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
        let has = VERSION.get_or_init(|| {
            let version = Server::version();
            let mut numbers = version.split('.').map(|part| part.parse::<u32>());
            match (numbers.next(), numbers.next()) {
                (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
                _ => panic!("the version of the nats-server is {version:?}"),
            }
        });
        *has >= (major, minor)
    }

    pub(crate) fn prepare(options: Options, name: &str) -> io::Result<Self> {
        let leaves = options.takes_leaves.then(Port::take).transpose()?;
        Ok(Server {
            process: Mutex::new(None),
            options: Mutex::new(options),
            leaves,
            name: name.into(),
            cluster: String::new(),
            client: Port::take()?,
            monitor: Port::take()?,
            folder: tempfile::Builder::new().prefix("ackbus-server-").tempdir()?,
        })
    }

    pub(crate) fn join_cluster(&mut self, block: String) {
        self.cluster = block;
    }

    /// `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// The same for the user of an [account](Options::account).
    #[must_use]
    pub fn url_of(&self, user: &str) -> String {
        format!("nats://{user}:pw@{}", self.address())
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.client.address()
    }

    /// The server's name, as in a stream's cluster information.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// What the server wrote to its log, over all restarts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Ends it with SIGKILL: what it had not written is lost.
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// Ends it with SIGTERM and waits until it is gone.
    ///
    /// # Panics
    /// When it still runs after 30 s.
    pub fn terminate(&self) {
        if let Some(mut process) = self.process().take() {
            process.signal(Signal::SIGTERM);
            process.signal(Signal::SIGCONT); // A paused one must run to end.
            assert!(process.wait(START_LIMIT), "the server did not end on SIGTERM:\n{}", self.log());
        }
    }

    /// Starts it again with the same store, configuration and port, after a SIGTERM if it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        self.terminate();
        self.launch().and_then(|()| self.wait_ready(START_LIMIT)).unwrap_or_else(|text| panic!("{text}"));
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open, and from the moment this returns nothing answers.
    ///
    /// # Panics
    /// When it does not stop within 5 s, because it has ended for instance.
    pub fn pause(&self) {
        let stopped = self.process().as_ref().is_some_and(|process| process.stop(Duration::from_secs(5)));
        assert!(stopped, "the server did not stop on SIGSTOP:\n{}", self.log());
    }

    /// Lets a paused server go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Asks its clients to go elsewhere (SIGUSR2). It ends about 30 s later.
    pub fn lame_duck(&self) {
        self.signal(Signal::SIGUSR2);
    }

    /// Replaces the configuration that [`Options`] gave, and makes the running server read it (SIGHUP). A restart keeps the new one.
    ///
    /// # Panics
    /// When the server does not take it within 5 s.
    pub fn reload(&self, options: Options) {
        let loaded = |server: &Server| server.monitor("/varz").ok()?.get("config_load_time")?.as_str().map(str::to_owned);
        let before = loaded(self);
        *lock(&self.options) = options;
        self.write_config().unwrap_or_else(|error| panic!("cannot write the configuration: {error}"));
        self.signal(Signal::SIGHUP);
        let start = Instant::now();
        while loaded(self).is_none_or(|now| Some(now) == before) {
            assert!(start.elapsed() < Duration::from_secs(5), "the server did not take its new configuration:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One page of the server's monitoring, such as `/varz`, `/connz?subs=1` or `/jsz`.
    ///
    /// # Errors
    /// When the server does not answer with JSON.
    pub fn monitor(&self, page: &str) -> io::Result<serde_json::Value> {
        let (_, body) = self.get(page)?;
        serde_json::from_slice(&body).map_err(io::Error::other)
    }

    /// Waits until the server is ready: it greets clients, and says itself that JetStream has recovered, with a leader if there is a cluster.
    /// Its health page is asked, because that needs no user, password or certificate.
    pub(crate) fn wait_ready(&self, limit: Duration) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let healthy = matches!(self.get("/healthz"), Ok((200, _)));
            if healthy && self.greets() {
                return Ok(());
            }
            if let Some(status) = self.process().as_mut().and_then(Process::ended) {
                return Err(format!("the nats-server ended at once with {status}:\n{}", self.log()));
            }
            if start.elapsed() > limit {
                return Err(format!("the nats-server was not ready after {limit:?}:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn launch(&self) -> Result<(), String> {
        let binary = server_binary()?;
        self.write_config().map_err(|error| format!("cannot write the server's configuration: {error}"))?;
        let mut command = Command::new(&binary);
        command.arg("-c").arg(self.config_file());
        let process = Process::start(&mut command, &self.log_file(), self.folder.path());
        *self.process() = Some(process.map_err(|error| format!("cannot run {}: {error}", binary.display()))?);
        Ok(())
    }

    fn greets(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)) else { return false };
        if lock(&self.options).tls_first {
            return true; // Such a server speaks after the handshake only.
        }
        let mut start = [0; 5];
        stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok() && stream.read_exact(&mut start).is_ok() && &start == b"INFO "
    }

    fn get(&self, page: &str) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&self.monitor.address(), Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {page} HTTP/1.0\r\n\r\n")?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        let head_end = reply.windows(4).position(|end| end == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let body = reply.split_off(head_end + 4);
        let status = String::from_utf8_lossy(&reply).split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((status, body))
    }

    fn write_config(&self) -> io::Result<()> {
        let options = lock(&self.options);
        let mut text = format!("server_name: \"{}\"\nlisten: \"{}\"\nhttp: \"{}\"\n", self.name, self.address(), self.monitor.address());
        // Clients of a lame duck leave after one second instead of ten; the server demands 30 s for the whole.
        text.push_str("lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"\n");
        if !options.without_jetstream {
            let _ = writeln!(text, "jetstream {{\n  store_dir: \"{}\"\n{}}}", self.folder.path().join("store").display(), options.jetstream);
        }
        text.push_str(&self.cluster);
        if !options.users.is_empty() {
            let _ = writeln!(text, "authorization {{ users: [\n{}] }}", options.users);
        }
        if !options.accounts.is_empty() {
            let _ = writeln!(text, "accounts {{\n{}}}", options.accounts);
        }
        if let Some(port) = &self.leaves {
            let _ = writeln!(text, "leafnodes {{ listen: \"{}\" }}", port.address());
        }
        text.push_str(&options.config);
        fs::write(self.config_file(), text)
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("server.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process().as_ref() {
            process.signal(signal);
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        lock(&self.process)
    }
}

/// A panic in one test thread must not turn into another one in the thread that cleans up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
