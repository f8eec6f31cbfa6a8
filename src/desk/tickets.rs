//! Batches of reports in users' hands, and tickets: the promise of one report.

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use crate::base::calls::{guard, may_enter, not_in_callback};
use crate::base::error::{Error, Result, Status};
use crate::base::sys;
use crate::base::wait::Over;
use crate::desk::callback::enter_with_reports;
use crate::desk::dispatch::{Desk, Polled};
use crate::desk::report::Report;
use crate::ledger::slot::{Slot, Waiter};

/// A batch of reports. Owns the messages; dropping it gives their places back to the window. May outlive the publisher.
pub struct Reports {
    pub(crate) slots: Vec<Box<Slot>>,
    room: bool,
    /// Who took it, and is expected to give it back.
    taker: ThreadId,
    desk: Option<Arc<Desk>>,
    /// Their places went to a callback.
    lent: bool,
}

impl Reports {
    /// Takes reports from the desk in poll mode.
    pub(crate) fn poll(desk: &Arc<Desk>, max: usize, timeout: Option<Duration>) -> Result<Self> {
        let Polled { slots, room, taker } = desk.poll(max, timeout)?;
        Ok(Reports { slots, room, taker, desk: Some(Arc::clone(desk)), lent: false })
    }

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
        may_enter()?;
        if self.lent {
            return Err(Error::new(Status::InvalidState, "these reports were handled in a callback before"));
        }
        if let Some(desk) = &self.desk {
            enter_with_reports(desk, &self.slots);
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
        guard()?;
        not_in_callback("wait")?;
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
