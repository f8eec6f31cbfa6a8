//! What the driver asks of a network: to resolve a name, to open one address, and a socket. Time-outs, the order of addresses and TLS stand above.
//!
//! Two networks are there: `sockets`, which is tokio's, and the simulation's model. Both may say Pending while the kernel has bytes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Something that a network does in its own time.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// Where servers are.
pub(crate) trait Network {
    type Socket: Socket;

    /// All addresses of a host's name.
    fn resolve(&self, host: &str, port: u16) -> Later<Vec<SocketAddr>>;

    /// One connection to one address, ready to be used.
    fn open(&self, address: SocketAddr) -> Later<Self::Socket>;
}

/// One connection. To drop it closes it.
pub(crate) trait Socket: Unpin {
    /// Reads as far as the network believes that there is something: it may say Pending while bytes are there, and wakes then.
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>>;

    /// The same, but Pending means that nothing is there now. Slower: for the moment before something is judged.
    fn poll_read_fresh(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>>;

    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer is this machine. A peer that is not known is not.
    fn is_local(&self) -> bool;

    /// Ends it so that no byte of it arrives later (a frame of an ended epoch must not be stored behind our back).
    fn abort(self);
}
