//! Slots: one message each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::error::{Persistence, Status};
use crate::base::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::base::time::Nanos;
use crate::base::wait::{self, Over};
use crate::ledger::content::Content;
use crate::ledger::refusal::Refusal;

/// How many slots are made at once.
pub(crate) const CHUNK: usize = 256;
/// What a freed slot may keep of its content's memory (P9).
pub(crate) const KEPT_CONTENT: usize = 64 << 10;
/// What all freed slots together may keep (P9).
pub(crate) const KEPT_TOTAL: usize = 8 << 20;
/// A slot that belongs to no gate.
pub(crate) const NO_GATE: u32 = u32::MAX;

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
    pub(crate) stream_seq: u64,
    pub(crate) latency: Nanos,
    pub(crate) stream: Arc<StreamId>,
}

impl Default for Outcome {
    fn default() -> Self {
        Outcome { status: Status::Internal, persistence: Persistence::PossiblyPersisted, stream_seq: 0, latency: 0, stream: StreamId::none() }
    }
}

/// Which stream stored a message: its name, and the domain that its ack named. Behind both is a NUL byte, as behind all text that goes to reports.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamId {
    // With their NUL bytes. Each report reads both, so neither is a part of the other's text, whose bounds would have to be looked at.
    name: Box<str>,
    domain: Box<str>,
}

impl StreamId {
    /// Neither of them has a NUL byte; the domain is empty when it is not known.
    pub(crate) fn new(name: &str, domain: &str) -> Self {
        StreamId { name: format!("{name}\0").into(), domain: format!("{domain}\0").into() }
    }

    /// The shared one without a name.
    pub(crate) fn none() -> Arc<StreamId> {
        static NONE: std::sync::OnceLock<Arc<StreamId>> = std::sync::OnceLock::new();
        Arc::clone(NONE.get_or_init(|| Arc::new(StreamId::new("", ""))))
    }

    pub(crate) fn name(&self) -> &str {
        self.name.strip_suffix('\0').unwrap_or_default()
    }

    pub(crate) fn domain(&self) -> &str {
        self.domain.strip_suffix('\0').unwrap_or_default()
    }

    pub(crate) fn name_nul(&self) -> &[u8] {
        self.name.as_bytes()
    }

    pub(crate) fn domain_nul(&self) -> &[u8] {
        self.domain.as_bytes()
    }

    /// Asked for each ack.
    pub(crate) fn is(&self, name: &str, domain: &str) -> bool {
        let same = |own: &str, other: &str| own.len() == other.len() + 1 && own.as_bytes().starts_with(other.as_bytes());
        same(&self.name, name) && same(&self.domain, domain)
    }
}

/// What only messages in trouble have to say.
#[derive(Debug, Default)]
struct Words {
    /// Why the last attempt was refused.
    last: Option<Refusal>,
    /// What a stream said that the rule does not name.
    foreign: Option<Box<str>>,
    /// The report's, NUL-terminated.
    text: Option<Box<str>>,
    /// The report's.
    server_code: u32,
}

/// One message and all that is known of it.
///
/// Its size is paid for every pending message, and its cache lines travel between the cores with it: three lines, and with what the allocator adds 192 bytes.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The slot's number, for ever.
    pub(crate) index: u32,
    pub(crate) id: u64,
    pub(crate) content: Content,
    /// What admission counted.
    pub(crate) bytes: u32,
    pub(crate) rule: u32,
    pub(crate) tag: u64,
    /// Its Msg-Id is an automatic one.
    pub(crate) auto_id: bool,
    /// What it asks for that a server may lack. Which bit is what, its wire knows.
    pub(crate) needs: u8,
    /// Which of its topic's partitions it goes to; below zero: its wire has none, or has not chosen.
    #[allow(dead_code, reason = "room for a wire with partitions: NATS and memory have none")]
    pub(crate) partition: i32,
    pub(crate) ephemeral: bool,
    pub(crate) report_always: bool,
    /// The report says [`REPORT_MARK`](crate::REPORT_MARK).
    pub(crate) marked: bool,
    pub(crate) accepted_at: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) waiter: Option<Arc<Waiter>>,

    // From here on: the I/O thread's.
    pub(crate) stage: Stage,
    pub(crate) attempt: u32,
    /// How many attempts left the process.
    pub(crate) attempts: u32,
    pub(crate) epoch: u32,
    pub(crate) mark: u64,
    /// When the running attempt began, on the clock that also runs in suspend (P4); of a tainted message, when the first attempt began that may have been stored.
    sent_age: Nanos,
    tainted: bool,
    /// A permission error may concern this attempt (P2: told as DENIED, in doubt).
    pub(crate) suspect: bool,
    pub(crate) gate: u32,
    /// Counted in its gate's in-flight number.
    pub(crate) counted: bool,
    /// Has a place in its rule's `in_flight`, until it is settled.
    pub(crate) placed: bool,
    /// New messages of its gate wait until it is settled.
    pub(crate) pausing: bool,
    /// Sent as a gate's probe.
    pub(crate) probe: bool,
    words: Option<Box<Words>>,
    /// The report's flags, but for the mark.
    pub(crate) flags: u8,
    pub(crate) outcome: Outcome,
}

impl Slot {
    pub(crate) fn new(index: u32) -> Self {
        Slot {
            index,
            id: 0,
            content: Content::default(),
            bytes: 0,
            rule: 0,
            tag: 0,
            auto_id: false,
            needs: 0,
            partition: -1,
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
            tainted: false,
            suspect: false,
            gate: NO_GATE,
            counted: false,
            placed: false,
            pausing: false,
            probe: false,
            words: None,
            flags: 0,
            outcome: Outcome::default(),
        }
    }

    pub(crate) fn topic(&self) -> &str {
        self.content.topic()
    }

    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        self.content.payload()
    }

    pub(crate) fn has_msg_id(&self) -> bool {
        self.content.has_msg_id()
    }

    /// When the first attempt began that may have been stored; `None` while none may.
    pub(crate) fn tainted(&self) -> Option<Nanos> {
        self.tainted.then_some(self.sent_age)
    }

    /// Another attempt begins.
    pub(crate) fn sent(&mut self, age: Nanos) {
        if !self.tainted {
            self.sent_age = age;
        }
    }

    /// The running attempt may have been stored (R1: once set, nothing but an ack clears it).
    pub(crate) fn taint(&mut self) {
        self.tainted = true;
    }

    /// Why the last attempt was refused.
    pub(crate) fn last(&self) -> Option<&Refusal> {
        self.words.as_ref()?.last.as_ref()
    }

    pub(crate) fn set_last(&mut self, refusal: Refusal) {
        self.words.get_or_insert_default().last = Some(refusal);
    }

    /// What a stream said that the rule does not name.
    pub(crate) fn foreign(&self) -> Option<&str> {
        self.words.as_ref()?.foreign.as_deref()
    }

    pub(crate) fn set_foreign(&mut self, text: String) {
        self.words.get_or_insert_default().foreign = Some(text.into());
    }

    /// The report's text, NUL-terminated; `None`: there is nothing to say.
    #[inline]
    pub(crate) fn text(&self) -> Option<&str> {
        self.words.as_ref()?.text.as_deref()
    }

    /// The report's code of the server; 0: there is none.
    #[inline]
    pub(crate) fn server_code(&self) -> u32 {
        self.words.as_ref().map_or(0, |words| words.server_code)
    }

    /// What the report says of a failure.
    pub(crate) fn explain(&mut self, server_code: u32, text: Option<Box<str>>) {
        if server_code != 0 || text.is_some() {
            let words = self.words.get_or_insert_default();
            (words.server_code, words.text) = (server_code, text);
        }
    }

    /// Makes the slot ready for its next message. Its content's memory it keeps, unless that is large.
    pub(crate) fn recycle(&mut self) {
        self.content.recycle(KEPT_CONTENT);
        self.waiter = None;
        self.stage = Stage::Queued;
        self.attempt = 0;
        self.attempts = 0;
        self.tainted = false;
        self.suspect = false;
        self.gate = NO_GATE;
        self.counted = false;
        self.placed = false;
        self.pausing = false;
        self.probe = false;
        self.words = None;
    }
}

/// Where a single message's report goes when somebody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    state: Mutex<Waiting>,
    done: Condvar,
}

#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Yes,
    Done(Box<Slot>),
    GoneAway,
}

impl Waiter {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the report to the waiter; it comes back when nobody waits any more.
    pub(crate) fn complete(&self, slot: Box<Slot>) -> Option<Box<Slot>> {
        let mut state = self.lock();
        if matches!(*state, Waiting::Yes) {
            *state = Waiting::Done(slot);
            self.done.notify_all();
            None
        } else {
            Some(slot)
        }
    }

    pub(crate) fn take(&self) -> Option<Box<Slot>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, Waiting::GoneAway) {
            Waiting::Done(slot) => Some(slot),
            before => {
                *state = before;
                None
            }
        }
    }

    /// Waits for the report. `None`: it was taken already, nothing will come.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Option<Box<Slot>>, Over> {
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut state = self.lock();
        loop {
            match *state {
                Waiting::Yes => {}
                Waiting::Done(_) => {
                    drop(state);
                    return Ok(self.take());
                }
                Waiting::GoneAway => return Ok(None),
            }
            state = wait::once(&self.state, &self.done, state, until).map_err(|(_, over)| over)?;
        }
    }

    /// Stops waiting: the report goes the usual way, unless it is here already.
    pub(crate) fn go_away(&self) -> Option<Box<Slot>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, Waiting::GoneAway) {
            Waiting::Done(slot) => Some(slot),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StreamId;

    #[test]
    fn a_stream_has_a_name_and_a_domain() {
        for (name, domain) in [("ORDERS", "hub"), ("ORDERS", ""), ("", ""), ("Ü\"\u{a0}🚀", "ü")] {
            let id = StreamId::new(name, domain);
            assert_eq!((id.name(), id.domain()), (name, domain));
            assert_eq!((id.name_nul(), id.domain_nul()), (format!("{name}\0").as_bytes(), format!("{domain}\0").as_bytes()));
            assert!(id.is(name, domain) && !id.is(name, "leaf") && !id.is("OTHER", domain));
        }
    }

    #[test]
    fn a_slot_has_three_cache_lines() {
        assert!(size_of::<super::Slot>() <= 184, "{}", size_of::<super::Slot>());
    }
}
