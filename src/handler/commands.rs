//! Commands: what users ask of a running publisher, flush, purge, other rules and close, and how it ends.

use super::Handler;
use crate::base::error::{Error, Status};
use crate::bus::lane::Command;
use crate::bus::standing::Purge;
use crate::desk::events::{Event, EventKind};
use crate::ledger::slot::Stage;

impl Handler {
    pub(super) fn obey(&mut self) {
        let mut commands = self.calls.take_commands(&self.here);
        if !commands.is_empty() {
            // What was accepted before the call counts (P6); it may have come in since this turn's intake.
            self.intake();
        }
        for command in commands.drain(..) {
            match command {
                Command::Flush(ticket) => {
                    let left = self.line.iter().filter(|slot| slot.id <= ticket.upto).count();
                    self.calls.begin_flush(ticket, left);
                }
                Command::Purge { what, ticket } => {
                    let count = self.purge(what);
                    self.hand_over();
                    ticket.done(count);
                }
                Command::Rules(rules) => self.take_rules(rules),
                Command::Close { timeout } => {
                    self.calls.begin_closing(self.here.now().saturating_add(timeout));
                }
                Command::Fail(error) => self.calls.note_failure(error),
            }
        }
        self.calls.keep(commands);
    }

    /// The publisher is beyond repair: everything is settled, publishes return the cause. The lane where it began tells of it.
    pub(crate) fn fail(&mut self, error: &Error) {
        let error = error.clone().into_fatal();
        if self.here.shared().fail(&error) {
            self.event(EventKind::Failed, error.status(), 0, "", error.message());
        }
        self.intake();
        self.end_all(&error);
        self.hand_over();
    }

    /// Settles pending messages. Returns how many.
    fn purge(&mut self, what: Purge) -> u64 {
        let chosen = self.line.chosen(|s| match s.stage {
            Stage::Queued | Stage::Gated | Stage::Backoff => what.unsent,
            Stage::Staged | Stage::InFlight | Stage::Fencing => what.in_flight,
            Stage::Settled => false,
        });
        for &slot in &chosen {
            self.settle_unanswered(slot, Status::Purged, 0, "the message was purged".to_owned());
            self.carry_out();
        }
        chosen.len() as u64
    }

    /// Nothing is left to wait for, or `close`'s time is over.
    pub(crate) fn may_end(&mut self) -> bool {
        if !self.calls.are_closing() {
            return false;
        }
        if let Some(error) = self.calls.overdue_close(self.here.now()) {
            self.intake();
            self.end_all(&error);
            self.hand_over();
        }
        self.intake();
        // One that enters the line after this look would be settled although there is time left to send it.
        self.line.len() == 0 && self.here.lane().queue.shut_if_empty()
    }

    /// Settles whatever is left, for this reason.
    pub(crate) fn end_all(&mut self, error: &Error) {
        for slot in self.line.chosen(|_| true) {
            self.settle_unanswered(slot, error.status(), error.server_code(), error.message().to_owned());
            self.carry_out();
        }
    }

    /// Settles whatever came in meanwhile and was left (P1), and answers who waits.
    pub(crate) fn settle_all(&mut self, error: &Error) {
        for slot in self.here.lane().queue.shut() {
            self.line.keep(slot);
        }
        self.end_all(error);
        self.hand_over();
        self.finish_commands();
    }

    /// Why the publisher has failed, if another lane said so. Told once.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.calls.take_failure()
    }

    /// The I/O thread ends: who waits for it must not wait for ever.
    pub(crate) fn finish_commands(&mut self) {
        self.obey();
        self.hand_over();
    }

    /// The last event of a publisher.
    pub(crate) fn ended_event(&self) -> Event {
        let text = self.here.shared().last_error().map_or_else(String::new, |error| format!("last error: {}", error.message()));
        Event { server: self.here.server().to_owned(), time_unix_ns: self.here.shared().clock.unix_nanos(), ..Event::new(EventKind::Closed, text) }
    }
}
