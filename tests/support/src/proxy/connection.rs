//! Connections: how they come, what is known of each, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt, split};
use tokio::net::{TcpListener, TcpStream};

use super::Shared;
use super::lane::Lane;
use super::line::Line;
use super::settings::Side;
use crate::interest::Interest;

/// What both directions of one connection share.
#[derive(Debug)]
pub(super) struct Session {
    up: Line,
    down: Line,
    interest: Mutex<Interest>,
}

impl Session {
    pub(super) fn line(&self, side: Side) -> &Line {
        match side {
            Side::Up => &self.up,
            Side::Down => &self.down,
        }
    }

    pub(super) fn interest(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Accepts connections until its task is aborted. Those it accepted go on without it.
    pub(super) async fn serve(self: Arc<Self>, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        while let Ok((client, _)) = listener.accept().await {
            // Asked now: what changes later is for later connections.
            let target = (!self.silent.load(Ordering::Relaxed)).then(|| *self.target.lock().unwrap_or_else(PoisonError::into_inner));
            self.accepted.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&self);
            tokio::spawn(async move { shared.connection(client, target).await });
        }
    }

    async fn connection(&self, client: TcpStream, target: Option<SocketAddr>) {
        let mut resets = self.resets.subscribe();
        let Ok(socket) = SockRef::from(&client).try_clone() else { return };
        let mut sockets = vec![socket];
        let ended = tokio::select! {
            _ = resets.changed() => Err(io::ErrorKind::ConnectionReset.into()),
            ended = self.carry(client, target, &mut sockets) => ended,
        };
        // An end that is not a farewell on both sides is a reset for both.
        if ended.is_err() {
            for socket in sockets {
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
        }
    }

    /// Carries both directions until both have ended, or one failed. `sockets` are second handles: they outlive the streams, which end at once if this fails.
    async fn carry(&self, mut client: TcpStream, target: Option<SocketAddr>, sockets: &mut Vec<Socket>) -> io::Result<()> {
        let Some(target) = target else {
            // Nobody answers. Reading is how its end is noticed.
            while client.read(&mut [0; 1024]).await? > 0 {}
            return Ok(());
        };
        let server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        sockets.push(SockRef::from(&server).try_clone()?);
        let session = Arc::new(Session { up: Line::new(), down: Line::new(), interest: Mutex::default() });
        self.sessions().push(Arc::downgrade(&session));
        let lane = |side| Lane { side, shared: self, session: &session };
        let (up, down) = (lane(Side::Up), lane(Side::Down));
        // Not `into_split`: its write half says farewell when it is dropped, and then a reset is none.
        let ((client_in, client_out), (server_in, server_out)) = (split(client), split(server));
        let (client, server) = (&sockets[0], &sockets[1]);
        tokio::try_join!(up.carry(client_in, client, server_out), down.carry(server_in, server, client_out)).map(|_| ())
    }
}
