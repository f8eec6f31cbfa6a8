//! The ledger: one slot per message, from `publish` to the end of its report.
//!
//! A slot is a box that one thread at a time owns: the publisher fills it, the send queue carries it to the I/O thread, whose [`Table`] keeps it until it is
//! settled, the report queue carries it to the user, and the window takes it back. Ownership moves with the box, so no slot needs a lock, and no message an allocation.

use std::sync::Arc;

use crate::error::{Persistence, Status};
use crate::report::Waiter;
use crate::stats::Counter;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Notify, Ordering, PoisonError};
use crate::wire::Nanos;

/// How many slots are made at once.
pub(crate) const CHUNK: usize = 256;
/// What a freed slot may keep of its frame's memory (P9).
pub(crate) const KEPT_FRAME: usize = 1024;
/// What all freed slots together may keep (P9).
pub(crate) const KEPT_TOTAL: usize = 8 << 20;
/// Ids travel modulo 2^48 in reply tokens.
pub(crate) const ID_MASK: u64 = (1 << 48) - 1;
/// The last attempt that two base-64 digits can name.
pub(crate) const MAX_ATTEMPT: u16 = 4095;
/// A slot that belongs to no gate.
pub(crate) const NO_GATE: u32 = u32::MAX;

/// A part of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    pub(crate) fn of(self, frame: &[u8]) -> &[u8] {
        frame.get(self.start as usize..self.start as usize + self.len as usize).unwrap_or_default()
    }
}

/// The encoded message. Large ones are shared with the wire while they are on their way, so that they are never copied.
#[derive(Debug)]
pub(crate) enum Frame {
    Owned(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

impl Default for Frame {
    fn default() -> Self {
        Frame::Owned(Vec::new())
    }
}

impl Frame {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Frame::Owned(bytes) => bytes,
            Frame::Shared(bytes) => bytes,
        }
    }

    /// The bytes for writing. A frame that the wire still holds is copied: what is under way is never changed (never torn).
    pub(crate) fn make_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Frame::Owned(bytes) => bytes,
            Frame::Shared(bytes) => Arc::make_mut(bytes),
        }
    }

    /// Shares the bytes with the wire.
    pub(crate) fn share(&mut self) -> Arc<Vec<u8>> {
        if let Frame::Owned(bytes) = self {
            *self = Frame::Shared(Arc::new(std::mem::take(bytes)));
        }
        match self {
            Frame::Shared(bytes) => Arc::clone(bytes),
            Frame::Owned(bytes) => Arc::new(bytes.clone()),
        }
    }
}

/// Where a message is between acceptance and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accepted, in line for the wire.
    Queued,
    /// Behind a closed gate.
    Gated,
    /// Given to the wire, its last byte not yet out.
    Staged,
    /// Out, its ack awaited.
    InFlight,
    /// `ack_wait` is over; waits for proof that the server has read the frame.
    Fencing,
    /// Refused; waits for its next attempt.
    Backoff,
    /// Has an outcome.
    Settled,
}

impl Stage {
    /// The wire has it, or its reply is awaited: an attempt may yet be stored.
    pub(crate) fn is_under_way(self) -> bool {
        matches!(self, Stage::Staged | Stage::InFlight | Stage::Fencing)
    }
}

/// What `settle` decided.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) persistence: Persistence,
    pub(crate) flags: u32,
    pub(crate) server_code: u32,
    pub(crate) stream_seq: u64,
    pub(crate) latency: Nanos,
    /// NUL-terminated, as all text that goes to reports.
    pub(crate) stream: Arc<str>,
    pub(crate) text: Option<Box<str>>,
}

impl Default for Outcome {
    fn default() -> Self {
        Outcome {
            status: Status::Internal,
            persistence: Persistence::PossiblyPersisted,
            flags: 0,
            server_code: 0,
            stream_seq: 0,
            latency: 0,
            stream: empty(),
            text: None,
        }
    }
}

/// The shared empty NUL-terminated text.
pub(crate) fn empty() -> Arc<str> {
    static EMPTY: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
    Arc::clone(EMPTY.get_or_init(|| Arc::from("\0")))
}

/// One message and all that is known of it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The slot's number, for ever.
    pub(crate) index: u32,
    pub(crate) id: u64,
    pub(crate) frame: Frame,
    /// Where the reply token stands; 0 when there is none.
    pub(crate) token: u32,
    /// Where the digits of an automatic Msg-Id stand; 0 when there are none.
    pub(crate) auto_id: u32,
    pub(crate) topic: Span,
    pub(crate) payload: Span,
    pub(crate) msg_id: Span,
    /// Headers and payload, as the server counts them against `max_payload`.
    pub(crate) body: u32,
    /// What admission counted.
    pub(crate) bytes: usize,
    pub(crate) rule: u32,
    pub(crate) tag: u64,
    pub(crate) ephemeral: bool,
    pub(crate) report_always: bool,
    /// The report says [`REPORT_MARK`](crate::REPORT_MARK).
    pub(crate) marked: bool,
    pub(crate) accepted_at: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) waiter: Option<Arc<Waiter>>,

    // From here on: the I/O thread's.
    pub(crate) stage: Stage,
    pub(crate) attempt: u16,
    /// How many attempts left the process.
    pub(crate) attempts: u32,
    pub(crate) epoch: u32,
    pub(crate) mark: u64,
    /// When the running attempt began, on the clock that also runs in suspend (P4).
    pub(crate) sent_age: Nanos,
    /// The same of the first attempt that may have been stored; `None` while none may (R1: once set, nothing but an ack clears it).
    pub(crate) tainted: Option<Nanos>,
    /// A permission error may concern this attempt (P2: told as DENIED, in doubt).
    pub(crate) suspect: bool,
    pub(crate) gate: u32,
    /// Counted in its gate's in-flight number.
    pub(crate) counted: bool,
    /// Sent as a gate's probe.
    pub(crate) probe: bool,
    pub(crate) last: Option<Box<crate::wire::Refusal>>,
    pub(crate) outcome: Outcome,
}

impl Slot {
    pub(crate) fn new(index: u32) -> Self {
        Slot {
            index,
            id: 0,
            frame: Frame::default(),
            token: 0,
            auto_id: 0,
            topic: Span::default(),
            payload: Span::default(),
            msg_id: Span::default(),
            body: 0,
            bytes: 0,
            rule: 0,
            tag: 0,
            ephemeral: false,
            report_always: false,
            marked: false,
            accepted_at: 0,
            deadline: 0,
            waiter: None,
            stage: Stage::Queued,
            attempt: 0,
            attempts: 0,
            epoch: 0,
            mark: 0,
            sent_age: 0,
            tainted: None,
            suspect: false,
            gate: NO_GATE,
            counted: false,
            probe: false,
            last: None,
            outcome: Outcome::default(),
        }
    }

    pub(crate) fn topic(&self) -> &str {
        std::str::from_utf8(self.topic.of(self.frame.bytes())).unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.payload.of(self.frame.bytes())
    }

    pub(crate) fn has_msg_id(&self) -> bool {
        self.msg_id.len > 0
    }

    /// The frame will not be sent any more: puts NUL bytes behind the texts that reports show to C.
    pub(crate) fn terminate(&mut self) {
        let ends = [self.topic.start + self.topic.len, if self.msg_id.len > 0 { self.msg_id.start + self.msg_id.len } else { 0 }];
        let frame = self.frame.make_mut();
        for end in ends {
            if end > 0
                && let Some(byte) = frame.get_mut(end as usize)
            {
                *byte = 0;
            }
        }
    }

    /// What its frame's memory is, used or not.
    pub(crate) fn kept(&self) -> usize {
        match &self.frame {
            Frame::Owned(frame) => frame.capacity(),
            Frame::Shared(_) => 0,
        }
    }

    /// Makes the slot ready for its next message. A frame's memory it keeps, unless that is large.
    pub(crate) fn recycle(&mut self) {
        let mut frame = match std::mem::take(&mut self.frame) {
            Frame::Owned(bytes) => bytes,
            Frame::Shared(bytes) => Arc::try_unwrap(bytes).unwrap_or_default(),
        };
        frame.clear();
        if frame.capacity() > KEPT_FRAME {
            frame = Vec::new();
        }
        self.frame = Frame::Owned(frame);
        self.waiter = None;
        self.stage = Stage::Queued;
        self.attempt = 0;
        self.attempts = 0;
        self.tainted = None;
        self.suspect = false;
        self.gate = NO_GATE;
        self.counted = false;
        self.probe = false;
        self.last = None;
        if self.outcome.text.is_some() {
            self.outcome.text = None;
        }
    }
}

/// The I/O thread's side: who is pending, by slot number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Box<Slot>>>,
    len: usize,
}

impl Table {
    pub(crate) fn insert(&mut self, slot: Box<Slot>) {
        let index = slot.index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with((index / CHUNK + 1) * CHUNK, || None);
        }
        if let Some(place) = self.slots.get_mut(index) {
            debug_assert!(place.is_none(), "slot {index} is taken");
            *place = Some(slot);
            self.len += 1;
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// Only the settle room calls this.
    pub(crate) fn take(&mut self, index: u32) -> Option<Box<Slot>> {
        let slot = self.slots.get_mut(index as usize)?.take()?;
        self.len -= 1;
        Some(slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter_map(Option::as_deref)
    }
}

/// From the publishing threads to the I/O thread: ids and places are given under one lock, so ids are in wire order.
#[derive(Debug)]
pub(crate) struct SendQueue {
    line: Mutex<Line>,
    last_id: AtomicU64,
    step: u64,
    wake: Notify,
    pub(crate) wakeups: Counter,
}

#[derive(Debug)]
struct Line {
    next_id: u64,
    slots: Vec<Box<Slot>>,
    closed: bool,
    /// The I/O thread sleeps, or is about to: whoever pushes next wakes it.
    idle: bool,
}

impl SendQueue {
    /// A queue that gives the ids `first`, `first + step`, …: queues of one publisher share a step and begin at 1, 2, … up to it, so no id comes twice.
    pub(crate) fn new(first: u64, step: u64) -> Self {
        SendQueue {
            line: Mutex::new(Line { next_id: first, slots: Vec::with_capacity(CHUNK), closed: false, idle: false }),
            last_id: AtomicU64::new(0),
            step,
            wake: Notify::new(),
            wakeups: Counter::default(),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the message its id and its place. `stamp` writes the id into the frame. After the I/O thread's end the slot comes back.
    pub(crate) fn push(&self, mut slot: Box<Slot>, stamp: impl FnOnce(&mut Slot)) -> Result<u64, Box<Slot>> {
        let mut line = self.line();
        if line.closed {
            return Err(slot);
        }
        let id = line.next_id;
        line.next_id += self.step;
        slot.id = id;
        stamp(&mut slot);
        line.slots.push(slot);
        self.last_id.store(id, Ordering::Relaxed);
        let wake = std::mem::take(&mut line.idle);
        drop(line);
        if wake {
            self.wake.notify_one();
            self.wakeups.bump_shared(1);
        }
        Ok(id)
    }

    /// Swaps the line with an empty vector.
    pub(crate) fn take(&self, into: &mut Vec<Box<Slot>>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.line().slots, into);
    }

    /// No message enters after this; what is in line comes out.
    pub(crate) fn shut(&self) -> Vec<Box<Slot>> {
        let mut line = self.line();
        line.closed = true;
        std::mem::take(&mut line.slots)
    }

    /// No message enters after this, provided that none is in line.
    pub(crate) fn shut_if_empty(&self) -> bool {
        let mut line = self.line();
        line.closed |= line.slots.is_empty();
        line.closed
    }

    /// The id of the newest message.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// How many messages got an id.
    pub(crate) fn accepted(&self) -> u64 {
        self.last_id().div_ceil(self.step)
    }

    /// The I/O thread is about to sleep. False: something is in line, do not.
    pub(crate) fn fall_idle(&self) -> bool {
        let mut line = self.line();
        line.idle = line.slots.is_empty();
        line.idle
    }

    pub(crate) fn rise(&self) {
        self.line().idle = false;
    }

    /// Wakes the I/O thread whatever it does.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.wake
    }
}
