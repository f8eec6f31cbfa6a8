//! What the runtime's driver does with sockets, done with the model's connections: dial, read, write, give up.

use std::io::IoSlice;

use super::link::Output;
use super::script::MS;
use super::world::World;
use crate::wire::nats::Side;
use crate::wire::nats::auth::ConnectAuth;
use crate::wire::nats::connection::{Connect, Connection, Info};
use crate::wire::nats::outbox::PIECES;

/// After a failed write: how long the other direction may still talk (X5).
const LAST_WORDS: u64 = 1_000 * MS;

/// A connection that stands.
pub(super) struct Line {
    conn: u64,
    /// Writing failed: only reading goes on.
    deaf_since: Option<u64>,
    greeted_by: u64,
    /// Bytes went out at this time and arrive nowhere.
    unheard_since: Option<u64>,
}

/// A connection whose INFO is awaited.
struct Dialing {
    conn: u64,
    heard: Vec<u8>,
    until: u64,
}

/// The connections of the publisher.
#[derive(Default)]
pub(super) struct Network {
    main: Option<Line>,
    leaving: Option<(Line, u64)>,
    dialing: Option<Dialing>,
    last_conn: u64,
    retry_at: u64,
    failures: u64,
}

impl Network {
    fn line(&mut self, side: Side) -> Option<&mut Line> {
        match side {
            Side::Main => self.main.as_mut(),
            Side::Leaving => self.leaving.as_mut().map(|(line, _)| line),
        }
    }
}

impl World {
    fn dial(&mut self) {
        self.network.last_conn += 1;
        let (conn, until) = (self.network.last_conn, self.now + self.plan.connect_timeout);
        if self.model.connect(self.now, conn).is_ok() {
            self.tell(|| format!("connection {conn} is dialled"));
            self.network.dialing = Some(Dialing { conn, heard: Vec::new(), until });
        } else {
            self.dial_failed("refused");
        }
    }

    fn dial_failed(&mut self, why: &str) {
        self.tell(|| format!("connecting failed: {why}"));
        self.network.failures += 1;
        self.network.retry_at = self.now + self.rng.between(MS, 100 * MS);
    }

    /// Reads INFO; then the connection is the wire's.
    pub(super) fn finish_dialing(&mut self) -> Result<bool, String> {
        let Some(mut dialing) = self.network.dialing.take() else { return Ok(false) };
        loop {
            // Not a byte behind INFO is lost: a server says nothing before it has read CONNECT.
            match self.model.output(self.now, dialing.conn, 4096) {
                Output::Bytes(bytes) => dialing.heard.extend(bytes),
                Output::Empty if self.now < dialing.until => {
                    if let Some(end) = dialing.heard.windows(2).position(|pair| pair == b"\r\n") {
                        // A server that has something else to say has an error to tell.
                        match Info::parse(&dialing.heard[..end]) {
                            Ok(info) => self.attach(&dialing, end + 2, info)?,
                            Err(error) => {
                                self.model.disconnect(self.now, dialing.conn);
                                self.dial_failed(error.message());
                            }
                        }
                        return Ok(true);
                    }
                    self.network.dialing = Some(dialing);
                    return Ok(false);
                }
                _ => {
                    self.model.disconnect(self.now, dialing.conn);
                    self.dial_failed("no INFO");
                    return Ok(true);
                }
            }
        }
    }

    fn attach(&mut self, dialing: &Dialing, used: usize, info: Info) -> Result<(), String> {
        let conn = dialing.conn;
        let connect = Connect::new("simulation", ConnectAuth::default(), false);
        self.tell(|| format!("connection {conn} is attached, max_payload {}", info.max_payload));
        self.wire.attach(format!("nats://model:{conn}"), info, &connect, self.now).map_err(|error| error.to_string())?;
        let line = Line { conn, deaf_since: None, greeted_by: dialing.until, unheard_since: None };
        if let Some(old) = self.network.main.replace(line) {
            let until = self.now + self.plan.ack_wait;
            if let Some((older, _)) = self.network.leaving.replace((old, until)) {
                self.model.disconnect(self.now, older.conn);
            }
        }
        // What came with INFO in one piece.
        let rest = dialing.heard[used..].to_vec();
        self.give(Side::Main, &rest);
        Ok(())
    }

    fn give(&mut self, side: Side, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.wire.read_space(side);
            let len = space.len().min(bytes.len());
            if len == 0 {
                return;
            }
            space[..len].copy_from_slice(&bytes[..len]);
            self.wire.read(side, len, self.now, &mut self.handler);
            bytes = &bytes[len..];
        }
    }

    /// Reads everything that is there: no deadline is judged before.
    pub(super) fn read_all(&mut self) -> bool {
        let mut any = false;
        for side in [Side::Leaving, Side::Main] {
            loop {
                if self.wire.side(side).is_none() {
                    break;
                }
                let Some(line) = self.network.line(side) else { break };
                let conn = line.conn;
                match self.model.output(self.now, conn, 64 * 1024) {
                    Output::Bytes(bytes) => {
                        any = true;
                        self.tell(|| format!("{conn} < {}", super::frame::show(&bytes)));
                        self.give(side, &bytes);
                    }
                    Output::Empty => break,
                    end => {
                        any = true;
                        self.tell(|| format!("{conn} < {end:?}"));
                        self.cut(side, "the server closed the connection");
                        break;
                    }
                }
            }
        }
        any
    }

    fn cut(&mut self, side: Side, what: &str) {
        self.tell(|| format!("{side:?} is cut: {what}"));
        self.wire.cut(side, what, &mut self.handler);
    }

    /// Writes what is staged, as far as the network takes it.
    pub(super) fn write_all(&mut self) -> bool {
        let mut any = false;
        for side in [Side::Leaving, Side::Main] {
            while self.wire.unsent(side) > 0 {
                let Some(line) = self.network.line(side).filter(|line| line.deaf_since.is_none()) else { break };
                let conn = line.conn;
                let mut bytes = Vec::new();
                {
                    let mut pieces = [IoSlice::new(&[]); PIECES];
                    let count = self.wire.pieces(side, &mut pieces);
                    pieces[..count].iter().for_each(|piece| bytes.extend_from_slice(piece));
                }
                // Half of the writes are cut anywhere by the driver itself.
                let offered = if self.rng.chance(500) { self.rng.between(1, bytes.len() as u64) as usize } else { bytes.len() };
                match self.model.receive(self.now, conn, &bytes[..offered]) {
                    Ok(0) => break,
                    Ok(taken) => {
                        any = true;
                        self.tell(|| format!("{conn} > {taken} of {} bytes: {}", bytes.len(), super::frame::show(&bytes[..taken])));
                        self.wire.wrote(side, taken, self.now, &mut self.handler);
                        self.note_unheard(side);
                    }
                    Err(_) => {
                        self.tell(|| format!("{conn}: writing failed"));
                        if let Some(line) = self.network.line(side) {
                            line.deaf_since = Some(self.now);
                        }
                        any = true;
                    }
                }
            }
        }
        any
    }

    /// Bytes that no kernel acknowledges: from now on TCP_USER_TIMEOUT runs.
    fn note_unheard(&mut self, side: Side) {
        let (now, model) = (self.now, &self.model);
        let Some(line) = self.network.line(side) else { return };
        let deaf = model.sessions.get(&line.conn).is_some_and(|session| session.link.plan.deaf_after.is_some_and(|after| now >= session.link.opened + after));
        if deaf {
            line.unheard_since.get_or_insert(now);
        }
    }

    /// Reacts to what the wire told of its connections.
    pub(super) fn hear_news(&mut self) {
        let news = std::mem::take(&mut self.wire.news);
        if news.left
            && let Some((line, _)) = self.network.leaving.take()
        {
            self.tell(|| format!("connection {} was left", line.conn));
            self.model.disconnect(self.now, line.conn);
        }
        if let Some((loss, was_ready)) = news.lost
            && let Some(line) = self.network.main.take()
        {
            self.tell(|| format!("connection {} is lost: {}, violation {:?}", line.conn, loss.error.message(), loss.violation));
            self.model.disconnect(self.now, line.conn);
            // The first try comes at once.
            self.network.retry_at = if was_ready && self.rng.chance(700) { self.now } else { self.now + self.rng.between(MS, 100 * MS) };
        } else if news.lame_duck && self.network.main.is_some() && self.network.dialing.is_none() {
            self.dial();
        }
    }

    /// Times of single connections. Gives the next of them.
    pub(super) fn tend_lines(&mut self) -> u64 {
        let (now, mut next) = (self.now, u64::MAX);
        let user_timeout = 3 * self.plan.ping_interval;
        for side in [Side::Main, Side::Leaving] {
            let greeting = self.wire.side(side).is_some_and(Connection::in_handshake);
            let Some(line) = self.network.line(side) else { continue };
            let ends = [
                line.deaf_since.map(|since| (since + LAST_WORDS, "writing failed")),
                line.unheard_since.map(|since| (since + user_timeout, "timed out (TCP_USER_TIMEOUT)")),
                greeting.then_some((line.greeted_by, "no handshake in time")),
            ];
            let Some((at, what)) = ends.into_iter().flatten().min() else { continue };
            if now >= at {
                self.cut(side, what);
                next = now;
            } else {
                next = next.min(at);
            }
        }
        if let Some((_, until)) = &self.network.leaving {
            let until = *until;
            let epoch = self.wire.epoch(Side::Leaving);
            let waits = epoch.is_some_and(|epoch| self.handler.awaits(epoch));
            let replaced = self.wire.side(Side::Main).is_some_and(Connection::is_ready);
            if (replaced && !waits) || now >= until {
                self.wire.finish_leaving(&mut self.handler);
                next = now;
            } else {
                next = next.min(until).min(now + 20 * MS);
            }
        }
        if let Some(dialing) = &self.network.dialing {
            next = next.min(dialing.until);
        }
        // News that these steps made are heard in the next round.
        let news = &self.wire.news;
        if news.left || news.lost.is_some() { now } else { next }
    }

    pub(super) fn seek_server(&mut self) -> u64 {
        let network = &self.network;
        if network.main.is_some() || network.dialing.is_some() || self.wire.news.lost.is_some() {
            return u64::MAX;
        }
        if self.now < network.retry_at {
            return network.retry_at;
        }
        self.dial();
        self.now
    }

    /// The publisher is closed: what is staged goes out, and the connections end.
    pub(super) fn hang_up(&mut self) {
        self.write_all();
        let (main, leaving, dialing) = (self.network.main.take(), self.network.leaving.take(), self.network.dialing.take());
        let lines = [main, leaving.map(|(line, _)| line)].into_iter().flatten().map(|line| line.conn);
        for conn in lines.chain(dialing.map(|dialing| dialing.conn)) {
            self.model.disconnect(self.now, conn);
        }
    }
}
