//! Commands: what users ask of a running publisher, flush, purge, other rules and close, and how it ends.

use std::sync::Arc;

use super::Handler;
use crate::base::error::{Error, Status};
use crate::base::time::Nanos;
use crate::bus::lane::{Command, FlushTicket};
use crate::bus::standing::Purge;
use crate::desk::events::{Event, EventKind};
use crate::ledger::slot::Stage;

/// A `flush` under way.
pub(crate) struct Flush {
    pub(crate) upto: u64,
    pub(crate) left: usize,
    pub(crate) ticket: Arc<FlushTicket>,
}

/// A `close` under way.
pub(crate) struct Closing {
    pub(crate) at: Nanos,
    pub(crate) error: Error,
}

impl Handler {
    pub(super) fn obey(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        self.lane.take_commands(&mut commands);
        if !commands.is_empty() {
            // What was accepted before the call counts (P6); it may have come in since this turn's intake.
            self.intake();
        }
        for command in commands.drain(..) {
            match command {
                Command::Flush(ticket) => self.begin_flush(ticket),
                Command::Purge { what, ticket } => {
                    let count = self.purge(what);
                    self.hand_over();
                    ticket.done(count);
                }
                Command::Rules(rules) => self.take_rules(rules),
                Command::Close { timeout } => {
                    let at = self.now.saturating_add(timeout);
                    let earlier = self.closing.as_ref().map_or(Nanos::MAX, |c| c.at);
                    let error = Error::new(Status::Closed, "the publisher was closed before the outcome was known");
                    self.closing = Some(Closing { at: at.min(earlier), error });
                }
                Command::Fail(error) => self.failed = Some(error),
            }
        }
        self.commands = commands;
    }

    fn begin_flush(&mut self, ticket: Arc<FlushTicket>) {
        // Flushes whose time ran out: nobody waits for them any more (P9).
        self.flushes.retain(|flush| Arc::strong_count(&flush.ticket) > 1);
        let upto = ticket.upto;
        let left = self.table.iter().filter(|slot| slot.id <= upto).count();
        self.flushes.push(Flush { upto, left, ticket });
    }

    /// The publisher is beyond repair: everything is settled, publishes return the cause. The lane where it began tells of it.
    pub(crate) fn fail(&mut self, error: &Error) {
        let error = error.clone().into_fatal();
        if self.shared.fail(&error) {
            self.event(EventKind::Failed, error.status(), 0, "", error.message());
        }
        self.intake();
        self.end_all(&error);
        self.hand_over();
    }

    /// Pending messages with this stage, for `purge`.
    fn purge(&mut self, what: Purge) -> u64 {
        let mut chosen: Vec<(u64, u32)> = self
            .table
            .iter()
            .filter(|s| match s.stage {
                Stage::Queued | Stage::Gated | Stage::Backoff => what.unsent,
                Stage::Staged | Stage::InFlight | Stage::Fencing => what.in_flight,
                Stage::Settled => false,
            })
            .map(|s| (s.id, s.index))
            .collect();
        chosen.sort_unstable();
        let count = chosen.len() as u64;
        for (_, slot) in chosen {
            self.settle_unanswered(slot, Status::Purged, 0, "the message was purged");
        }
        count
    }

    /// Nothing is left to wait for, or `close`'s time is over.
    pub(crate) fn may_end(&mut self) -> bool {
        let Some(closing) = &self.closing else { return false };
        if self.now >= closing.at {
            let error = closing.error.clone();
            self.intake();
            self.end_all(&error);
            self.hand_over();
        }
        self.intake();
        // One that enters the line after this look would be settled although there is time left to send it.
        self.table.len() == 0 && self.lane.queue.shut_if_empty()
    }

    /// Settles whatever is left, for this reason.
    pub(crate) fn end_all(&mut self, error: &Error) {
        let mut left: Vec<(u64, u32)> = self.table.iter().map(|slot| (slot.id, slot.index)).collect();
        left.sort_unstable();
        for (_, slot) in left {
            self.settle_unanswered(slot, error.status(), error.server_code(), error.message());
        }
    }

    /// The I/O thread ends: who waits for it must not wait for ever.
    pub(crate) fn finish_commands(&mut self) {
        self.obey();
        self.hand_over();
    }

    /// The last event of a publisher.
    pub(crate) fn ended_event(&self) -> Event {
        let text = self.shared.last_error().map_or_else(String::new, |error| format!("last error: {}", error.message()));
        Event { server: self.server.clone(), time_unix_ns: self.shared.clock.unix_nanos(), ..Event::new(EventKind::Closed, text) }
    }
}
