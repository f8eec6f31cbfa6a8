//! The real network: tokio's sockets, with the options that a publisher wants.

use std::io::{self, IoSlice, Read};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::runtime::network::{Later, Network, Socket};

/// Unsent bytes that the kernel may keep: what is there can be neither ordered nor taken back (X6: without, it took 24,641 frames of a stopped server).
const NOT_SENT_LOW_WATER: u32 = 128 << 10;
/// Bytes that the peer's kernel does not acknowledge for so long end the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// TCP, as this machine has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Internet;

impl Network for Internet {
    type Socket = TcpStream;

    fn resolve(&self, host: &str, port: u16) -> Later<Vec<SocketAddr>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    }

    fn open(&self, address: SocketAddr) -> Later<TcpStream> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream).map_err(|error| io::Error::new(error.kind(), format!("the socket cannot be set up: {error}")))?;
            Ok(stream)
        })
    }
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

impl Socket for TcpStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(space);
        AsyncRead::poll_read(Pin::new(self), cx, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    /// Asks the kernel itself. Tokio believes a socket to be empty after a short read, until its reactor has turned; and it reads no more when a task has had its
    /// share of time. A thread that stood still for a while would judge its messages with their acks unread.
    fn poll_read_fresh(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match (&*SockRef::from(&*self)).read(space) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing is there. Tokio has yet to be told that we wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Socket::poll_read(self, cx, space),
                read => return Poll::Ready(read),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_vectored(cx, pieces)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }

    fn is_local(&self) -> bool {
        self.peer_addr().is_ok_and(|address| is_this_machine(address.ip()))
    }

    fn abort(self) {
        let _ = SockRef::from(&self).set_linger(Some(Duration::ZERO));
    }
}

/// IPv4 inside of IPv6 counts as what it is.
fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::future::poll_fn;
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        for (address, here) in [("127.0.0.1", true), ("127.8.9.1", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false), ("fe80::1", false)] {
            assert_eq!(is_this_machine(address.parse().unwrap()), here, "{address}");
        }
    }

    #[test]
    fn a_fresh_read_finds_what_tokio_does_not_know_of() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut socket = Internet.open(address).await.unwrap();
            assert!(socket.is_local());
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"first").unwrap();
            let mut space = [0; 64];
            // Short, so that tokio believes the socket to be empty.
            assert_eq!(poll_fn(|cx| Socket::poll_read(&mut socket, cx, &mut space)).await.unwrap(), 5);
            peer.write_all(b"second").unwrap();
            let (stale, fresh, empty) = poll_fn(|cx| {
                // No reactor turns in here, as when the thread stands still between two rounds.
                let stale = Socket::poll_read(&mut socket, cx, &mut space).is_pending();
                let fresh = socket.poll_read_fresh(cx, &mut space).map(Result::unwrap);
                Poll::Ready((stale, fresh, socket.poll_read_fresh(cx, &mut space).is_pending()))
            })
            .await;
            assert_eq!((stale, fresh, empty), (true, Poll::Ready(6), true));
            // It is woken all the same.
            let later = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                peer.write_all(b"third").unwrap();
                peer
            });
            assert_eq!(poll_fn(|cx| Socket::poll_read(&mut socket, cx, &mut space)).await.unwrap(), 5);
            drop(later.join().unwrap());
            assert_eq!(poll_fn(|cx| socket.poll_read_fresh(cx, &mut space)).await.unwrap(), 0);
        });
    }
}
