//! NATS: JetStream for persistent topics, core NATS for ephemeral ones. All of the protocol's words stay in here.

pub(crate) mod ack;
pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod codes;
pub(crate) mod connection;
pub(crate) mod fences;
pub(crate) mod frame;
pub(crate) mod json;
pub(crate) mod outbox;
pub(crate) mod pool;
mod reply;
pub(crate) mod tls;
pub(crate) mod version;

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;

use self::connection::{Connect, Connection, Info, Told};
use self::frame::Encoder;
use self::outbox::PIECES;
use crate::base::error::Error;
use crate::base::time::Nanos;
use crate::ledger::slot::Slot;
use crate::wire::{Loss, Notice, Peer, Placed, Question, Receiver, StreamAnswer, Verdict, Wire};

/// Which of the two connections that a moment may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that messages go to.
    Main,
    /// A server in lame duck mode: only its acks are awaited.
    Leaving,
}

/// What the runtime must know of the connections, and the handler need not.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Addresses that the server told of.
    pub(crate) servers: Vec<String>,
    /// The server is about to go.
    pub(crate) lame_duck: bool,
    /// The main connection ended; and whether it ever was ready.
    pub(crate) lost: Option<(Loss, bool)>,
    /// The leaving connection has nothing more to tell.
    pub(crate) left: bool,
}

/// The connections of one publisher, without their sockets.
pub(crate) struct NatsWire {
    encoder: Arc<Encoder>,
    api_prefix: String,
    ping_interval: Nanos,
    main: Option<Connection>,
    leaving: Option<Connection>,
    /// A connection that was leaving when the next one began to: nobody reads it any more.
    dropped: Option<Connection>,
    next_epoch: u32,
    /// The epoch by which the publisher is online.
    online: Option<u32>,
    /// The questions under way, with epoch and mark: each has a mark of its own.
    asked: HashMap<u32, (Question, (u32, u64))>,
    pub(crate) news: News,
}

impl NatsWire {
    pub(crate) fn new(encoder: Arc<Encoder>, domain: Option<&str>, ping_interval: Nanos) -> Self {
        NatsWire {
            encoder,
            api_prefix: api::api_prefix(domain),
            ping_interval,
            main: None,
            leaving: None,
            dropped: None,
            next_epoch: 1,
            online: None,
            asked: HashMap::new(),
            news: News::default(),
        }
    }

    /// A new connection, whose INFO was read. An older one that still stands leaves: its acks are read until they are in.
    pub(crate) fn attach(&mut self, server: String, info: Info, connect: &Connect<'_>, now: Nanos) -> Result<(), Error> {
        let connection = Connection::new(self.next_epoch, server, info, connect, self.encoder.inbox(), self.ping_interval, now)?;
        self.next_epoch += 1;
        if let Some(mut old) = self.main.replace(connection)
            && !old.has_ended()
        {
            old.leave();
            self.dropped = self.leaving.replace(old);
        }
        Ok(())
    }

    pub(crate) fn side(&self, side: Side) -> Option<&Connection> {
        match side {
            Side::Main => self.main.as_ref(),
            Side::Leaving => self.leaving.as_ref(),
        }
    }

    fn side_mut(&mut self, side: Side) -> Option<&mut Connection> {
        match side {
            Side::Main => self.main.as_mut(),
            Side::Leaving => self.leaving.as_mut(),
        }
    }

    pub(crate) fn epoch(&self, side: Side) -> Option<u32> {
        self.side(side).map(|connection| connection.epoch)
    }

    /// What to write next.
    pub(crate) fn pieces<'a>(&'a self, side: Side, into: &mut [IoSlice<'a>; PIECES]) -> usize {
        self.side(side).map_or(0, |connection| connection.pieces(into))
    }

    pub(crate) fn unsent(&self, side: Side) -> usize {
        self.side(side).map_or(0, Connection::unsent)
    }

    /// The carrier below accepted this many bytes.
    pub(crate) fn wrote(&mut self, side: Side, count: usize, now: Nanos, receiver: &mut impl Receiver) {
        if let Some(connection) = self.side_mut(side) {
            let epoch = connection.epoch;
            connection.wrote(count, now, |end| receiver.begun(end.slot, end.id, epoch));
        }
    }

    /// Where the next bytes go.
    pub(crate) fn read_space(&mut self, side: Side) -> &mut [u8] {
        self.side_mut(side).map_or(&mut [], Connection::read_space)
    }

    /// That many bytes were put there.
    pub(crate) fn read(&mut self, side: Side, count: usize, now: Nanos, receiver: &mut impl Receiver) {
        let connection = match side {
            Side::Main => &mut self.main,
            Side::Leaving => &mut self.leaving,
        };
        let Some(connection) = connection else { return };
        let was_ready = !connection.in_handshake();
        let (epoch, server) = (connection.epoch, Arc::clone(&connection.server));
        let (asked, news, online) = (&mut self.asked, &mut self.news, &mut self.online);
        let result = connection.read(count, now, |told| match told {
            Told::Verdict(token, verdict) => {
                if matches!(verdict, Verdict::Alien) {
                    tracing::debug!(target: "ackbus::wire", slot = token.slot, "a reply that is no acknowledgement");
                }
                receiver.verdict(token, verdict);
            }
            Told::Fenced { mark } => receiver.fenced(epoch, mark),
            Told::Denied { mark, denials } => match asked.iter().find(|(_, (_, place))| *place == (epoch, mark)).map(|(&ask, _)| ask) {
                Some(ask) => {
                    asked.remove(&ask);
                    receiver.answer(ask, StreamAnswer::Denied);
                }
                None => receiver.denied(epoch, mark, denials),
            },
            Told::Answer { ask, body } => {
                if let Some((question, _)) = asked.remove(&ask) {
                    let answer = match body {
                        Some(body) => api::answer(&question, body),
                        None => api::nobody_answers(),
                    };
                    receiver.answer(ask, answer);
                }
            }
            Told::PermissionError { subject, text } => receiver.notice(Notice::Denied { topic: subject.to_owned(), text: text.to_owned() }),
            Told::Limits(limits) => receiver.limits(limits),
            Told::AlienReply => receiver.notice(Notice::AlienReply),
            Told::Servers(servers) => news.servers.extend_from_slice(servers),
            Told::LameDuck => {
                news.lame_duck = true;
                receiver.notice(Notice::LameDuck { server: server.to_string() });
            }
            Told::Ready { version, domain, limits } => {
                *online = Some(epoch);
                receiver.connected(epoch);
                receiver.online(Peer { name: &server, software: "nats-server", version, domain, limits });
            }
        });
        if let Err(loss) = result {
            self.end(side, loss, was_ready, receiver);
        }
    }

    /// The bytes of a side ended.
    pub(crate) fn cut(&mut self, side: Side, what: &str, receiver: &mut impl Receiver) {
        if let Some(connection) = self.side_mut(side)
            && !connection.has_ended()
        {
            let was_ready = !connection.in_handshake();
            let loss = connection.cut(what);
            self.end(side, loss, was_ready, receiver);
        }
    }

    /// The same, for a reason that is told as it is.
    pub(crate) fn cut_for(&mut self, side: Side, error: Error, receiver: &mut impl Receiver) {
        if let Some(connection) = self.side_mut(side)
            && !connection.has_ended()
        {
            let was_ready = !connection.in_handshake();
            let loss = connection.cut_for(error);
            self.end(side, loss, was_ready, receiver);
        }
    }

    fn end(&mut self, side: Side, loss: Loss, was_ready: bool, receiver: &mut impl Receiver) {
        let Some(epoch) = self.epoch(side) else { return };
        if was_ready {
            self.tell_lost(epoch, &loss, receiver);
        }
        match side {
            Side::Main => {
                self.main = None;
                self.asked.clear();
                self.news.lost = Some((loss, was_ready));
            }
            Side::Leaving => {
                self.leaving = None;
                self.news.left = true;
            }
        }
    }

    /// Another connection may be the newer one: then the publisher stays online.
    fn tell_lost(&mut self, epoch: u32, loss: &Loss, receiver: &mut impl Receiver) {
        if self.online == Some(epoch) {
            self.online = None;
            receiver.offline(&loss.error);
        }
        receiver.lost(epoch, loss);
    }

    /// The leaving connection has answered everything, or had its time.
    pub(crate) fn finish_leaving(&mut self, receiver: &mut impl Receiver) {
        self.cut(Side::Leaving, "the server was left for another one", receiver);
    }
}

impl Wire for NatsWire {
    const WATCHES_SILENCE: bool = false;

    #[inline]
    fn place(&mut self, _slot: &mut Slot) -> Placed {
        Placed::Here
    }

    fn is_ready(&self) -> bool {
        // While an older connection is read to its end nothing is sent on the new one: the server might store it before what is under way there (P10).
        self.leaving.is_none() && self.main.as_ref().is_some_and(Connection::is_ready)
    }

    fn has_room(&self) -> bool {
        self.main.as_ref().is_some_and(Connection::has_room)
    }

    fn stage(&mut self, slot: &mut Slot) {
        if let Some(connection) = &mut self.main {
            connection.stage(&self.encoder, slot);
        }
    }

    fn fence(&mut self) {
        if let Some(connection) = &mut self.main {
            connection.want_fence();
        }
    }

    fn part(&mut self) {
        if let Some(connection) = &mut self.main {
            connection.part();
        }
    }

    fn ask(&mut self, ask: u32, question: &Question) {
        let Some(connection) = self.main.as_mut().filter(|c| c.is_ready()) else { return };
        let Some((subject, body)) = api::request(&self.api_prefix, question) else { return };
        let mark = connection.ask(&subject, ask, &body);
        self.asked.insert(ask, (question.clone(), (connection.epoch, mark)));
    }

    fn give_up(&mut self, epoch: u32, why: &str, receiver: &mut impl Receiver) {
        for side in [Side::Main, Side::Leaving] {
            if self.epoch(side) == Some(epoch) {
                self.cut(side, why, receiver);
            }
        }
    }

    fn tick(&mut self, now: Nanos, in_flight: bool, receiver: &mut impl Receiver) -> Nanos {
        let mut next = Nanos::MAX;
        if let Some(mut connection) = self.dropped.take() {
            let loss = connection.cut("another server was left before this one had answered");
            self.tell_lost(connection.epoch, &loss, receiver);
        }
        for side in [Side::Main, Side::Leaving] {
            let Some(connection) = self.side_mut(side) else { continue };
            let was_ready = !connection.in_handshake();
            match connection.tick(now, in_flight) {
                Ok(at) => next = next.min(at),
                Err(loss) => self.end(side, loss, was_ready, receiver),
            }
        }
        next
    }
}
