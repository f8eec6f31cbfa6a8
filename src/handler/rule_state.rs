//! Rule state: what is known of a topic rule at work: its gate, its places in flight, and which streams acknowledged its messages.
//!
//! Whose word counts follows from it. A refusal is proof only if no other stream can have taken the message, and a message that nobody takes has no stream only if
//! the server that says so could know.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ledger::slot::StreamId;

/// The most streams that a rule remembers; beyond, it has "several".
const MOST: usize = 8;

/// What is known of a rule.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    /// The gate that all its messages pass.
    pub(crate) gate: Option<u32>,
    /// Its `in_flight` key.
    pub(crate) limit: Option<usize>,
    /// Its messages that were sent and are not settled. Counted while there is a limit.
    pub(crate) in_flight: usize,
    /// Those that wait for a place, at whatever gate, by id. Kept while there is a limit.
    pub(crate) wanting: BTreeMap<u64, u32>,
    /// Messages of the rule wait, of which some lent their places and others may have kept theirs.
    pub(crate) lends: bool,
    /// It has a line of its own for a while, since all its places are taken by messages in trouble.
    pub(crate) aside: bool,
    pub(crate) takers: Takers,
    /// The stream that it names has none of its topics among its subjects: it is reached under another name.
    pub(crate) reached_otherwise: bool,
    /// So many more acks are looked at: does the stream, which was described, have their topics among its own subjects?
    pub(crate) to_look_at: u32,
    /// Its first message on this connection was seen.
    pub(crate) met: bool,
    /// It names neither a stream nor a limit: without trouble its messages pass no gate.
    pub(crate) plain: bool,
    /// Somebody was told that the window is not known.
    pub(crate) told_unknown: bool,
}

impl RuleState {
    /// This message may be sent. With a limit of one the oldest comes first, whatever its topic: then nothing is ever overtaken (P10).
    pub(crate) fn has_place(&self, id: u64) -> bool {
        self.limit.is_none_or(|limit| self.in_flight < limit && (limit > 1 || self.wanting.first_key_value().is_none_or(|(&first, _)| id <= first)))
    }
}

/// The streams that acknowledged a rule's messages.
#[derive(Debug, Default)]
pub(crate) struct Takers {
    list: Vec<Taker>,
    /// More than are remembered.
    several: bool,
}

/// A stream that acknowledged messages of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Taker {
    pub(crate) stream: Arc<StreamId>,
    /// It is reached under another name: its own subjects do not have the topic that it took. So the server cannot tell by the topic who takes it.
    pub(crate) indirect: bool,
}

impl Takers {
    /// Nothing of the rule was ever acknowledged.
    pub(crate) fn are_none(&self) -> bool {
        self.list.is_empty()
    }

    /// The only stream that ever acknowledged.
    pub(crate) fn only(&self) -> Option<&Taker> {
        match &*self.list {
            [only] if !self.several => Some(only),
            _ => None,
        }
    }

    /// All that are remembered.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Taker> {
        self.list.iter()
    }

    /// More streams acknowledged than are remembered.
    pub(crate) fn are_several(&self) -> bool {
        self.several
    }

    #[inline(always)]
    pub(crate) fn find(&self, stream: &str, domain: &str) -> Option<&Taker> {
        self.list.iter().find(|taker| taker.stream.is(stream, domain))
    }

    /// A stream that is not among them acknowledged.
    pub(crate) fn add(&mut self, stream: Arc<StreamId>) {
        if self.list.len() < MOST {
            self.list.push(Taker { stream, indirect: false });
        } else {
            self.several = true;
        }
    }

    /// The topic that this stream took is none of its own subjects.
    pub(crate) fn mark_indirect(&mut self, stream: &str) {
        for taker in self.list.iter_mut().filter(|taker| taker.stream.name() == stream) {
            taker.indirect = true;
        }
    }

    /// The first one of this name.
    pub(crate) fn of_name(&self, stream: &str) -> Option<&Taker> {
        self.list.iter().find(|taker| taker.stream.name() == stream)
    }

    /// Whether a refusal by the stream of this name is about the only copy that there can be. Two streams of one name in two domains are two: refusals carry no domain.
    pub(crate) fn allow_proof(&self, stream: &str) -> bool {
        self.list.len() <= 1 && self.list.iter().all(|taker| taker.stream.name() == stream)
    }
}
