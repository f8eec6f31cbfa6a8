//! A connection with or without TLS, over whatever socket the network has.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{Connect, TlsConnector};

use crate::runtime::network::Socket;

/// A connection, with or without TLS.
pub(super) enum Stream<S: Socket> {
    Plain(S),
    Tls(Box<TlsStream<Carrier<S>>>),
}

/// A TLS handshake under way.
pub(super) type Handshake<S> = Connect<Carrier<S>>;

/// Begins a TLS handshake.
pub(super) fn encrypt<S: Socket>(socket: S, config: Arc<ClientConfig>, name: ServerName<'static>) -> Handshake<S> {
    TlsConnector::from(config).connect(name, Carrier { socket, fresh: false })
}

impl<S: Socket> Stream<S> {
    /// `fresh`: Pending must mean that nothing is there.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8], fresh: bool) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) if fresh => socket.poll_read_fresh(cx, space),
            Stream::Plain(socket) => socket.poll_read(cx, space),
            Stream::Tls(stream) => {
                stream.get_mut().0.fresh = fresh;
                let mut buffer = ReadBuf::new(space);
                Pin::new(stream.as_mut()).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
            }
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => socket.poll_write(cx, pieces),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, pieces),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(socket) => socket.poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether no other machine can listen.
    pub(super) fn is_private(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.is_local(),
            Stream::Tls(_) => true,
        }
    }

    /// Ends it so that no byte of it arrives later.
    pub(super) fn abort(self) {
        match self {
            Stream::Plain(socket) => socket.abort(),
            Stream::Tls(stream) => stream.into_inner().0.socket.abort(),
        }
    }
}

/// A socket as rustls' carrier wants it.
pub(super) struct Carrier<S> {
    socket: S,
    fresh: bool,
}

impl<S: Socket> AsyncRead for Carrier<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let space = buffer.initialize_unfilled();
        let read = if this.fresh { this.socket.poll_read_fresh(cx, space) } else { this.socket.poll_read(cx, space) };
        read.map_ok(|count| buffer.advance(count))
    }
}

impl<S: Socket> AsyncWrite for Carrier<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().socket.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.get_mut().socket.poll_write(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.poll_shutdown(cx)
    }
}
