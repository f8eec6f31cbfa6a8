//! Drive: moves bytes between sockets and the NATS wire, and turns the handler whenever there is something to do. Which network that is, the real one or the
//! simulation's, it does not know.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::base::error::{Error, Result, Status};
use crate::base::level::Level;
use crate::base::time::{Nanos, nanos};
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::config::servers::Servers;
use crate::handler::Handler;
use crate::runtime::ages::Ages;
use crate::runtime::dial::{Dialer, Dialing, Greeted};
use crate::runtime::network::{Network, Socket};
use crate::runtime::rounds::{Drive, Round, rounds};
use crate::runtime::stream::Stream;
use crate::wire::nats::connection::{Connect, Connection, Info};
use crate::wire::nats::frame::Encoder;
use crate::wire::nats::outbox::PIECES;
use crate::wire::nats::pool::{Next, Pool, Target};
use crate::wire::nats::version::is_at_least;
use crate::wire::nats::{NatsWire, Side};
use crate::wire::{Notice, Receiver};

/// Reads in a row before something is written.
const READS: usize = 8;
/// The same before something is judged: more than a kernel holds.
const READS_BEFORE_JUDGING: usize = 1 << 16;
/// After a failed write: how long the other direction may still talk (X5).
const LAST_WORDS: Nanos = 1_000_000_000;

/// One connection and what is known of it.
struct Link<S: Socket> {
    stream: Stream<S>,
    target: Target,
    nonce: Option<String>,
    /// Writing failed at this time: only reading goes on.
    deaf_since: Option<(Nanos, String)>,
    needs_flush: bool,
    /// The handshake must be done by then.
    greeted_by: Nanos,
}

/// The NATS backend's thread.
pub(crate) struct NatsDriver<N: Network> {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    pub(crate) handler: Handler,
    pub(crate) wire: NatsWire,
    network: N,
    dialer: Arc<Dialer>,
    pool: Pool,
    ages: Ages,
    main: Option<Link<N::Socket>>,
    leaving: Option<(Link<N::Socket>, Nanos)>,
    dialing: Option<Dialing<N>>,
    announced: bool,
    /// Something is judged at this time, if not before.
    due: Nanos,
}

impl<N: Network> NatsDriver<N> {
    pub(crate) fn new(shared: &Arc<Shared>, lane: &Arc<Lane>, encoder: Arc<Encoder>, network: N, dialer: Arc<Dialer>, random: u64) -> Self {
        let settings = &shared.settings;
        let servers = match &settings.servers {
            Servers::Nats(servers) => servers.as_slice(),
            Servers::Memory => &[],
        };
        let wire = NatsWire::new(encoder, settings.jetstream_domain.as_deref(), nanos(settings.ping_interval));
        NatsDriver {
            handler: Handler::new(Arc::clone(shared), Arc::clone(lane), random),
            wire,
            network,
            dialer,
            pool: Pool::new(servers, settings, lane.index, random.rotate_left(17)),
            ages: Ages::new(&shared.clock),
            main: None,
            leaving: None,
            dialing: None,
            announced: false,
            due: 0,
            shared: Arc::clone(shared),
            lane: Arc::clone(lane),
        }
    }

    fn link(&mut self, side: Side) -> Option<&mut Link<N::Socket>> {
        match side {
            Side::Main => self.main.as_mut(),
            Side::Leaving => self.leaving.as_mut().map(|(link, _)| link),
        }
    }

    /// One round: reads, lets the handler decide, writes.
    pub(crate) fn round(&mut self, cx: &mut Context<'_>) -> Round {
        self.ages.tell(&self.shared, &self.lane, &mut self.handler);
        // First what ended: a connection that is made below must not be taken for the one that was lost.
        self.hear_news();
        let mut busy = self.finish_dialing(cx);
        // What waits in the sockets may hold the answer: a client that stood still finds both.
        let judges = self.handler.now() >= self.due || self.handler.is_due();
        for side in [Side::Leaving, Side::Main] {
            busy |= self.read(cx, side, judges);
        }
        let mut next = self.handler.turn(&mut self.wire);
        self.hear_news();
        for side in [Side::Leaving, Side::Main] {
            busy |= self.write(cx, side);
        }
        next = next.min(self.tend_links());
        match self.seek_server() {
            Ok(at) => next = next.min(at),
            Err(error) => return Round::Done(Err(error)),
        }
        if let Some(error) = self.handler.take_failure() {
            return Round::Done(Err(error));
        }
        if self.handler.may_end() {
            return self.say_goodbye(cx);
        }
        self.due = next;
        if busy || next <= self.handler.now() { Round::Busy } else { Round::Idle(next) }
    }

    /// Reads what is there; all of it, if something is judged in this round.
    fn read(&mut self, cx: &mut Context<'_>, side: Side, judges: bool) -> bool {
        let mut any = false;
        let reads = if judges { READS_BEFORE_JUDGING } else { READS };
        for _ in 0..reads {
            let now = self.handler.now();
            let link = match side {
                Side::Main => self.main.as_mut(),
                Side::Leaving => self.leaving.as_mut().map(|(link, _)| link),
            };
            let Some(link) = link else { return any };
            let space = self.wire.read_space(side);
            if space.is_empty() {
                return any;
            }
            match link.stream.poll_read(cx, space, judges) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => {
                    let what = link.deaf_since.take().map_or_else(|| "the server closed the connection".to_owned(), |(_, error)| error);
                    self.wire.cut(side, &what, &mut self.handler);
                    return true;
                }
                Poll::Ready(Ok(count)) => {
                    any = true;
                    self.wire.read(side, count, now, &mut self.handler);
                }
                Poll::Ready(Err(error)) => {
                    // TLS 1.3: the server's verdict on our certificate comes with the first read, after the handshake.
                    let refused = link.stream.is_tls() && self.wire.side(side).is_some_and(Connection::in_handshake);
                    if refused {
                        let error = self.dialer.handshake_error(&link.target, &error);
                        self.wire.cut_for(side, error, &mut self.handler);
                    } else {
                        self.wire.cut(side, &format!("the connection was lost: {error}"), &mut self.handler);
                    }
                    return true;
                }
            }
        }
        any
    }

    /// Writes what is staged.
    fn write(&mut self, cx: &mut Context<'_>, side: Side) -> bool {
        let mut any = false;
        let now = self.handler.now();
        let link = match side {
            Side::Main => self.main.as_mut(),
            Side::Leaving => self.leaving.as_mut().map(|(link, _)| link),
        };
        let Some(link) = link else { return false };
        if link.deaf_since.is_some() {
            return false;
        }
        while self.wire.unsent(side) > 0 {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.wire.pieces(side, &mut pieces);
            let written = link.stream.poll_write(cx, pieces.get(..count).unwrap_or_default());
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => {
                    link.deaf_since = Some((now, "the connection takes no more bytes".to_owned()));
                    return true;
                }
                Poll::Ready(Ok(count)) => {
                    any = true;
                    link.needs_flush = true;
                    self.wire.wrote(side, count, now, &mut self.handler);
                    self.lane.counters.bytes_out.bump(count as u64);
                }
                Poll::Ready(Err(error)) => {
                    // X5: what the server said before it hung up is still there to be read.
                    link.deaf_since = Some((now, format!("writing failed: {error}")));
                    return true;
                }
            }
        }
        if link.needs_flush {
            match link.stream.poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => link.needs_flush = false,
                Poll::Ready(Err(error)) => {
                    link.deaf_since = Some((now, format!("writing failed: {error}")));
                    return true;
                }
            }
        }
        any
    }

    /// Reacts to what the wire told of its connections.
    fn hear_news(&mut self) {
        let now = self.handler.now();
        let news = std::mem::take(&mut self.wire.news);
        if let Some(link) = &self.main {
            if !self.announced && self.wire.side(Side::Main).is_some_and(Connection::is_ready) {
                self.announced = true;
                self.pool.connected(now, &link.target.server);
            }
            let new = self.pool.discovered(&news.servers, &link.target.server);
            if !new.is_empty() {
                let names: Vec<String> = new.iter().map(ToString::to_string).collect();
                self.handler.notice(Notice::Discovered { servers: names.join(", ") });
            }
        }
        if news.left
            && let Some((link, _)) = self.leaving.take()
        {
            link.stream.abort();
        }
        if let Some((loss, was_ready)) = news.lost
            && let Some(link) = self.main.take()
        {
            let server = link.target.server.clone();
            let error = if loss.error.status() == Status::AuthFailed && !was_ready {
                self.dialer.refusal(&server, link.nonce.as_deref(), loss.error.message())
            } else {
                loss.error
            };
            link.stream.abort();
            self.announced = false;
            if was_ready {
                self.pool.lost(now);
            } else {
                self.attempt_failed(&server, error);
            }
        } else if news.lame_duck
            && let Some(link) = &self.main
            && self.dialing.is_none()
            && let Some(target) = self.pool.other_than(&link.target.server)
        {
            self.start_dialing(target);
        }
    }

    fn attempt_failed(&mut self, server: &crate::config::servers::ServerUrl, error: Error) {
        self.handler.attempt_failed(&server.to_string(), &error);
        self.pool.failed(self.handler.now(), server, error);
    }

    /// Times of single links: handshakes, last words, lame ducks.
    fn tend_links(&mut self) -> Nanos {
        let now = self.handler.now();
        let mut next = self.dialing.as_ref().map_or(Nanos::MAX, Dialing::next);
        for side in [Side::Main, Side::Leaving] {
            let Some(link) = self.link(side) else { continue };
            let mut cut = None;
            if let Some((since, what)) = &link.deaf_since {
                next = next.min(since + LAST_WORDS);
                if now >= since + LAST_WORDS {
                    cut = Some(what.clone());
                }
            }
            let greeted_by = link.greeted_by;
            if self.wire.side(side).is_some_and(|c| c.in_handshake()) {
                next = next.min(greeted_by);
                if now >= greeted_by {
                    cut = Some("the server did not accept the connection in time (connect_timeout_ms)".to_owned());
                }
            }
            if let Some(what) = cut {
                self.wire.cut(side, &what, &mut self.handler);
                next = now;
            }
        }
        if let Some((_, until)) = &self.leaving {
            let until = *until;
            let epoch = self.wire.epoch(Side::Leaving);
            let waits = epoch.is_some_and(|epoch| self.handler.awaits(epoch));
            // Not before the new connection stands: the old one's end would be told as a loss.
            let replaced = self.wire.side(Side::Main).is_some_and(Connection::is_ready);
            if (replaced && !waits) || now >= until {
                self.wire.finish_leaving(&mut self.handler);
                next = now;
            } else {
                next = next.min(until).min(now + 20_000_000);
            }
        }
        next
    }

    /// Looks for a server while there is none.
    fn seek_server(&mut self) -> Result<Nanos, Error> {
        if self.main.is_some() || self.dialing.is_some() || self.wire.news.lost.is_some() {
            return Ok(Nanos::MAX);
        }
        let now = self.handler.now();
        match self.pool.next(now) {
            Next::Connect(target) => {
                self.start_dialing(target);
                Ok(now)
            }
            Next::Wait(until) => Ok(until),
            Next::Exhausted(error) => Err(error),
        }
    }

    fn start_dialing(&mut self, target: Target) {
        self.dialing = Some(Dialing::new(&self.dialer, &self.network, target, self.handler.now()));
    }

    fn finish_dialing(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.handler.now();
        let Some(dialing) = &mut self.dialing else { return false };
        let Poll::Ready(result) = dialing.poll(cx, &self.network, now) else { return false };
        let server = dialing.server().clone();
        self.dialing = None;
        match result.and_then(|greeted| self.attach(greeted)) {
            Ok(()) => {}
            Err(error) => self.attempt_failed(&server, error),
        }
        true
    }

    fn attach(&mut self, greeted: Greeted<N>) -> Result<()> {
        let (now, settings) = (self.handler.now(), &self.shared.settings);
        let Greeted { target, stream, mut info, auth, over_tls } = greeted;
        if over_tls && !settings.tls.first && is_at_least(&info.version, 2, 12) {
            // Anybody could write into the plain INFO; the next one comes through TLS. Older servers send none until their cluster changes: then the plain one
            // is better than none, and what keeps a false server from the credentials is the same as ever (`Pool::discovered`).
            info.connect_urls.clear();
        }
        if let Some(what) = auth.exposed()
            && !stream.is_private()
            && self.dialer.may_warn()
        {
            self.shared.log(Level::Warn, || format!("{}: {what} goes over the network in plain text; set tls_required, or write tls://", target.server));
        }
        let nonce = info.nonce.clone();
        let connect = Connect::new(&settings.name, auth, over_tls);
        require_headers(&info, &target)?;
        let (connect_timeout, ack_wait) = (nanos(settings.connect_timeout), nanos(settings.ack_wait));
        self.wire.attach(target.server.to_string(), info, &connect, now)?;
        let link = Link { stream, target, nonce, deaf_since: None, needs_flush: false, greeted_by: now + connect_timeout };
        self.announced = false;
        if let Some(old) = self.main.replace(link) {
            self.leaving = Some((old, now + ack_wait));
        }
        Ok(())
    }

    /// Everything is settled: what is staged (a last PONG, ephemeral messages) goes out, then the connection closes in order.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) -> Round {
        self.write(cx, Side::Main);
        if let Some(mut link) = self.main.take() {
            let _ = link.stream.poll_shutdown(cx);
        }
        (self.leaving, self.dialing) = (None, None);
        Round::Done(Ok(()))
    }
}

/// Without headers there is no Msg-Id, and without a Msg-Id no second attempt.
fn require_headers(info: &Info, target: &Target) -> Result<()> {
    if info.headers {
        return Ok(());
    }
    Err(Error::new(
        Status::ConnectFailed,
        format!("{}: the server (version {:?}) has no message headers; ackbus needs nats-server 2.10 or newer", target.server, info.version),
    ))
}

impl<N: Network> Drive for NatsDriver<N> {
    async fn run(&mut self) -> Result<()> {
        let (shared, lane) = (Arc::clone(&self.shared), Arc::clone(&self.lane));
        rounds(&shared.clock, &lane, |cx| self.round(cx)).await
    }

    fn into_handler(self) -> Handler {
        self.handler
    }
}
