//! The model as a network: what the runtime's driver asks of sockets and names, answered by the model server. The driver above it is the real one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::link::Output;
use super::model::Model;
use super::rng::Rng;
use super::script::MS;
use super::weather::Weather;
use crate::runtime::network::{Later, Network, Socket};

/// What the kernel gives in one read.
const MOST_READ: usize = 64 * 1024;

/// The server, the ways to it, and what the client's system knows of its sockets.
pub(super) struct Ground {
    pub(super) model: Model,
    pub(super) now: u64,
    pub(super) trace: bool,
    weather: Weather,
    rng: Rng,
    /// How long bytes may go unheard before the kernel gives a connection up (TCP_USER_TIMEOUT).
    user_timeout: u64,
    sockets: BTreeMap<u64, Known>,
    last_conn: u64,
    /// Reads and writes left until the system looks at its sockets again.
    budget: u32,
    /// When names and addresses answer that are waited for.
    alarms: BTreeSet<u64>,
    woken: bool,
}

/// What the system knows of a socket, right or not, and who waits for it.
struct Known {
    readable: bool,
    writable: bool,
    reads: bool,
    writes: bool,
    /// Bytes went out at this time and arrive nowhere.
    unheard_since: Option<u64>,
}

/// What an address leads to.
#[derive(Clone, Copy)]
enum Way {
    Server,
    Refused,
    Nowhere,
}

impl Ground {
    pub(super) fn new(model: Model, weather: Weather, user_timeout: u64, rng: Rng, trace: bool) -> Rc<RefCell<Self>> {
        let budget = weather.budget;
        Rc::new(RefCell::new(Ground {
            model,
            now: 0,
            trace,
            weather,
            rng,
            user_timeout,
            sockets: BTreeMap::new(),
            last_conn: 0,
            budget,
            alarms: BTreeSet::new(),
            woken: false,
        }))
    }

    /// Says something when a seed is watched.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let mut out = io::stderr().lock();
            let _ = writeln!(out, "{:>5}.{:06} ms  {}", self.now / MS, self.now % MS, what());
        }
    }

    /// The system looks at its sockets. Tells whether that wakes the client.
    pub(super) fn look(&mut self) -> bool {
        let now = self.now;
        self.model.tick(now);
        self.budget = self.weather.budget;
        let mut woken = std::mem::take(&mut self.woken);
        for (&conn, known) in &mut self.sockets {
            let ended = known.unheard_since.is_some_and(|since| now >= since + self.user_timeout);
            known.readable |= ended || self.model.is_readable(now, conn);
            known.writable |= ended || self.model.is_writable(now, conn);
            woken |= (known.readable && std::mem::take(&mut known.reads)) | (known.writable && std::mem::take(&mut known.writes));
        }
        let later = self.alarms.split_off(&(now + 1));
        woken | !std::mem::replace(&mut self.alarms, later).is_empty()
    }

    /// When something happens next.
    pub(super) fn next_event(&mut self) -> Option<u64> {
        let now = self.now;
        let ends = self.sockets.values().filter_map(|known| known.unheard_since).map(|since| since + self.user_timeout);
        let times = ends.chain(self.alarms.first().copied()).filter(|&at| at > now).min();
        [times, self.model.next_event(now)].into_iter().flatten().min()
    }

    /// A pause of the client in front of this round, if there is one.
    pub(super) fn pause(&mut self) -> Option<u64> {
        let weather = &mut self.weather;
        if weather.pauses == 0 || self.now >= weather.heals_at || !self.rng.chance(weather.pause) {
            return None;
        }
        weather.pauses -= 1;
        Some(self.rng.between(MS / 10, weather.longest_pause))
    }

    /// Whether the system does not look at its sockets when the client wakes from a pause, as when a signal ended its sleep.
    pub(super) fn is_blind(&mut self) -> bool {
        self.weather.stale && self.rng.chance(500)
    }

    fn fails(&mut self, odds: u64) -> bool {
        self.now < self.weather.heals_at && self.rng.chance(odds)
    }

    /// Whether the thread may read or write once more. If not, it is woken when the system has looked.
    fn spend(&mut self) -> bool {
        let left = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        self.woken |= !left;
        left
    }

    /// A name or an address answers at this time.
    fn when(&mut self) -> u64 {
        let at = self.now + if self.now < self.weather.heals_at { self.rng.below(self.weather.slowness + 1) } else { 0 };
        self.alarms.insert(at);
        at
    }

    fn addresses(&mut self) -> Vec<SocketAddr> {
        let count = self.rng.between(1, self.weather.addresses);
        let all_bad = self.weather.all_bad;
        let good = (!self.fails(all_bad)).then_some(count);
        let mut ways = Vec::new();
        for n in 1..=count {
            let (refused, swallowed) = (self.weather.refused, self.weather.swallowed);
            ways.push(match () {
                () if Some(n) == good => Way::Server,
                () if self.fails(swallowed) => Way::Nowhere,
                () if self.fails(refused) || good.is_none() => Way::Refused,
                () => Way::Server,
            });
        }
        ways.iter().zip(1..).map(|(&way, n)| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, way as u8, n)), 4222)).collect()
    }

    fn connect(&mut self) -> io::Result<u64> {
        self.last_conn += 1;
        let conn = self.last_conn;
        self.model.connect(self.now, conn).map_err(|_| io::Error::from(ErrorKind::ConnectionRefused))?;
        self.tell(|| format!("connection {conn} is open"));
        self.sockets.insert(conn, Known { readable: true, writable: true, reads: false, writes: false, unheard_since: None });
        Ok(conn)
    }

    /// What a read gives, whatever the system believes.
    fn read(&mut self, conn: u64, space: &mut [u8]) -> io::Result<usize> {
        let now = self.now;
        if self.sockets.get(&conn).and_then(|known| known.unheard_since).is_some_and(|since| now >= since + self.user_timeout) {
            return Err(ErrorKind::TimedOut.into());
        }
        let max = space.len().min(MOST_READ);
        match self.model.output(now, conn, max) {
            Output::Bytes(bytes) => {
                self.tell(|| format!("{conn} < {}", super::frame::show(&bytes)));
                space[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Output::Empty => Err(ErrorKind::WouldBlock.into()),
            Output::End => Ok(0),
            Output::Reset => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    fn poll_read(&mut self, conn: u64, space: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.spend() {
            return Poll::Pending;
        }
        if self.sockets.get(&conn).is_some_and(|known| known.readable || !self.weather.stale) {
            let read = self.read(conn, space);
            let blocked = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            let short = self.weather.stale && read.as_ref().is_ok_and(|&count| 0 < count && count < space.len());
            if let Some(known) = self.sockets.get_mut(&conn) {
                known.readable = !(blocked || short);
            }
            if !blocked {
                return Poll::Ready(read);
            }
        }
        self.budget += 1;
        if let Some(known) = self.sockets.get_mut(&conn) {
            known.reads = true;
        }
        Poll::Pending
    }

    fn poll_write(&mut self, conn: u64, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.spend() {
            return Poll::Pending;
        }
        let len = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if self.sockets.get(&conn).is_some_and(|known| known.writable || !self.weather.stale) {
            let short = self.rng.chance(self.weather.short_writes);
            let offered = if short { self.rng.between(1, len as u64) as usize } else { len };
            let mut bytes = Vec::with_capacity(offered);
            for piece in pieces {
                bytes.extend_from_slice(&piece[..piece.len().min(offered - bytes.len())]);
            }
            match self.model.receive(self.now, conn, &bytes) {
                Ok(0) => {}
                Ok(taken) => {
                    self.tell(|| format!("{conn} > {taken} of {len} bytes: {}", super::frame::show(&bytes[..taken])));
                    self.note_unheard(conn);
                    return Poll::Ready(Ok(taken));
                }
                Err(_) => {
                    self.tell(|| format!("{conn}: writing failed"));
                    return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
                }
            }
        }
        self.budget += 1;
        if let Some(known) = self.sockets.get_mut(&conn) {
            (known.writable, known.writes) = (false, true);
        }
        Poll::Pending
    }

    /// Bytes that no kernel acknowledges: from now on TCP_USER_TIMEOUT runs.
    fn note_unheard(&mut self, conn: u64) {
        let (now, model) = (self.now, &self.model);
        if let Some(known) = self.sockets.get_mut(&conn)
            && model.is_unheard(now, conn)
        {
            known.unheard_since.get_or_insert(now);
        }
    }

    fn close(&mut self, conn: u64) {
        if self.sockets.remove(&conn).is_some() {
            self.tell(|| format!("connection {conn} is closed"));
            self.model.disconnect(self.now, conn);
        }
    }
}

/// The ground, as the driver sees it.
#[derive(Clone)]
pub(super) struct ModelNetwork(pub(super) Rc<RefCell<Ground>>);

impl Network for ModelNetwork {
    type Socket = ModelSocket;

    fn resolve(&self, host: &str, _: u16) -> Later<Vec<SocketAddr>> {
        let mut ground = self.0.borrow_mut();
        let unresolved = ground.weather.unresolved;
        let found = if ground.fails(unresolved) { Err(io::Error::other("the model knows no such name")) } else { Ok(ground.addresses()) };
        ground.tell(|| format!("{host} is looked up: {found:?}"));
        let at = ground.when();
        self.at(at, move |_| found)
    }

    fn open(&self, address: SocketAddr) -> Later<ModelSocket> {
        let network = self.clone();
        let IpAddr::V4(ip) = address.ip() else { return Box::pin(std::future::pending()) };
        let refused = || Err(ErrorKind::ConnectionRefused.into());
        let at = self.0.borrow_mut().when();
        match ip.octets()[2] {
            way if way == Way::Server as u8 => self.at(at, move |ground| {
                let conn = ground.connect()?;
                Ok(ModelSocket { network, conn })
            }),
            way if way == Way::Refused as u8 => self.at(at, move |_| refused()),
            _ => Box::pin(std::future::pending()),
        }
    }
}

impl ModelNetwork {
    fn at<T: 'static>(&self, at: u64, then: impl FnOnce(&mut Ground) -> io::Result<T> + 'static) -> Later<T> {
        let (ground, mut then) = (Rc::clone(&self.0), Some(then));
        Box::pin(poll_fn(move |_| {
            let mut ground = ground.borrow_mut();
            match then.take_if(|_| ground.now >= at) {
                Some(then) => Poll::Ready(then(&mut ground)),
                None => Poll::Pending,
            }
        }))
    }
}

pub(super) struct ModelSocket {
    network: ModelNetwork,
    conn: u64,
}

impl Socket for ModelSocket {
    fn poll_read(&mut self, _: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        self.network.0.borrow_mut().poll_read(self.conn, space)
    }

    fn poll_read_fresh(&mut self, _: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut ground = self.network.0.borrow_mut();
        match ground.read(self.conn, space) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ground.poll_read(self.conn, space),
            read => Poll::Ready(read),
        }
    }

    fn poll_write(&mut self, _: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.network.0.borrow_mut().poll_write(self.conn, pieces)
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn abort(self) {}
}

impl Drop for ModelSocket {
    fn drop(&mut self) {
        self.network.0.borrow_mut().close(self.conn);
    }
}
