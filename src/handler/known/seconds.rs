//! Seconds: whether a second stream may take what one acknowledged or refused.
//!
//! A refusal is proof that a message was not stored only if no other stream can have taken it (P2, whose word). Two take a topic where a leaf node and its hub both have a
//! stream for it, and where one is imported beside an own one. Their names may be equal, and refusals carry no domain. So second answers are listened to, of whichever kind:
//! a late ack of another stream or domain, and of some messages each further answer to what was acknowledged.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ledger::slot::StreamId;

/// Second takers that are remembered (P9).
const MOST_SECOND: usize = 8;
/// Names that two streams have (P9). Beyond, every name may.
const MOST_TWINS: usize = 64;
/// Topics of which it is remembered whether the local store takes them (P9).
const MOST_LOCAL: usize = 1024;
/// Messages of which a further answer would be noticed.
const MOST_ACKED: usize = 64;

/// What is known of second takers.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    /// Streams that acknowledged a second time what another had acknowledged before, and no message first: some rule has two takers.
    late: Vec<Arc<StreamId>>,
    /// Names that two streams have.
    twins: Vec<Box<str>>,
    /// Some messages that were sent once and acknowledged: their ids in tokens. A ring.
    acked: Vec<u64>,
    next: usize,
    /// Whether the store of the server that we are connected to takes these topics too. `None`: it was asked.
    local: HashMap<Box<str>, Option<bool>>,
}

impl Seconds {
    /// This stream was the first to acknowledge a message.
    pub(super) fn is_a_first_taker(&mut self, id: &StreamId) {
        self.late.retain(|second| **second != *id);
    }

    /// This stream acknowledged a message late that another had acknowledged, and none first.
    pub(super) fn add_late(&mut self, stream: &str, domain: &str) {
        if self.late.len() < MOST_SECOND && !self.late.iter().any(|id| id.is(stream, domain)) {
            self.late.push(Arc::new(StreamId::new(stream, domain)));
        }
    }

    /// No stream of another name acknowledged late.
    pub(super) fn are_all_named(&self, stream: &str) -> bool {
        self.late.iter().all(|id| id.name() == stream)
    }

    pub(super) fn add_twin(&mut self, name: &str) {
        if self.twins.len() < MOST_TWINS && !self.twins.iter().any(|twin| **twin == *name) {
            self.twins.push(name.into());
        }
    }

    pub(super) fn are_two(&self, name: &str) -> bool {
        self.twins.len() >= MOST_TWINS || self.twins.iter().any(|twin| **twin == *name)
    }

    /// A message that was sent once was acknowledged.
    pub(super) fn remember(&mut self, id: u64) {
        if self.acked.len() < MOST_ACKED {
            self.acked.push(id);
        } else if let Some(oldest) = self.acked.get_mut(self.next) {
            *oldest = id;
            self.next = (self.next + 1) % MOST_ACKED;
        }
    }

    pub(super) fn remembers(&self, id: u64) -> bool {
        self.acked.contains(&id)
    }

    // ---- The local store ----

    pub(super) fn forget_local(&mut self) {
        self.local.clear();
    }

    /// Whether the local store is to be asked about this topic: once.
    pub(super) fn asks_local(&mut self, topic: &str) -> bool {
        if self.local.contains_key(topic) {
            return false;
        }
        if self.local.len() >= MOST_LOCAL {
            self.local.clear();
        }
        self.local.insert(topic.into(), None);
        true
    }

    /// What it answered. `None`: not yet.
    pub(super) fn takes_locally(&self, topic: &str) -> Option<bool> {
        self.local.get(topic).copied().flatten()
    }

    /// `None`: it gave no usable answer, and is asked again when that is needed.
    pub(super) fn learn_local(&mut self, topic: Box<str>, takes: Option<bool>) {
        match takes {
            Some(takes) => self.local.insert(topic, Some(takes)),
            None => self.local.remove(&topic),
        };
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn size(&self) -> usize {
        self.local.len()
    }
}
