//! A TCP proxy that fails on demand.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::background::Background;
use crate::frames::{Splitter, Verb};
use crate::port::Port;

/// What happens to one frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Pass,
    /// The client never sees it.
    Drop,
    /// It goes on twice.
    Duplicate,
    /// It goes on after this time; frames behind it do not wait.
    Delay(Duration),
    /// These bytes go on instead.
    Replace(Vec<u8>),
    /// The connection is reset instead: the client never sees the frame.
    Reset,
}

type Filter = Box<dyn FnMut(Verb, &[u8]) -> Action + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Hold,
    HoldReplies,
}

/// A proxy on 127.0.0.1 in front of one server. Dropping it ends its connections.
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    background: Background,
}

struct Shared {
    target: SocketAddr,
    filter: Mutex<Option<Filter>>,
    mode: watch::Sender<Mode>,
    /// Grows with each reset; a connection that sees it change ends.
    resets: watch::Sender<u64>,
    accepted: AtomicU64,
}

impl Proxy {
    /// Starts a proxy that passes everything.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let shared =
            Shared { target, filter: Mutex::new(None), mode: watch::Sender::new(Mode::Pass), resets: watch::Sender::new(0), accepted: AtomicU64::new(0) };
        let proxy = Proxy {
            port: Port::take().expect("a free port"),
            shared: Arc::new(shared),
            acceptor: Mutex::new(None),
            background: Background::start("test-proxy"),
        };
        proxy.accept();
        proxy
    }

    /// `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address())
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Reads nothing and writes nothing, in both directions; connections stay open. New ones are accepted and held as well.
    pub fn hold(&self) {
        self.shared.mode.send_replace(Mode::Hold);
    }

    /// The same for what comes from the server: messages arrive there, their acknowledgements stay out.
    pub fn hold_replies(&self) {
        self.shared.mode.send_replace(Mode::HoldReplies);
    }

    /// Ends a hold; what was held goes on.
    pub fn resume(&self) {
        self.shared.mode.send_replace(Mode::Pass);
    }

    /// Resets all connections (RST); what was held is lost. New ones are accepted.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// Refuses new connections from the moment it returns; open ones go on.
    pub fn refuse(&self) {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(acceptor) = acceptor {
            acceptor.abort();
            let _ = self.background.wait(acceptor);
        }
    }

    /// Accepts connections again after [`Proxy::refuse`].
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn accept(&self) {
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        if acceptor.is_none() {
            let listener = self.port.listen().expect("a listening port");
            listener.set_nonblocking(true).expect("a listening port");
            let shared = Arc::clone(&self.shared);
            *acceptor = Some(self.background.spawn(async move { shared.serve(listener).await }));
        }
    }

    /// Asks `filter` about each frame from the server, on all connections, from now on. It replaces the one before.
    pub fn filter(&self, filter: impl FnMut(Verb, &[u8]) -> Action + Send + 'static) {
        self.set_filter(Some(Box::new(filter)));
    }

    /// Lets all frames pass again.
    pub fn no_filter(&self) {
        self.set_filter(None);
    }

    /// Does `action` to the `k`-th message from the server, counted from this call and from 1; all others pass.
    pub fn on_reply(&self, k: u64, action: Action) {
        let mut seen = 0;
        self.filter(move |verb, _| {
            seen += u64::from(verb == Verb::Msg);
            if verb == Verb::Msg && seen == k { action.clone() } else { Action::Pass }
        });
    }

    fn set_filter(&self, filter: Option<Filter>) {
        *self.shared.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter;
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} to {})", self.port.address(), self.shared.target)
    }
}

impl Shared {
    /// Accepts connections until its task is aborted. Those it accepted go on without it.
    async fn serve(self: Arc<Self>, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        while let Ok((client, _)) = listener.accept().await {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&self);
            tokio::spawn(async move { shared.connection(client).await });
        }
    }

    async fn connection(&self, client: TcpStream) {
        let mut resets = self.resets.subscribe();
        let socket = SockRef::from(&client).try_clone();
        let ended = tokio::select! {
            _ = resets.changed() => Err(io::ErrorKind::ConnectionReset.into()),
            ended = self.carry(client) => ended,
        };
        // An end that is not a farewell on both sides reaches the client as a reset.
        if let (Err(_), Ok(socket)) = (ended, socket) {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Carries both directions until both have ended, or one failed.
    async fn carry(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        // Not `into_split`: its write half says farewell when it is dropped, and then a reset is none.
        let ((client_in, client_out), (server_in, server_out)) = (split(client), split(server));
        tokio::try_join!(self.up(client_in, server_out), self.down(server_in, client_out)).map(|_| ())
    }

    async fn up(&self, mut from: ReadHalf<TcpStream>, mut to: WriteHalf<TcpStream>) -> io::Result<()> {
        let mut mode = self.mode.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let _ = mode.wait_for(|mode| *mode != Mode::Hold).await;
            let count = tokio::select! {
                biased; // What the client sends after a hold is held, even if both are seen at once.
                _ = mode.changed() => continue,
                count = from.read(&mut buffer) => count?,
            };
            if count == 0 {
                let _ = to.shutdown().await;
                return Ok(());
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return Ok(()); // The server's last words may still be on their way down.
            }
        }
    }

    async fn down(&self, mut from: ReadHalf<TcpStream>, to: WriteHalf<TcpStream>) -> io::Result<()> {
        let to = Arc::new(tokio::sync::Mutex::new(to));
        let mut mode = self.mode.subscribe();
        let (mut buffer, mut splitter, mut late) = (vec![0; 64 * 1024], Splitter::default(), JoinSet::new());
        loop {
            let _ = mode.wait_for(|mode| *mode == Mode::Pass).await;
            let count = tokio::select! {
                biased;
                _ = mode.changed() => continue,
                count = from.read(&mut buffer) => count?,
            };
            if count == 0 {
                return to.lock().await.shutdown().await;
            }
            splitter.push(&buffer[..count]);
            let mut out = Vec::with_capacity(count);
            while let Some((verb, frame)) = splitter.next() {
                match self.judge(verb, &frame) {
                    Action::Pass => out.extend_from_slice(&frame),
                    Action::Drop => {}
                    Action::Duplicate => out.extend_from_slice(&frame.repeat(2)),
                    Action::Replace(other) => out.extend_from_slice(&other),
                    Action::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
                    Action::Delay(time) => {
                        let (to, mut mode) = (Arc::clone(&to), mode.clone());
                        late.spawn(async move {
                            tokio::time::sleep(time).await;
                            let _ = mode.wait_for(|mode| *mode == Mode::Pass).await;
                            let _ = to.lock().await.write_all(&frame).await;
                        });
                    }
                }
            }
            to.lock().await.write_all(&out).await?;
        }
    }

    fn judge(&self, verb: Verb, frame: &[u8]) -> Action {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        filter.as_mut().map_or(Action::Pass, |filter| filter(verb, frame))
    }
}
