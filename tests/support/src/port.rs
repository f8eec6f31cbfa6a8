//! A TCP port of 127.0.0.1 that stays ours for as long as the test needs it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port held by a socket that is bound and never listens. The kernel gives it to nobody who asks for any free port, connections to it are refused,
/// and a server that binds it by number (with `SO_REUSEADDR`, as Go does) may listen on it: so a server can go down and come back on its port without a race.
/// Rejected: to ask for a free port, close it and hope; and the server's own `-1`, which gives another port after each restart.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    _socket: Socket,
}

impl Port {
    /// Takes a free port.
    pub(crate) fn take() -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = bound(any)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(any);
        Ok(Port { address, _socket: socket })
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A second socket on the same port, which listens. The port stays ours when that one closes.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let listener = bound(self.address)?;
        listener.listen(128)?;
        Ok(listener.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
