//! A hostile server against the whole handler: its bytes are the input, its clock is virtual, and every accepted message must get exactly one report by its
//! deadline (P1) in bounded memory (P9), whatever it says.
//!
//! The input begins with four bytes of settings. What follows is what the server sends, with commands in it, so that it can say what makes sense, too:
//!
//! | `^` and | does |
//! |---|---|
//! | `p` n | publishes a message; n chooses topic and size |
//! | `r` n, `q` n | the reply subject of the n-th last message or question, as part of what is sent |
//! | `a` n | acknowledges the n-th last message |
//! | `o` | answers all PINGs |
//! | `s` | sends what was said so far, in one read |
//! | `t` n | time passes: 2^n ms |
//! | `w` n | the network takes n bytes and no more, until told otherwise; 255: all |
//! | `b` c n | c, n thousand times |
//! | `i` … LF | the INFO of the next connections |
//! | `e` | the connection ends |
//! | `f`, `u`, `c` | flush, purge, close |
//! | `^` | itself |

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::input::Input;
use super::presentable::is_presentable;
use super::server_wire::{Heard, TOPICS};
use super::wire;
use crate::base::error::{Error, Persistence, Status};
use crate::base::time::{Clock, VirtualTime};
use crate::bus::lane::{Command, FlushTicket};
use crate::bus::shared::Shared;
use crate::bus::standing::Purge;
use crate::config::Config;
use crate::desk::sink::Handlers;
use crate::desk::tickets::Reports;
use crate::handler::Handler;
use crate::message::Message;
use crate::window::places::Patience;
use crate::wire::nats::connection::{Connection, Info};
use crate::wire::nats::outbox::PIECES;
use crate::wire::nats::{NatsWire, Side};

const MS: u64 = 1_000_000;
const PING_INTERVAL: u64 = 300 * MS;
/// A connection whose handshake takes longer is given up.
const GREETING: u64 = 700 * MS;
/// Each connection costs its read buffer; a server that hangs up at once should not cost a thousand of them.
const REDIAL: u64 = 100 * MS;
/// Deadlines are swept at most this often.
const SWEEP: u64 = 5 * MS;
const MOST_MESSAGES: usize = 64;
/// Rounds at one moment: more would be a handler that spins.
const MOST_ROUNDS: usize = 1_000;
/// What the read buffer may grow to: a line, a body, and as much again.
const MOST_BUFFER: usize = 4 << 20;
const INFO: &[u8] = br#"INFO {"server_id":"S","version":"2.12.0","headers":true,"max_payload":4096}"#;

struct Accepted {
    id: u64,
    deadline: u64,
    reports: u32,
}

struct World {
    now: u64,
    clock: Arc<VirtualTime>,
    shared: Arc<Shared>,
    handler: Handler,
    wire: NatsWire,
    heard: Heard,
    said: Vec<u8>,
    info: Vec<u8>,
    /// Answers the handshake by itself.
    polite: bool,
    /// How many bytes the network takes.
    width: usize,
    connected: bool,
    dial_at: u64,
    greeted_by: u64,
    accepted: Vec<Accepted>,
    ephemeral: u64,
    published: u64,
    timeout: u64,
    ended: bool,
}

/// The target.
pub fn server(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    world.rounds();
    while !input.is_empty() && !world.ended {
        world.act(&mut input);
    }
    world.deliver();
    world.outlive();
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let bits = input.byte();
        let bit = |n: u8| bits & (1 << n) != 0;
        let timeout = input.pick(&[300, 1_000, 3_000]);
        let mut config = Config::new();
        let max_pending = input.pick(&[1, 3, 64]).to_string();
        let attempts = input.pick(&[0, 0, 1, 2]).to_string();
        for (key, value) in [
            ("ack_wait_ms", "100"),
            ("delivery_timeout_ms", &*timeout.to_string()),
            ("max_pending", &max_pending),
            ("max_attempts", &attempts),
            ("retry_backoff_ms", "10"),
            ("retry_backoff_max_ms", "100"),
            ("report", "all"),
            ("msg_id", if bit(1) { "none" } else { "auto" }),
            ("resend_without_msg_id", if bit(2) { "true" } else { "false" }),
            ("on_no_stream", if bit(3) { "wait" } else { "fail" }),
            ("retry_stream_full", if bit(4) { "true" } else { "false" }),
            ("event_queue", "16"),
            ("log_level", "off"),
        ] {
            config.set(key, value).expect("an option");
        }
        for (pattern, key, value) in
            [("news.>", "mode", "ephemeral"), ("named.>", "stream", "NAMED"), ("made.>", "stream", "MADE"), ("made.>", "create", "if_missing")]
        {
            config.set_topic(pattern, key, value).expect("a rule");
        }
        if bit(5) {
            config.set_topic("free.>", "in_flight", "1").expect("a rule");
        }
        let clock = Arc::<VirtualTime>::default();
        let settings = config.settings().expect("settings");
        let virtual_clock = Clock::Virtual(Arc::clone(&clock));
        let shared = Shared::new(settings, config.rules().clone(), virtual_clock, &[7; 32], &Handlers::default()).expect("a publisher");
        let wire = NatsWire::new(shared.lanes.first().framing.nats().expect("NATS"), None, PING_INTERVAL);
        World {
            now: MS,
            handler: Handler::new(Arc::clone(&shared), Arc::clone(shared.lanes.first()), 1),
            wire,
            clock,
            shared,
            heard: Heard::default(),
            said: Vec::new(),
            info: INFO.to_vec(),
            polite: !bit(0),
            width: usize::MAX,
            connected: false,
            dial_at: 0,
            greeted_by: 0,
            accepted: Vec::new(),
            ephemeral: 0,
            published: 0,
            timeout: timeout * MS,
            ended: false,
        }
    }

    /// One byte of what is said, or one command.
    fn act(&mut self, input: &mut Input<'_>) {
        let byte = input.byte();
        if byte != b'^' {
            return self.said.push(byte);
        }
        match input.byte() {
            b'p' => self.publish(input.byte()),
            b'r' => self.name(input.byte(), false),
            b'q' => self.name(input.byte(), true),
            b'a' => self.acknowledge(input.byte()),
            b'o' => self.said.extend(b"PONG\r\n".repeat(std::mem::take(&mut self.heard.pings))),
            b's' => self.deliver(),
            b't' => {
                self.deliver();
                self.pass(self.now + (MS << (input.byte() % 13)));
            }
            b'w' => {
                let width = input.byte();
                self.width = if width == 255 { usize::MAX } else { usize::from(width) };
                self.rounds();
            }
            b'b' => {
                let (byte, thousands) = (input.byte(), usize::from(input.byte()));
                self.said.extend(std::iter::repeat_n(byte, thousands * 1000));
                self.deliver();
            }
            b'i' => {
                self.info = b"INFO ".to_vec();
                while !input.is_empty() {
                    match input.byte() {
                        b'\n' => break,
                        byte => self.info.push(byte),
                    }
                }
            }
            b'e' => {
                self.deliver();
                self.hang_up("the server closed the connection");
                self.rounds();
            }
            b'f' => self.shared.lanes.first().command(Command::Flush(FlushTicket::new(self.shared.lanes.first().queue.last_id()))),
            b'u' => {
                let what = Purge { unsent: true, in_flight: input.flag() };
                self.shared.lanes.first().command(Command::Purge { what, ticket: FlushTicket::new(0) });
                self.rounds();
            }
            b'c' => self.close(u64::from(input.byte()) * 10 * MS),
            other => self.said.push(other),
        }
    }

    fn publish(&mut self, choice: u8) {
        if self.published >= MOST_MESSAGES as u64 {
            return;
        }
        self.published += 1;
        let topic = TOPICS[usize::from(choice) % TOPICS.len()];
        let payload = vec![b'x'; [0, 10, 600, 3_900, 20_000][usize::from(choice / 16) % 5]];
        let accepted = self.shared.accept(&Message::new(topic, &payload), Patience::Fail, None);
        match accepted {
            Ok(_) if topic == TOPICS[0] => self.ephemeral += 1,
            Ok(id) => self.accepted.push(Accepted { id, deadline: self.now + self.timeout, reports: 0 }),
            Err(error) => assert!(matches!(error.status(), Status::QueueFull | Status::Closed | Status::TooLarge), "{error}"),
        }
        self.rounds();
    }

    fn name(&mut self, back: u8, question: bool) {
        let known = if question { &self.heard.questions } else { &self.heard.replies };
        if let Some(name) = known.iter().nth_back(usize::from(back % 16)) {
            self.said.extend_from_slice(name);
        }
    }

    fn acknowledge(&mut self, back: u8) {
        const ACK: &[u8] = br#"{"stream":"NAMED","seq":7}"#;
        self.said.extend_from_slice(b"MSG ");
        self.name(back, false);
        self.said.extend_from_slice(format!(" 1 {}\r\n", ACK.len()).as_bytes());
        self.said.extend_from_slice(ACK);
        self.said.extend_from_slice(b"\r\n");
    }

    /// What was said is read, if anybody listens.
    fn deliver(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.read(&said);
        self.rounds();
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.wire.side(Side::Main).is_some() {
            let space = self.wire.read_space(Side::Main);
            assert!((1..=MOST_BUFFER).contains(&space.len()), "P9: the read buffer has {} bytes free", space.len());
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            self.wire.read(Side::Main, len, self.now, &mut self.handler);
            bytes = &bytes[len..];
        }
    }

    fn hang_up(&mut self, why: &str) {
        self.wire.cut(Side::Main, why, &mut self.handler);
    }

    /// Time passes, and every wake-up on the way is kept.
    fn pass(&mut self, to: u64) {
        while !self.ended {
            let next = self.rounds();
            if next > to || self.ended {
                break;
            }
            self.now = next.max(self.now + 1);
        }
        self.now = self.now.max(to);
        self.rounds();
    }

    /// Rounds until nothing moves. Gives the time of the next one.
    fn rounds(&mut self) -> u64 {
        for _ in 0..MOST_ROUNDS {
            let (busy, next) = self.round();
            if self.ended || (!busy && next > self.now) {
                return next;
            }
        }
        panic!("the handler spins");
    }

    fn round(&mut self) -> (bool, u64) {
        if self.ended {
            return (false, u64::MAX);
        }
        self.clock.now.store(self.now, Ordering::Relaxed);
        self.handler.set_time(self.now, self.now);
        let mut busy = self.hear_news() | self.dial();
        let mut next = self.handler.turn(&mut self.wire);
        busy |= self.hear_news() | self.write();
        if self.wire.side(Side::Main).is_some_and(Connection::in_handshake) {
            if self.now >= self.greeted_by {
                self.hang_up("no handshake in time");
                busy = true;
            }
            next = next.min(self.greeted_by);
        }
        if !self.connected {
            next = next.min(self.dial_at);
        }
        self.take_reports();
        self.bounds();
        if self.handler.may_end() {
            crate::runtime::last_act(&self.shared, self.shared.lanes.first(), &mut self.handler);
            self.ended = true;
            self.take_reports();
        }
        (busy, next)
    }

    fn dial(&mut self) -> bool {
        if self.connected || self.now < self.dial_at {
            return false;
        }
        match Info::parse(&self.info) {
            Ok(info) => {
                self.connected = true;
                self.greeted_by = self.now + GREETING;
                self.wire.attach("nats://hostile:4222".into(), info, &wire::connect(), self.now).expect("CONNECT");
                if self.polite {
                    self.read(b"PONG\r\n");
                }
            }
            Err(error) => {
                is_presentable(error.message());
                self.shared.not_connected(&error);
                self.dial_at = self.now + REDIAL;
            }
        }
        true
    }

    fn hear_news(&mut self) -> bool {
        let news = std::mem::take(&mut self.wire.news);
        let Some((loss, _)) = news.lost else { return false };
        is_presentable(loss.error.message());
        self.connected = false;
        self.dial_at = self.now + REDIAL;
        self.heard.cut();
        true
    }

    fn write(&mut self) -> bool {
        let mut bytes = Vec::new();
        {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.wire.pieces(Side::Main, &mut pieces);
            pieces[..count].iter().for_each(|piece| bytes.extend_from_slice(piece));
        }
        bytes.truncate(self.width);
        if bytes.is_empty() {
            return false;
        }
        if self.width < usize::MAX {
            self.width -= bytes.len();
        }
        self.heard.hear(&bytes);
        self.wire.wrote(Side::Main, bytes.len(), self.now, &mut self.handler);
        true
    }

    fn take_reports(&mut self) {
        let Ok(reports) = Reports::poll(&self.shared.desk, usize::MAX, Some(Duration::ZERO)) else { return };
        for report in reports.iter() {
            let known = self.accepted.iter_mut().find(|message| message.id == report.id()).expect("a report of an accepted message");
            known.reports += 1;
            assert_eq!(known.reports, 1, "P1: message {} has two reports", report.id());
            assert!(self.now <= known.deadline + SWEEP, "P1: message {} is reported {} ns late", report.id(), self.now - known.deadline);
            assert_eq!(report.status() == Status::Ok, report.persistence() == Persistence::Persisted, "P2: {report:?}");
            is_presentable(report.text());
            is_presentable(report.stream());
            assert!(TOPICS.contains(&report.topic()), "{report:?}");
        }
        for event in self.shared.desk.poll_events(usize::MAX, Some(Duration::ZERO)).unwrap_or_default() {
            is_presentable(&event.text);
            is_presentable(&event.topic);
            is_presentable(&event.server);
        }
        is_presentable(&self.shared.info().server_version);
    }

    /// P9: what a server's words can make grow.
    fn bounds(&self) {
        let sizes = self.handler.sizes();
        assert!(sizes.iter().all(|&size| size <= 4096), "P9: {sizes:?}");
        assert!(self.handler.words().all(|topic| topic.len() <= super::presentable::LONGEST), "P9: a topic that is none is remembered");
    }

    fn close(&mut self, timeout: u64) {
        self.deliver();
        self.shared.window.shut(Error::new(Status::Closed, "the publisher is closed"));
        self.shared.lanes.first().command(Command::Close { timeout });
        self.rounds();
    }

    /// The server says nothing more: every message has its outcome by its deadline, and the figures add up.
    fn outlive(&mut self) {
        let last = self.accepted.iter().map(|message| message.deadline).max().unwrap_or(0);
        self.pass((last + SWEEP).max(self.now));
        let missing: Vec<u64> = self.accepted.iter().filter(|message| message.reports != 1).map(|message| message.id).collect();
        assert!(missing.is_empty(), "P1: no report of {missing:?} by their deadlines");
        // Ephemeral messages that were not written are dropped after the same time.
        self.pass(self.now + self.timeout + SWEEP);
        if !self.ended {
            self.close(0);
        }
        assert!(self.ended, "a closed publisher ends");
        let stats = self.shared.stats();
        assert_eq!((stats.accepted, stats.pending, stats.ephemeral + stats.ephemeral_dropped), (self.accepted.len() as u64, 0, self.ephemeral));
        assert_eq!(self.shared.window.usage(), (0, 0), "P3: the window is empty");
    }
}
