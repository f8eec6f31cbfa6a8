//! Dial: from a server's name to a connection whose INFO was read and whose TLS is done. A machine of states that the driver polls with the time of its round.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio_rustls::rustls::ClientConfig;

use crate::base::error::{Error, Result, Status};
use crate::base::time::{Nanos, nanos};
use crate::config::servers::{ServerUrl, Servers};
use crate::config::settings::{Settings, TlsSettings};
use crate::runtime::network::{Network, Socket};
use crate::runtime::reach::Reach;
use crate::runtime::stream::{Handshake, Stream, encrypt};
use crate::wire::nats::auth::{Authenticator, ConnectAuth};
use crate::wire::nats::connection::Info;
use crate::wire::nats::pool::Target;
use crate::wire::nats::tls;

/// INFO is the only long line, and it comes before anything is proven.
const MAX_INFO: usize = 1 << 20;

/// The likely reason when a server says nothing.
const WAITS_FOR_TLS: &str = "if it waits for TLS (handshake_first), set tls_first";

/// A server that greeted us.
pub(super) struct Greeted<N: Network> {
    pub(super) target: Target,
    pub(super) stream: Stream<N::Socket>,
    pub(super) info: Info,
    pub(super) auth: ConnectAuth,
    pub(super) over_tls: bool,
}

/// What all dialling of a publisher has in common, whichever lane it is for.
pub(crate) struct Dialer {
    /// `None`: no one asked for TLS when the publisher started, or there are files, which are read for each connection.
    tls: Option<Arc<ClientConfig>>,
    settings: TlsSettings,
    authenticator: Authenticator,
    timeout: Nanos,
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
            timeout: nanos(settings.connect_timeout),
            tls_required: settings.tls.required || settings.tls.first,
            tls_seen: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        })
    }

    /// True the first time: secrets go in plain text, and that is to be told.
    pub(super) fn may_warn(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// The error for credentials that the server refused.
    pub(super) fn refusal(&self, server: &ServerUrl, nonce: Option<&str>, text: &str) -> Error {
        self.authenticator.refusal(server, nonce, text)
    }

    /// The error for a TLS handshake that the server refused.
    pub(super) fn handshake_error(&self, target: &Target, error: &io::Error) -> Error {
        tls::handshake_error(&target.server, &target.tls_name, &self.settings, error)
    }

    fn tls_config(&self) -> Result<Arc<ClientConfig>> {
        match &self.tls {
            Some(config) => Ok(Arc::clone(config)),
            None => tls::client_config(&self.settings),
        }
    }
}

/// One try to connect to one server: every address of its name, INFO, TLS.
pub(super) struct Dialing<N: Network> {
    dialer: Arc<Dialer>,
    target: Target,
    /// `connect_timeout_ms` is over.
    until: Nanos,
    /// It was over when nothing had come, and the network was asked once more.
    asked_again: bool,
    step: Step<N>,
}

enum Step<N: Network> {
    Reaching(Reach<N>),
    /// TLS, before INFO was read (`tls_first`) or after it.
    Encrypting(Pin<Box<Handshake<N::Socket>>>, Option<Info>),
    /// The first line, as far as it came.
    Greeting(Stream<N::Socket>, Vec<u8>),
    Over,
}

impl<N: Network> Dialing<N> {
    pub(super) fn new(dialer: &Arc<Dialer>, network: &N, target: Target, now: Nanos) -> Self {
        Dialing {
            step: Step::Reaching(Reach::new(network, &target.server)),
            until: now.saturating_add(dialer.timeout),
            asked_again: false,
            dialer: Arc::clone(dialer),
            target,
        }
    }

    pub(super) fn server(&self) -> &ServerUrl {
        &self.target.server
    }

    /// When to poll at the latest.
    pub(super) fn next(&self) -> Nanos {
        // Once the network was asked again it is the network that wakes us.
        if self.asked_again { Nanos::MAX } else { self.until }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, network: &N, now: Nanos) -> Poll<Result<Greeted<N>>> {
        loop {
            let fresh = now >= self.until;
            self.step = match std::mem::replace(&mut self.step, Step::Over) {
                Step::Reaching(mut reach) => match reach.poll(cx, network) {
                    Poll::Pending => return self.wait(cx, now, Step::Reaching(reach)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(socket)) if self.dialer.settings.first => self.encrypting(socket, None)?,
                    Poll::Ready(Ok(socket)) => Step::Greeting(Stream::Plain(socket), Vec::with_capacity(1024)),
                },
                Step::Encrypting(mut handshake, info) => match handshake.as_mut().poll(cx) {
                    Poll::Pending => return self.wait(cx, now, Step::Encrypting(handshake, info)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.dialer.handshake_error(&self.target, &error))),
                    Poll::Ready(Ok(tls)) => {
                        self.dialer.tls_seen.store(true, Ordering::Relaxed);
                        let stream = Stream::Tls(Box::new(tls));
                        match info {
                            Some(info) => return Poll::Ready(self.greeted(stream, info)),
                            None => Step::Greeting(stream, Vec::with_capacity(1024)),
                        }
                    }
                },
                Step::Greeting(mut stream, mut line) => match poll_line(cx, &mut stream, &mut line, fresh) {
                    Poll::Pending => return self.wait(cx, now, Step::Greeting(stream, line)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failed("no greeting", &error))),
                    Poll::Ready(Ok(())) => {
                        let info = Info::parse(&line).map_err(|error| self.failed("no NATS server", &error.message()))?;
                        match stream {
                            Stream::Plain(socket) if self.wants_tls(&info)? => self.encrypting(socket, Some(info))?,
                            stream => return Poll::Ready(self.greeted(stream, info)),
                        }
                    }
                },
                Step::Over => return Poll::Ready(Err(Error::new(Status::Internal, "a dialling was polled after its end"))),
            };
        }
    }

    /// Nothing more for now: goes on later, or gives up.
    fn wait(&mut self, cx: &Context<'_>, now: Nanos, step: Step<N>) -> Poll<Result<Greeted<N>>> {
        self.step = step;
        if now < self.until {
            return Poll::Pending;
        }
        if !self.asked_again {
            // A thread that stood still finds its time over and the network's answer not yet heard.
            self.asked_again = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (what, hint) = match &self.step {
            Step::Greeting(Stream::Plain(_), _) => ("no greeting", format!("; {WAITS_FOR_TLS}")),
            _ => ("no connection", String::new()),
        };
        let text = format!("{}: {what} within {} ms (connect_timeout_ms){hint}", self.target.server, self.dialer.timeout / 1_000_000);
        Poll::Ready(Err(Error::new(Status::ConnectFailed, text)))
    }

    /// Whether TLS follows this INFO.
    fn wants_tls(&self, info: &Info) -> Result<bool> {
        let (dialer, server) = (&self.dialer, &self.target.server);
        let required = dialer.tls_required || server.tls;
        if !(required || dialer.tls_seen.load(Ordering::Relaxed) || info.tls_required) {
            return Ok(false);
        }
        if !info.tls_required && !info.tls_available {
            let who = if required { "tls:// or tls_required" } else { "another server has asked for it" };
            return Err(Error::new(Status::TlsFailed, format!("{server}: TLS is required ({who}), but the server does not offer it")));
        }
        Ok(true)
    }

    fn encrypting(&self, socket: N::Socket, info: Option<Info>) -> Result<Step<N>> {
        let config = self.dialer.tls_config()?;
        let name = tls::server_name(&self.dialer.settings, &self.target.tls_name)?;
        Ok(Step::Encrypting(Box::pin(encrypt(socket, config, name)), info))
    }

    fn greeted(&self, stream: Stream<N::Socket>, info: Info) -> Result<Greeted<N>> {
        let auth = self.dialer.authenticator.connect_fields(&self.target.server, info.nonce.as_deref())?;
        Ok(Greeted { over_tls: stream.is_tls(), target: self.target.clone(), stream, info, auth })
    }

    fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> Error {
        Error::new(Status::ConnectFailed, format!("{}: {what}: {error}", self.target.server))
    }
}

/// Reads one line, byte by byte: what follows it may be TLS, and must stay in the socket. It is read once per connection.
fn poll_line<S: Socket>(cx: &mut Context<'_>, stream: &mut Stream<S>, line: &mut Vec<u8>, fresh: bool) -> Poll<io::Result<()>> {
    let mut byte = [0];
    loop {
        let ended = |what: &str| Poll::Ready(Err(io::Error::other(what)));
        match stream.poll_read(cx, &mut byte, fresh) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(0)) if !line.is_empty() => return ended("the server closed the connection in its first line"),
            Poll::Ready(Ok(0)) if stream.is_tls() => return ended("the server closed the connection"),
            Poll::Ready(Ok(0)) => return ended(&format!("the server closed the connection; {WAITS_FOR_TLS}")),
            Poll::Ready(Ok(_)) if byte == *b"\n" => break,
            Poll::Ready(Ok(_)) if line.len() >= MAX_INFO => return ended("the server's first line does not end"),
            Poll::Ready(Ok(_)) => line.extend_from_slice(&byte),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Poll::Ready(Ok(()))
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
