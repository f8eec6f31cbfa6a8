//! Orders: what rooms want done by others. Rooms do not call each other: they write it down, and the handler carries it out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::error::Status;
use crate::base::level::Level;
use crate::base::time::Nanos;
use crate::desk::events::EventKind;
use crate::handler::asking::{About, What};
use crate::handler::hold::gates::Key;
use crate::ledger::refusal::Refusal;
use crate::ledger::slot::StreamId;
use crate::wire::{Question, StreamAnswer};

/// One thing to do.
#[derive(Debug)]
pub(super) enum Order {
    /// The message has its outcome.
    Settle { slot: u32, ending: Ending },
    /// The message gets no (further) answer. What is under way stays in doubt.
    Unanswered { slot: u32, status: Status, server_code: u32, text: String },
    /// A question for the server.
    Ask { what: What, about: About, question: Question, give_up_at: Nanos },
    /// Whether the local store takes the topic too is to be known.
    AskLocal { topic: String },
    /// An event, which also goes to the log.
    Tell(News),
    /// For the log alone.
    Log(Level, String),
    /// Messages of the rule may use their share of the window only; or all of it again.
    CloseRule { rule: u32, closed: bool },
    /// The same for a topic.
    CloseTopic { topic: Box<str>, closed: bool },
    /// The gate takes messages again: what was wrong there is over. `in_doubt`: some of those that waited may be stored.
    Opened { key: Key, was_held: bool, in_doubt: bool },
    /// The carrier's store of messages is not there: whoever waits in vain is told so.
    NothingStores { topic: String, text: String },
    /// What is known of why messages at this gate are not stored; the rest is asked.
    Explain { key: Key, topic: String, known: StreamAnswer },
    /// The message may not be sent again, for this reason: what was last known of it is told.
    TooLate { slot: u32, why: String },
    /// One attempt was refused.
    Refused { slot: u32, refusal: Refusal },
    /// Errors under this mark may prove more, now that some are explained.
    Weigh { epoch: u32, mark: u64 },
    /// The mark is explained: who waited for its fence goes again.
    Fenced,
}

/// Something for operators.
#[derive(Debug)]
pub(super) struct News {
    pub(super) kind: EventKind,
    pub(super) status: Status,
    pub(super) value: u64,
    pub(super) topic: String,
    pub(super) text: String,
}

/// How a message ends, but for the doubt that earlier attempts left.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(super) status: Status,
    pub(super) server_code: u32,
    pub(super) text: Option<String>,
    pub(super) stored: Option<(Arc<StreamId>, u64)>,
    pub(super) flags: u8,
}

impl Ending {
    /// Not stored by the last attempt, or never sent.
    pub(super) fn definite(status: Status, server_code: u32, text: impl Into<String>) -> Self {
        Ending { status, server_code, text: Some(text.into()), stored: None, flags: 0 }
    }

    /// Stored.
    #[inline(always)]
    pub(super) fn stored(stream: Arc<StreamId>, seq: u64, flags: u8) -> Self {
        Ending { status: Status::Ok, server_code: 0, text: None, stored: Some((stream, seq)), flags }
    }

    /// Written, and that is all.
    pub(super) fn written(flags: u8) -> Self {
        Ending { status: Status::Ok, server_code: 0, text: None, stored: None, flags }
    }

    /// Not stored, in the words of its last refusal.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::definite(refusal.status, refusal.server_code, refusal.text)
    }
}

/// Orders that are not carried out yet, in their order.
#[derive(Debug, Default)]
pub(super) struct Orders(VecDeque<Order>);

impl Orders {
    pub(super) fn push(&mut self, order: Order) {
        self.0.push_back(order);
    }

    pub(super) fn tell(&mut self, kind: EventKind, status: Status, value: u64, topic: &str, text: impl Into<String>) {
        self.push(Order::Tell(News { kind, status, value, topic: topic.to_owned(), text: text.into() }));
    }

    pub(super) fn settle(&mut self, slot: u32, ending: Ending) {
        self.push(Order::Settle { slot, ending });
    }

    pub(super) fn settle_unanswered(&mut self, slot: u32, status: Status, server_code: u32, text: impl Into<String>) {
        self.push(Order::Unanswered { slot, status, server_code, text: text.into() });
    }

    /// What is known of why messages at this gate are not stored goes to whoever explains it.
    pub(super) fn explain(&mut self, key: Key, topic: &str, known: StreamAnswer) {
        self.push(Order::Explain { key, topic: topic.to_owned(), known });
    }

    #[inline(always)]
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The next order, and those behind it, which wait until its own consequences are carried out.
    pub(super) fn take_first(&mut self) -> Option<(Order, Orders)> {
        let first = self.0.pop_front()?;
        Some((first, std::mem::take(self)))
    }

    /// What waited goes on behind what came in between.
    pub(super) fn then(&mut self, mut later: Orders) {
        self.0.append(&mut later.0);
    }
}
