//! Takers: which streams acknowledged a rule's messages.
//!
//! Whose word counts follows from it. A refusal is proof only if no other stream can have taken the message, and a message that nobody takes has no stream only if
//! the server that says so could know.

use std::sync::Arc;

use crate::ledger::slot::StreamId;

/// The most streams that a rule remembers; beyond, it has "several".
const MOST: usize = 8;

/// What is known of a rule's streams.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) takers: Takers,
    /// The stream that it names has none of its topics among its subjects: it is reached under another name.
    pub(super) reached_otherwise: bool,
    /// So many more acks are looked at: does the stream, which was described, have their topics among its own subjects?
    pub(super) to_look_at: u32,
    /// Somebody was told that the window is not known.
    pub(super) told_unknown: bool,
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
    stream: Arc<StreamId>,
    /// It is reached under another name: its own subjects do not have the topic that it took. So the server cannot tell by the topic who takes it.
    indirect: bool,
}

impl Taker {
    pub(crate) fn stream(&self) -> &Arc<StreamId> {
        &self.stream
    }

    pub(crate) fn name(&self) -> &str {
        self.stream.name()
    }

    pub(crate) fn is_indirect(&self) -> bool {
        self.indirect
    }
}

impl Takers {
    pub(super) const fn none() -> Self {
        Takers { list: Vec::new(), several: false }
    }

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
    pub(super) fn find(&self, stream: &str, domain: &str) -> Option<&Taker> {
        self.list.iter().find(|taker| taker.stream.is(stream, domain))
    }

    /// A stream that is not among them acknowledged.
    pub(super) fn add(&mut self, stream: Arc<StreamId>) {
        if self.list.len() < MOST {
            self.list.push(Taker { stream, indirect: false });
        } else {
            self.several = true;
        }
    }

    /// The topic that this stream took is none of its own subjects.
    pub(super) fn mark_indirect(&mut self, stream: &str) {
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
