//! A TCP proxy that fails on demand.

pub mod choose;
mod connection;
mod lane;
mod line;
mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::background::Background;
use crate::frames::Verb;
use crate::port::Port;
use connection::Session;
pub use settings::Link;
use settings::{Gate, Settings, Side};

/// What happens to one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Pass,
    /// The other side never sees it.
    Drop,
    /// It goes on twice.
    Duplicate,
    /// It goes on after this time; frames behind it do not wait, so it is what changes their order.
    Delay(Duration),
    /// These bytes go on instead.
    Replace(Vec<u8>),
    /// The connection is reset instead, towards both sides: the other one never sees the frame, only what came before it.
    Reset,
    /// Only so many bytes of it go on, then the connection is reset, towards both sides.
    Cut(usize),
    /// The other side never sees it, and these bytes go back to its sender.
    Answer(Vec<u8>),
    /// For a publish: the server never sees it, and this payload goes back to the client as a message to the reply subject, under the number of the
    /// client's own subscription. Without a reply subject, or a subscription, nothing goes back.
    Reply(Vec<u8>),
}

type Filter = Box<dyn FnMut(Verb, &[u8]) -> Action + Send>;

/// A proxy on 127.0.0.1 in front of one server. Dropping it ends its connections. All methods may be called from any thread, but not from a filter.
///
/// Connections under TLS are not understood: a filter sees their bytes as they come, as [`Verb::Other`], and whatever takes some away, or adds some, breaks
/// them. Holds and links are as good as without.
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    background: Background,
}

struct Shared {
    target: Mutex<SocketAddr>,
    filter_up: Mutex<Option<Filter>>,
    filter_down: Mutex<Option<Filter>>,
    settings: watch::Sender<Settings>,
    /// Grows with each reset; a connection that sees it change ends.
    resets: watch::Sender<u64>,
    sessions: Mutex<Vec<Weak<Session>>>,
    accepted: AtomicU64,
    discarded: AtomicU64,
    silent: AtomicBool,
}

impl Proxy {
    /// Starts a proxy that passes everything.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let shared = Shared {
            target: Mutex::new(target),
            filter_up: Mutex::new(None),
            filter_down: Mutex::new(None),
            settings: watch::Sender::new(Settings::default()),
            resets: watch::Sender::new(0),
            sessions: Mutex::default(),
            accepted: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        };
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

    /// Where new connections go; open ones stay where they are.
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Reads nothing and writes nothing, in both directions; connections stay open. New ones are accepted and held as well.
    pub fn hold(&self) {
        self.gates(Gate::Hold, Gate::Hold);
    }

    /// The same for what comes from the server, and only for that: messages arrive there, their acknowledgements stay out.
    pub fn hold_replies(&self) {
        self.gates(Gate::Pass, Gate::Hold);
    }

    /// The same for what comes from the client, and only for that: messages stay out, the acknowledgements of earlier ones arrive.
    pub fn hold_publishes(&self) {
        self.gates(Gate::Hold, Gate::Pass);
    }

    /// A black hole: everything is read and thrown away, in both directions; connections stay open, even if one side closes. Frames are thrown away whole,
    /// so that both sides understand each other again after [`Proxy::resume`].
    pub fn discard(&self) {
        self.gates(Gate::Discard, Gate::Discard);
    }

    /// How many bytes [`Proxy::discard`] has thrown away so far.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.shared.discarded.load(Ordering::Relaxed)
    }

    /// Ends a hold or a discard; what was held goes on.
    pub fn resume(&self) {
        self.gates(Gate::Pass, Gate::Pass);
    }

    /// What becomes of bytes that a hold kept, if their client closes before the hold ends. Without this those of a client that reset its connection are
    /// lost with it. With it they reach the server after [`Proxy::resume`] in any case: the hold takes in what the client writes, up to 64 MiB.
    pub fn keep_bytes(&self, keep: bool) {
        self.shared.settings.send_modify(|settings| settings.keep = keep);
    }

    /// Makes all connections like this, from now on and in both directions.
    ///
    /// # Panics
    /// When the rate or the slice is 0: that is a [`Proxy::hold`].
    pub fn link(&self, link: Link) {
        assert!(link.bytes_per_second != Some(0) && link.slice != Some(0), "{link:?}: a rate or a slice of 0; allowed: 1 or more");
        self.shared.settings.send_modify(|settings| settings.link = link);
    }

    /// Resets all connections (RST), towards both sides; what was held is lost. New ones are accepted.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// Refuses new connections from the moment it returns; open ones go on.
    pub fn refuse(&self) {
        let acceptor = lock(&self.acceptor).take();
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
        let mut acceptor = lock(&self.acceptor);
        if acceptor.is_none() {
            let listener = self.port.listen().expect("a listening port");
            listener.set_nonblocking(true).expect("a listening port");
            let shared = Arc::clone(&self.shared);
            *acceptor = Some(self.background.spawn(async move { shared.serve(listener).await }));
        }
    }

    /// Accepts new connections and says nothing, not even INFO, as long as they are open; they never reach the server.
    pub fn accept_silently(&self, silently: bool) {
        self.shared.silent.store(silently, Ordering::Relaxed);
    }

    /// Asks `filter` about each frame from the server, on all connections, from now on. It replaces the one before. [`choose`] has the usual ones.
    pub fn filter(&self, filter: impl FnMut(Verb, &[u8]) -> Action + Send + 'static) {
        *lock(&self.shared.filter_down) = Some(Box::new(filter));
    }

    /// Lets all frames from the server pass again.
    pub fn no_filter(&self) {
        *lock(&self.shared.filter_down) = None;
    }

    /// The same as [`Proxy::filter`] for frames from the client.
    pub fn filter_up(&self, filter: impl FnMut(Verb, &[u8]) -> Action + Send + 'static) {
        *lock(&self.shared.filter_up) = Some(Box::new(filter));
    }

    /// Lets all frames from the client pass again.
    pub fn no_filter_up(&self) {
        *lock(&self.shared.filter_up) = None;
    }

    /// Does `action` to the `k`-th message from the server, counted from this call and from 1; all others pass.
    pub fn on_reply(&self, k: u64, action: Action) {
        let mut seen = 0;
        self.filter(move |verb, _| {
            seen += u64::from(verb == Verb::Msg);
            if verb == Verb::Msg && seen == k { action.clone() } else { Action::Pass }
        });
    }

    /// Says these bytes to each client, as if the server had, between two of its frames. A hold keeps them.
    pub fn inject(&self, bytes: &[u8]) {
        let delay = self.shared.settings.borrow().link.delay;
        for session in self.shared.sessions().iter().filter_map(Weak::upgrade) {
            session.line(Side::Down).push(bytes.to_vec(), delay);
        }
    }

    fn gates(&self, up: Gate, down: Gate) {
        self.shared.settings.send_modify(|settings| (settings.up, settings.down) = (up, down));
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} to {})", self.port.address(), lock(&self.shared.target))
    }
}

impl Shared {
    fn judge(&self, side: Side, verb: Verb, frame: &[u8]) -> Action {
        let filter = match side {
            Side::Up => &self.filter_up,
            Side::Down => &self.filter_down,
        };
        lock(filter).as_mut().map_or(Action::Pass, |filter| filter(verb, frame))
    }

    /// The open connections, and no others.
    fn sessions(&self) -> MutexGuard<'_, Vec<Weak<Session>>> {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|session| session.strong_count() > 0);
        sessions
    }
}

/// A filter that panics fails its connection, and must not fail all that comes after it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
