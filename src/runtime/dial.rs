//! Dial: from a server's name to a connection whose INFO was read and whose TLS is done.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

use crate::config::Settings;
use crate::error::{Error, Result, Status};
use crate::wire::nats::auth::Authenticator;
use crate::wire::nats::connection::Info;
use crate::wire::nats::pool::Target;
use crate::wire::nats::tls;
use crate::wire::nats::url::{ServerUrl, Servers};

/// INFO is the only long line, and it comes before anything is proven.
const MAX_INFO: usize = 1 << 20;
/// Unsent bytes that the kernel may keep: what is there can be neither ordered nor taken back (X6: without, it took 24,641 frames of a stopped server).
const NOT_SENT_LOW_WATER: u32 = 128 << 10;
/// Bytes that the peer's kernel does not acknowledge for so long end the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

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

/// Makes connections.
pub(crate) struct Dialer {
    tls: Option<Arc<ClientConfig>>,
    settings: crate::config::TlsSettings,
    authenticator: Authenticator,
    timeout: Duration,
    tls_required: bool,
}

impl Dialer {
    /// Certificates are read here if anything asks for TLS, so that bad ones are told by `connect`.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let some_url_wants_it = matches!(&settings.servers, Servers::Nats(servers) if servers.iter().any(|server| server.tls));
        let tls = if settings.tls.required || settings.tls.first || some_url_wants_it { Some(tls::client_config(&settings.tls)?) } else { None };
        Ok(Dialer {
            tls,
            settings: settings.tls.clone(),
            authenticator: Authenticator::new(settings.auth.clone()),
            timeout: settings.connect_timeout,
            tls_required: settings.tls.required || settings.tls.first,
        })
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
        match tokio::time::timeout(limit, self.greet(target)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(Status::ConnectFailed, format!("{server}: no connection within {} ms (connect_timeout_ms)", limit.as_millis()))),
        }
    }

    async fn greet(&self, target: Target) -> Result<Greeted> {
        let server = &target.server;
        let failed = |what: &str, error: &dyn std::fmt::Display| Error::new(Status::ConnectFailed, format!("{server}: {what}: {error}"));
        let tcp = connect(server).await?;
        prepare(&tcp).map_err(|error| failed("the socket cannot be set up", &error))?;
        let mut stream = Stream::Tcp(tcp);
        if self.settings.first {
            stream = self.encrypt(stream, &target).await?;
        }
        let line = read_line(&mut stream).await.map_err(|error| failed("no greeting", &error))?;
        let info = Info::parse(&line).map_err(|error| failed("no NATS server", &error.message()))?;
        let mut over_tls = self.settings.first;
        if !over_tls && (self.tls_required || server.tls || info.tls_required) {
            if !info.tls_required && !info.tls_available {
                return Err(Error::new(Status::TlsFailed, format!("{server}: TLS is required (tls:// or tls_required), but the server does not offer it")));
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
        connected.map(|tls| Stream::Tls(Box::new(tls))).map_err(|error| self.handshake_error(target, &error))
    }
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
                return Err(io::Error::other(if line.is_empty() {
                    "the server closed the connection"
                } else {
                    "the server closed the connection in its first line"
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
