//! Dial: from a server's name to a connection whose INFO was read and whose TLS is done.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

use crate::base::error::{Error, Result, Status};
use crate::config::servers::{ServerUrl, Servers};
use crate::config::settings::Settings;
use crate::wire::nats::auth::Authenticator;
use crate::wire::nats::connection::Info;
use crate::wire::nats::pool::Target;
use crate::wire::nats::tls;

/// INFO is the only long line, and it comes before anything is proven.
const MAX_INFO: usize = 1 << 20;
/// Unsent bytes that the kernel may keep: what is there can be neither ordered nor taken back (X6: without, it took 24,641 frames of a stopped server).
const NOT_SENT_LOW_WATER: u32 = 128 << 10;
/// Bytes that the peer's kernel does not acknowledge for so long end the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The likely reason when a server says nothing.
const WAITS_FOR_TLS: &str = "if it waits for TLS (handshake_first), set tls_first";

/// A connection, with or without TLS.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(space);
        let polled = match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, pieces),
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether no other machine can listen. An address that is not known is not trusted.
    pub(crate) fn is_private(&self) -> bool {
        self.is_tls() || self.tcp().peer_addr().is_ok_and(|address| is_this_machine(address.ip()))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Ends it so that no byte of it arrives later (a frame of an ended epoch must not be stored behind our back).
    pub(crate) fn abort(self) {
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }
}

/// A server that greeted us.
pub(crate) struct Greeted {
    pub(crate) target: Target,
    pub(crate) stream: Stream,
    pub(crate) info: Info,
    pub(crate) auth: crate::wire::nats::auth::ConnectAuth,
    pub(crate) over_tls: bool,
}

/// Makes connections, one for all lanes of a publisher.
pub(crate) struct Dialer {
    /// `None`: no one asked for TLS when the publisher started, or there are files, which are read for each connection.
    tls: Option<Arc<ClientConfig>>,
    settings: crate::config::settings::TlsSettings,
    authenticator: Authenticator,
    timeout: Duration,
    tls_required: bool,
    /// A server asked for TLS and got it. From then on it is TLS or nothing: a later server, configured or discovered, may be somebody's who wants the credentials.
    tls_seen: AtomicBool,
    /// It was told that secrets go in plain text: once is enough.
    warned: AtomicBool,
}

impl Dialer {
    /// Certificates are read here if anything asks for TLS, so that bad ones are told by `connect`.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let some_url_wants_it = matches!(&settings.servers, Servers::Nats(servers) if servers.iter().any(|server| server.tls));
        let tls = if settings.tls.required || settings.tls.first || some_url_wants_it { Some(tls::client_config(&settings.tls)?) } else { None };
        Ok(Dialer {
            // Files may be replaced while the publisher runs; the system's authorities take long to read and seldom change.
            tls: tls.filter(|_| !settings.tls.has_files()),
            settings: settings.tls.clone(),
            authenticator: Authenticator::new(settings.auth.clone()),
            timeout: settings.connect_timeout,
            tls_required: settings.tls.required || settings.tls.first,
            tls_seen: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        })
    }

    /// True the first time: secrets go in plain text, and that is to be told.
    pub(crate) fn may_warn(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// The error for credentials that the server refused.
    pub(crate) fn refusal(&self, server: &ServerUrl, nonce: Option<&str>, text: &str) -> Error {
        self.authenticator.refusal(server, nonce, text)
    }

    /// The error for a TLS handshake that the server refused.
    pub(crate) fn handshake_error(&self, target: &Target, error: &io::Error) -> Error {
        tls::handshake_error(&target.server, &target.tls_name, &self.settings, error)
    }

    /// Connects to one server: every address of its name, INFO, TLS.
    pub(crate) async fn dial(&self, target: Target) -> Result<Greeted> {
        let server = target.server.clone();
        let limit = self.timeout;
        let listening = Cell::new(false);
        match tokio::time::timeout(limit, self.greet(target, &listening)).await {
            Ok(result) => result,
            Err(_) => {
                let (what, hint) = if listening.get() { ("no greeting", format!("; {WAITS_FOR_TLS}")) } else { ("no connection", String::new()) };
                Err(Error::new(Status::ConnectFailed, format!("{server}: {what} within {} ms (connect_timeout_ms){hint}", limit.as_millis())))
            }
        }
    }

    /// `listening` is true while nothing but the first line of a plain connection is awaited.
    async fn greet(&self, target: Target, listening: &Cell<bool>) -> Result<Greeted> {
        let server = &target.server;
        let failed = |what: &str, error: &dyn std::fmt::Display| Error::new(Status::ConnectFailed, format!("{server}: {what}: {error}"));
        let tcp = connect(server).await?;
        prepare(&tcp).map_err(|error| failed("the socket cannot be set up", &error))?;
        let mut stream = Stream::Tcp(tcp);
        if self.settings.first {
            stream = self.encrypt(stream, &target).await?;
        }
        listening.set(!self.settings.first);
        let line = read_line(&mut stream).await.map_err(|error| failed("no greeting", &error))?;
        listening.set(false);
        let info = Info::parse(&line).map_err(|error| failed("no NATS server", &error.message()))?;
        let mut over_tls = self.settings.first;
        let required = self.tls_required || server.tls;
        if !over_tls && (required || self.tls_seen.load(Ordering::Relaxed) || info.tls_required) {
            if !info.tls_required && !info.tls_available {
                let who = if required { "tls:// or tls_required" } else { "another server has asked for it" };
                return Err(Error::new(Status::TlsFailed, format!("{server}: TLS is required ({who}), but the server does not offer it")));
            }
            stream = self.encrypt(stream, &target).await?;
            over_tls = true;
        }
        let auth = self.authenticator.connect_fields(server, info.nonce.as_deref())?;
        Ok(Greeted { stream, info, auth, over_tls, target })
    }

    async fn encrypt(&self, stream: Stream, target: &Target) -> Result<Stream> {
        let Stream::Tcp(tcp) = stream else { return Ok(stream) };
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => tls::client_config(&self.settings)?,
        };
        let name = tls::server_name(&self.settings, &target.tls_name)?;
        let connected = TlsConnector::from(config).connect(name, tcp).await;
        self.tls_seen.fetch_or(connected.is_ok(), Ordering::Relaxed);
        connected.map(|tls| Stream::Tls(Box::new(tls))).map_err(|error| self.handshake_error(target, &error))
    }
}

/// IPv4 inside of IPv6 counts as what it is.
fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Tries every address of the server's name.
async fn connect(server: &ServerUrl) -> Result<TcpStream> {
    let failed = |what: String| Error::new(Status::ConnectFailed, format!("{server}: {what}"));
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((server.host.as_str(), server.port)).await.map_err(|error| failed(format!("the name cannot be resolved: {error}")))?.collect();
    let mut last = failed("the name has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = failed(format!("{error}")),
        }
    }
    Err(last)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)))?;
    // Old kernels may lack these; the connection works without.
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER);
    Ok(())
}

/// Reads one line, byte by byte: what follows it may be TLS, and must stay in the socket. It is read once per connection.
async fn read_line(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(1024);
    loop {
        let byte = match stream {
            Stream::Tcp(tcp) => tcp.read_u8().await,
            Stream::Tls(tls) => tls.read_u8().await,
        };
        match byte {
            Ok(b'\n') => break,
            Ok(byte) if line.len() < MAX_INFO => line.push(byte),
            Ok(_) => return Err(io::Error::other("the server's first line does not end")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::other(match stream {
                    Stream::Tcp(_) if line.is_empty() => format!("the server closed the connection; {WAITS_FOR_TLS}"),
                    _ if line.is_empty() => "the server closed the connection".to_owned(),
                    _ => "the server closed the connection in its first line".to_owned(),
                }));
            }
            Err(error) => return Err(error),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::thread::JoinHandle;

    use ackbus_test_support::Certs;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::Config;

    /// Greets one client, with TLS if there are certificates, and gives what the client then sent, until it hung up.
    fn greeter(certs: Option<&Certs>) -> (Target, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let Servers::Nats(mut servers) = Servers::parse(&url).unwrap() else { unreachable!() };
        let config = certs.map(|certs| {
            let chain = vec![CertificateDer::from_pem_file(&certs.server_cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&certs.server_key).unwrap();
            let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
            Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
        });
        let served = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            writeln!(tcp, "INFO {{\"headers\":true,\"tls_required\":{}}}\r", config.is_some()).unwrap();
            // A client that refuses the certificate hangs up without a farewell.
            let _ = match config {
                Some(config) => StreamOwned::new(ServerConnection::new(config).unwrap(), tcp).read_to_end(&mut heard),
                None => tcp.read_to_end(&mut heard),
            };
            heard
        });
        let server = servers.remove(0);
        (Target { tls_name: server.host.clone(), server }, served)
    }

    /// Trusts this authority, and has a secret.
    fn dialer(ca: &Path, required: bool) -> Dialer {
        let mut settings = Config::new().settings().unwrap();
        settings.tls.required = required;
        settings.tls.ca_file = Some(ca.to_str().unwrap().to_owned());
        settings.auth.token = Some(crate::base::secret::Secret::new("hush"));
        Dialer::new(&settings).unwrap()
    }

    fn dial(dialer: &Dialer, target: Target) -> Result<Greeted> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(dialer.dial(target))
    }

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        for (address, here) in [("127.0.0.1", true), ("127.8.9.1", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false), ("fe80::1", false)] {
            assert_eq!(is_this_machine(address.parse().unwrap()), here, "{address}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_may_wait_for_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let Servers::Nats(mut servers) = Servers::parse(&listener.local_addr().unwrap().to_string()).unwrap() else { unreachable!() };
        let hangs_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let server = servers.remove(0);
        let error = dial(&dialer(&Certs::new().ca, false), Target { tls_name: server.host.clone(), server }).err().unwrap();
        hangs_up.join().unwrap();
        assert!(error.message().contains("the server closed the connection") && error.message().contains("set tls_first"), "{error}");
    }

    #[test]
    fn after_a_server_with_tls_no_other_gets_plain_text() {
        let certs = Certs::new();
        let dialer = dialer(&certs.ca, false);
        let (first, served) = greeter(None);
        assert!(!dial(&dialer, first).unwrap().over_tls, "nobody asked for TLS so far");
        assert_eq!(served.join().unwrap(), b"");
        let (second, served) = greeter(Some(&certs));
        assert!(dial(&dialer, second).unwrap().over_tls);
        served.join().unwrap();
        let (third, served) = greeter(None);
        let error = dial(&dialer, third).err().unwrap();
        assert_eq!(error.status(), Status::TlsFailed);
        assert!(error.message().contains("another server has asked for it"), "{error}");
        assert_eq!(served.join().unwrap(), b"");
    }

    #[test]
    fn certificates_are_read_again_for_each_connection() {
        let (old, new) = (Certs::new(), Certs::new());
        let ca = old.ca.with_file_name("rotated.pem");
        std::fs::copy(&old.ca, &ca).unwrap();
        let dialer = dialer(&ca, true);
        for (certs, trusted) in [(&old, true), (&new, false)] {
            let (target, served) = greeter(Some(certs));
            assert_eq!(dial(&dialer, target).is_ok(), trusted);
            served.join().unwrap();
        }
        std::fs::copy(&new.ca, &ca).unwrap();
        let (target, served) = greeter(Some(&new));
        dial(&dialer, target).map(drop).unwrap();
        served.join().unwrap();
        // A file that is being replaced is an error of one try.
        std::fs::write(&ca, "").unwrap();
        let (target, served) = greeter(Some(&new));
        assert_eq!(dial(&dialer, target).err().unwrap().status(), Status::InvalidOption);
        served.join().unwrap();
    }
}
