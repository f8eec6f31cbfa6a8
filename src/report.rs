//! Reports: the settled outcome as users see it.

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::dispatch::Desk;
use crate::error::{Error, Persistence, Result, Status};
use crate::ledger::Slot;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::sys;
use crate::wait::{self, Over};

/// The server had the message already, though no earlier attempt of ours could have stored it: another message has the same Msg-Id.
pub const REPORT_DUPLICATE: u32 = 1;
/// The topic is ephemeral: written, never acknowledged.
pub const REPORT_EPHEMERAL: u32 = 2;

/// The message was published with [`Message::mark`](crate::Message::mark).
pub const REPORT_MARK: u32 = 4;

/// The outcome of one message, and the message itself. All views live as long as the batch that the report came in.
#[derive(Clone, Copy)]
pub struct Report<'a>(&'a Slot);

impl<'a> Report<'a> {
    pub(crate) fn new(slot: &'a Slot) -> Self {
        Report(slot)
    }

    /// The number that the caller gave with the message.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.0.tag
    }

    /// The id that `publish` returned.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The message's sequence in its stream; 0 unless persisted.
    #[must_use]
    pub fn stream_seq(&self) -> u64 {
        self.0.outcome.stream_seq
    }

    /// `Ok` if the message is persisted (or ephemeral and written), else why not.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.outcome.status
    }

    /// What is known about the stored copy.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.0.outcome.persistence
    }

    /// [`REPORT_DUPLICATE`], [`REPORT_EPHEMERAL`], [`REPORT_MARK`].
    #[must_use]
    pub fn flags(&self) -> u32 {
        u32::from(self.0.flags) | if self.0.marked { REPORT_MARK } else { 0 }
    }

    /// JetStream's `err_code`, or the status of a reply without body (503); 0 when there was none.
    #[must_use]
    #[inline]
    pub fn server_code(&self) -> u32 {
        self.0.server_code()
    }

    /// How many times the message was sent; 0: it never left the process.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// From acceptance to the outcome, in nanoseconds.
    #[must_use]
    pub fn latency_ns(&self) -> u64 {
        self.0.outcome.latency
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.0.topic()
    }

    /// The payload, as it was published.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.0.payload()
    }

    /// The Msg-Id, the caller's or the automatic one; empty without one.
    #[must_use]
    pub fn msg_id(&self) -> &'a str {
        self.0.content.msg_id()
    }

    /// The stream that stored the message; empty unless persisted.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        self.0.outcome.stream.name()
    }

    /// The JetStream domain of that stream, as its ack named it; empty when it named none, as servers without a domain do, and unless persisted.
    #[must_use]
    pub fn domain(&self) -> &'a str {
        self.0.outcome.stream.domain()
    }

    /// What happened, in words; empty if all went well.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.0.text().map_or("", strip)
    }

    /// The topic with the NUL byte that follows it.
    #[must_use]
    #[inline]
    pub fn topic_nul(&self) -> &'a [u8] {
        self.0.content.topic_nul()
    }

    /// The Msg-Id with the NUL byte that follows it.
    #[must_use]
    #[inline]
    pub fn msg_id_nul(&self) -> &'a [u8] {
        self.0.content.msg_id_nul()
    }

    /// The stream with a NUL byte behind it.
    #[must_use]
    #[inline]
    pub fn stream_nul(&self) -> &'a [u8] {
        self.0.outcome.stream.name_nul()
    }

    /// The domain with a NUL byte behind it.
    #[must_use]
    #[inline]
    pub fn domain_nul(&self) -> &'a [u8] {
        self.0.outcome.stream.domain_nul()
    }

    /// The text with a NUL byte behind it.
    #[must_use]
    #[inline]
    pub fn text_nul(&self) -> &'a [u8] {
        self.0.text().map_or(b"\0", str::as_bytes)
    }
}

fn strip(text: &str) -> &str {
    text.strip_suffix('\0').unwrap_or(text)
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("id", &self.id())
            .field("tag", &self.tag())
            .field("topic", &self.topic())
            .field("status", &self.status())
            .field("persistence", &self.persistence())
            .field("server_code", &self.server_code())
            .field("attempts", &self.attempts())
            .field("text", &self.text())
            .finish_non_exhaustive()
    }
}

/// A batch of reports. Owns the messages; dropping it gives their places back to the window. May outlive the publisher.
pub struct Reports {
    pub(crate) slots: Vec<Box<Slot>>,
    pub(crate) room: bool,
    /// Who took it, and is expected to give it back.
    pub(crate) taker: ThreadId,
    pub(crate) desk: Option<Arc<Desk>>,
    /// Their places went to a callback.
    pub(crate) lent: bool,
}

impl Reports {
    /// How many reports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The report at this place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Report<'_>> {
        self.slots.get(index).map(|slot| Report::new(slot))
    }

    /// All reports, in the order in which they were settled.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Report<'_>> {
        self.slots.iter().map(|slot| Report::new(slot))
    }

    /// There is room again after a `QueueFull`.
    #[must_use]
    pub fn room(&self) -> bool {
        self.room
    }

    /// Handles these reports as a callback would: until [`leave_callback`](crate::leave_callback) the calling thread is inside a callback. Its publishes never
    /// wait, and as many of them as there are reports here are admitted whatever other threads wait for: a failed message can be dead-lettered at a full window.
    /// Once for each batch; drop it after leaving.
    ///
    /// # Errors
    /// `InvalidState` if the batch was used so before, or the thread is inside a callback; `Forked`.
    pub fn enter_callback(&mut self) -> Result<()> {
        crate::dispatch::may_enter()?;
        if self.lent {
            return Err(Error::new(Status::InvalidState, "these reports were handled in a callback before"));
        }
        if let Some(desk) = &self.desk {
            desk.enter_callback(&self.slots);
            self.lent = true;
        }
        Ok(())
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        // In a forked child the window's lock may be held for ever (P8).
        if let Some(desk) = self.desk.take()
            && !sys::forked()
        {
            if self.lent {
                desk.hand_back_lent(&mut self.slots, self.taker);
            } else {
                desk.hand_back(&mut self.slots, self.taker);
            }
        }
    }
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
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

    fn take(&self) -> Option<Box<Slot>> {
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
    fn wait(&self, timeout: Option<Duration>) -> Result<Option<Box<Slot>>, Over> {
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
    fn go_away(&self) -> Option<Box<Slot>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, Waiting::GoneAway) {
            Waiting::Done(slot) => Some(slot),
            _ => None,
        }
    }
}

/// The promise of one report. Dropping it lets the report go the usual way (callback or poll).
pub struct Ticket {
    pub(crate) id: u64,
    pub(crate) waiter: Arc<Waiter>,
    pub(crate) desk: Arc<Desk>,
}

impl Ticket {
    /// The message's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    fn one(&self, slot: Box<Slot>) -> Reports {
        let taker = self.desk.hand_out_ticket();
        Reports { slots: vec![slot], room: false, taker, desk: Some(Arc::clone(&self.desk)), lent: false }
    }

    /// The report, if it is here. It comes once.
    #[must_use]
    pub fn try_take(&self) -> Option<Reports> {
        if sys::forked() {
            return None;
        }
        self.waiter.take().map(|slot| self.one(slot))
    }

    /// Waits for the report. `None` waits without limit.
    ///
    /// # Errors
    /// `TimedOut`: the ticket is still good. `InvalidState`: the report was taken before. `WrongThread` from a callback; `Forked`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Reports> {
        crate::publisher::guard()?;
        crate::admission::not_in_callback("wait")?;
        match self.waiter.wait(timeout) {
            Ok(Some(slot)) => Ok(self.one(slot)),
            Ok(None) => Err(Error::new(Status::InvalidState, format!("the report of message {} was taken before", self.id))),
            Err(over) => {
                Err(over.error(|| Error::new(Status::TimedOut, format!("message {} has no outcome yet; it stays pending{}", self.id, self.desk.standing()))))
            }
        }
    }

    /// Waits, and lets the report go the usual way if the time runs out.
    pub(crate) fn wait_or_leave(self, timeout: Option<Duration>) -> Result<Reports> {
        let over = match self.waiter.wait(timeout) {
            Ok(Some(slot)) => return Ok(self.one(slot)),
            Ok(None) => Over::TimeUp,
            Err(over) => over,
        };
        let late = || {
            Error::new(
                Status::TimedOut,
                format!("message {} has no outcome yet; it stays pending and its report goes the usual way{}", self.id, self.desk.standing()),
            )
        };
        self.waiter.go_away().map(|slot| self.one(slot)).ok_or_else(|| over.error(late))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if sys::forked() {
            return;
        }
        if let Some(slot) = self.waiter.go_away() {
            self.desk.take_from_ticket(slot);
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("id", &self.id).finish_non_exhaustive()
    }
}
