//! Calls: what users asked for and is not done: flushes, a close, and what their mailbox held.

use std::sync::Arc;

use crate::base::error::{Error, Status};
use crate::base::time::Nanos;
use crate::bus::lane::{Command, FlushTicket};
use crate::handler::here::Here;

/// What was asked and is not done.
#[derive(Default)]
pub(crate) struct Calls {
    flushes: Vec<Flush>,
    closing: Option<Closing>,
    /// Another lane has failed, and with it the publisher.
    failed: Option<Error>,
    // Kept for its memory.
    commands: Vec<Command>,
}

/// A `flush` under way.
struct Flush {
    upto: u64,
    left: usize,
    ticket: Arc<FlushTicket>,
}

/// A `close` under way.
struct Closing {
    at: Nanos,
    error: Error,
}

impl Calls {
    /// What the lane's mailbox holds. The list comes back by [`keep`](Self::keep).
    #[inline(always)]
    pub(super) fn take_commands(&mut self, here: &Here) -> Vec<Command> {
        let mut commands = std::mem::take(&mut self.commands);
        here.lane().take_commands(&mut commands);
        commands
    }

    #[inline(always)]
    pub(super) fn keep(&mut self, commands: Vec<Command>) {
        self.commands = commands;
    }

    // ---- Failure ----

    pub(super) fn note_failure(&mut self, error: Error) {
        self.failed = Some(error);
    }

    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    // ---- Flush ----

    /// A message has its outcome: flushes that count it have one less to wait for.
    #[inline(always)]
    pub(super) fn note_settled(&mut self, id: u64) {
        for flush in &mut self.flushes {
            if id <= flush.upto {
                flush.left = flush.left.saturating_sub(1);
            }
        }
    }

    #[inline(always)]
    pub(super) fn answer_flushes(&mut self, here: &Here) {
        if !self.flushes.is_empty() {
            let desk = &here.shared().desk;
            self.flushes.retain(|flush| {
                if flush.left == 0 {
                    flush.ticket.done(desk.pushed());
                }
                flush.left > 0
            });
        }
    }

    pub(super) fn begin_flush(&mut self, ticket: Arc<FlushTicket>, left: usize) {
        // Flushes whose time ran out: nobody waits for them any more (P9).
        self.flushes.retain(|flush| Arc::strong_count(&flush.ticket) > 1);
        self.flushes.push(Flush { upto: ticket.upto, left, ticket });
    }

    // ---- Close ----

    pub(super) fn are_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// The reason for what is left, once `close`'s time is over.
    pub(super) fn overdue_close(&self, now: Nanos) -> Option<Error> {
        self.closing.as_ref().filter(|closing| now >= closing.at).map(|closing| closing.error.clone())
    }

    /// When `close`'s time is over.
    #[inline(always)]
    pub(super) fn close_at(&self) -> Nanos {
        self.closing.as_ref().map_or(Nanos::MAX, |closing| closing.at)
    }

    pub(super) fn begin_closing(&mut self, at: Nanos) {
        let error = Error::new(Status::Closed, "the publisher was closed before the outcome was known");
        self.closing = Some(Closing { at: at.min(self.close_at()), error });
    }

    #[cfg(test)]
    pub(super) fn flushes(&self) -> usize {
        self.flushes.len()
    }
}
