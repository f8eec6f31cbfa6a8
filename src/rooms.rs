//! The rooms of the core one at a time, for `benches/micro`. No part of the API: it exists with the feature `rooms` alone, which no package that ships turns on.
//!
//! A room's work is called as the core calls it, and as many times in a row as a burst has messages, so that what is measured is the room and not the clock.

#![allow(missing_docs, clippy::missing_panics_doc, clippy::expect_used, reason = "for benchmarks, which end where something cannot be")]

use std::sync::Arc;
use std::time::Instant;

use crate::base::time::Clock;
use crate::base::time::Nanos;
use crate::bus::shared::Shared;
use crate::config::Config;
use crate::config::settings::MsgIdMode;
use crate::config::topic::Rules;
use crate::desk::sink::{Handlers, Sink};
use crate::handler::Handler;
use crate::ledger::queue::SendQueue;
use crate::ledger::slot::Slot;
use crate::message::Message;
use crate::window::admission::Window;
use crate::window::places::{Patience, Request};
use crate::wire::nats::ack::Acks;
use crate::wire::nats::auth::ConnectAuth;
use crate::wire::nats::connection::{Connect, Connection, Info, Told};
use crate::wire::nats::frame::{self, Encoder};
use crate::wire::{Limits, Peer, Placed, Question, Receiver, Token, Verdict, Wire, attempt_in_token, msg_id};

/// Messages in a burst: as many as a callback gets.
pub const BURST: usize = crate::window::places::BATCH;

/// `message`: whether everything that the caller gave is allowed.
#[must_use]
pub fn check(message: &Message<'_>) -> bool {
    message.check().is_ok()
}

/// `topic`: which rule a topic has.
#[derive(Debug)]
pub struct TopicRules(Rules);

impl TopicRules {
    #[must_use]
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Self {
        let mut rules = Rules::new();
        for pattern in patterns {
            rules.set(pattern, "mode", "persistent").expect("a pattern");
        }
        TopicRules(rules)
    }

    #[must_use]
    pub fn matching(&self, topic: &str) -> u32 {
        self.0.matching(topic).index
    }
}

fn encoder() -> Encoder {
    Encoder::new("_INBOX", MsgIdMode::Auto, &[7; 32])
}

/// `wire/nats/frame`: a message's way into its slot, and from there into the bytes that travel.
#[derive(Debug)]
pub struct Framing {
    encoder: Encoder,
    slot: Slot,
    bytes: Vec<u8>,
}

impl Default for Framing {
    fn default() -> Self {
        Framing { encoder: encoder(), slot: Slot::new(0), bytes: Vec::new() }
    }
}

impl Framing {
    /// The publishing thread's part. Returns the length of the frame.
    pub fn fill(&mut self, message: &Message<'_>) -> usize {
        let plan = self.encoder.plan(message, false).expect("a message");
        self.encoder.fill(&mut self.slot, message, plan);
        self.slot.id += 1;
        msg_id::stamp(&mut self.slot);
        plan.bytes as usize
    }

    /// The I/O thread's: the frame, but for the payload and its end. Returns its length.
    pub fn write_head(&mut self) -> usize {
        self.bytes.clear();
        self.encoder.write_head(&mut self.bytes, &self.slot);
        self.bytes.len()
    }
}

/// `wire/nats/connection`, `reply` and `ack`: what a burst of acks costs to read.
#[derive(Debug)]
pub struct Reading {
    connection: Connection,
    bytes: Vec<u8>,
}

impl Default for Reading {
    fn default() -> Self {
        let inbox = encoder().inbox().to_vec();
        let connect = Connect::new("", ConnectAuth::default(), false);
        let mut connection = Connection::new(1, "bench".into(), Info::default(), &connect, &inbox, Nanos::MAX / 4, 0).expect("CONNECT");
        feed(&mut connection, b"PONG\r\n", |_| {});
        let mut bytes = Vec::new();
        for id in 1..=BURST as u64 {
            let mut token = [0; frame::TOKEN_LEN];
            frame::write_token(&mut token, Token { slot: id as u32, id, attempt: 1 });
            let body = format!("{{\"stream\":\"ORDERS\",\"seq\":{}}}", 123_456 + id);
            bytes.extend([b"MSG ", &*inbox, &token, format!(" 1 {}\r\n{body}\r\n", body.len()).as_bytes()].concat());
        }
        Reading { connection, bytes }
    }
}

fn feed(connection: &mut Connection, bytes: &[u8], tell: impl FnMut(Told<'_>)) {
    connection.read_space().get_mut(..bytes.len()).expect("room").copy_from_slice(bytes);
    connection.read(bytes.len(), 1, tell).expect("NATS");
}

impl Reading {
    /// Reads [`BURST`] acks. Returns how many of them say "stored".
    pub fn read(&mut self) -> u64 {
        let mut stored = 0;
        feed(&mut self.connection, &self.bytes, |told| stored += u64::from(matches!(told, Told::Verdict(_, Verdict::Stored { .. }))));
        stored
    }
}

/// `wire/nats/ack`: a body alone, without knowledge of the stream. `None`: it says nothing of "stored" or "refused".
#[must_use]
pub fn ack_body(body: &[u8]) -> Option<bool> {
    match Acks::default().parse(body) {
        Verdict::Stored { .. } => Some(true),
        Verdict::Refused(_) => Some(false),
        Verdict::Alien => None,
    }
}

/// `admission`: places in the window, and slots.
#[derive(Debug)]
pub struct Admission {
    window: Window,
    slots: Vec<Box<Slot>>,
}

impl Default for Admission {
    fn default() -> Self {
        Admission { window: Window::new(1, 4096, 128 << 20, 75), slots: Vec::with_capacity(BURST) }
    }
}

impl Admission {
    /// [`BURST`] messages enter, one by one, and leave together.
    pub fn enter_and_leave(&mut self) {
        for _ in 0..BURST {
            let request = Request { bytes: 256, rule: 0, topic: "orders.created" };
            self.slots.push(self.window.enter(request, Patience::Fail, None).expect("room"));
        }
        self.window.leave(&mut self.slots);
    }
}

/// `ledger`: the line from the publishing threads to the I/O thread.
#[derive(Debug)]
pub struct Line {
    queue: SendQueue,
    slots: Vec<Box<Slot>>,
    taken: Vec<Box<Slot>>,
}

impl Default for Line {
    fn default() -> Self {
        Line { queue: SendQueue::new(1, 1), slots: (0..BURST as u32).map(|index| Box::new(Slot::new(index))).collect(), taken: Vec::with_capacity(BURST) }
    }
}

impl Line {
    /// [`BURST`] slots get in line, one by one, and are taken together.
    pub fn push_and_take(&mut self) {
        for slot in self.slots.drain(..) {
            self.queue.push(slot, |_| {}).expect("open");
        }
        self.queue.take(&mut self.taken);
        self.slots.append(&mut self.taken);
    }
}

/// A wire that keeps what it gets.
#[derive(Debug, Default)]
struct Kept(Vec<Token>);

impl Wire for Kept {
    const WATCHES_SILENCE: bool = false;
    fn place(&mut self, _slot: &mut Slot) -> Placed {
        Placed::Here
    }
    fn is_ready(&self) -> bool {
        true
    }
    fn has_room(&self) -> bool {
        true
    }
    fn stage(&mut self, slot: &mut Slot) {
        slot.epoch = 1;
        self.0.push(Token { slot: slot.index, id: slot.id, attempt: attempt_in_token(slot.attempt) });
    }
    fn fence(&mut self) {}
    fn part(&mut self) {}
    fn ask(&mut self, _ask: u32, _question: &Question) {}
    fn give_up(&mut self, _epoch: u32, _why: &str, _receiver: &mut impl Receiver) {}
    fn tick(&mut self, _now: Nanos, _in_flight: bool, _receiver: &mut impl Receiver) -> Nanos {
        Nanos::MAX
    }
}

struct Ignore;

impl Sink for Ignore {}

/// A bus without threads and sockets: a burst's walk from `publish` to its reports, step by step.
pub struct Bus {
    shared: Arc<Shared>,
    handler: Handler,
    wire: Kept,
    handlers: Handlers,
    batch: Vec<Box<Slot>>,
    seq: u64,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

impl Default for Bus {
    fn default() -> Self {
        let mut config = Config::new();
        for (key, value) in [("report", "all"), ("log_level", "off")] {
            config.set(key, value).expect("an option");
        }
        let handlers = Handlers { reports: Some(Arc::new(Ignore)), events: None };
        let settings = config.settings().expect("options");
        let shared = Shared::new(settings, Rules::new(), Clock::Real(Instant::now()), &[7; 32], &handlers).expect("a publisher");
        let mut handler = Handler::new(Arc::clone(&shared), Arc::clone(shared.lanes.first()), 7);
        handler.connected(1);
        handler.online(Peer { name: "bench", software: "bench", version: "1", domain: "", limits: Limits::of(1 << 20) });
        Bus { shared, handler, wire: Kept::default(), handlers, batch: Vec::with_capacity(BURST), seq: 0 }
    }
}

impl Bus {
    /// The publishing thread's part: [`BURST`] messages from the call into the line.
    pub fn accept(&mut self, message: &Message<'_>) {
        for _ in 0..BURST {
            self.shared.accept(message, Patience::Fail, None).expect("room");
        }
    }

    /// The I/O thread's: out of the line, past the gates, to the wire.
    pub fn send(&mut self) {
        let now = self.shared.clock.now();
        self.handler.set_time(now, now);
        self.handler.turn(&mut self.wire);
    }

    /// The I/O thread's: each attempt begins and is acknowledged; the reports go to the desk.
    pub fn settle(&mut self) {
        for token in self.wire.0.drain(..) {
            self.seq += 1;
            self.handler.begun(token.slot, token.id, 1);
            self.handler.verdict(token, Verdict::Stored { stream: "ORDERS", domain: "", seq: self.seq, duplicate: false });
        }
        self.handler.hand_over();
    }

    /// The report thread's: one callback with all of them, and the places are free.
    pub fn report(&mut self) {
        self.shared.desk.serve_once(&self.handlers, &mut self.batch);
        debug_assert_eq!(self.shared.pending(), 0);
    }
}
