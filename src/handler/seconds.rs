//! Seconds: whether a second stream may take what one acknowledged or refused.
//!
//! A refusal is proof that a message was not stored only if no other stream can have taken it (P2, whose word). Two take a topic where a leaf node and its hub both have a
//! stream for it, and where one is imported beside an own one. Their names may be equal, and refusals carry no domain. So second answers are listened to, of whichever kind:
//! a late ack of another stream or domain, and of some messages each further answer to what was acknowledged.

use std::collections::HashMap;
use std::sync::Arc;

use crate::handler::Handler;
use crate::ledger::slot::StreamId;
use crate::wire::{StreamAnswer, Verdict};

/// Second takers that are remembered (P9).
const MOST_SECOND: usize = 8;
/// Names that two streams have (P9). Beyond, every name may.
const MOST_TWINS: usize = 64;
/// Topics of which it is remembered whether the local JetStream takes them (P9).
const MOST_LOCAL: usize = 1024;
/// Messages of which a further answer would be noticed.
const MOST_ACKED: usize = 64;

/// What is known of second takers.
#[derive(Debug, Default)]
pub(crate) struct Seconds {
    /// Streams that acknowledged a second time what another had acknowledged before, and no message first: some rule has two takers.
    late: Vec<Arc<StreamId>>,
    /// Names that two streams have.
    twins: Vec<Box<str>>,
    /// Some messages that were sent once and acknowledged: their ids in tokens. A ring.
    acked: Vec<u64>,
    next: usize,
    /// Whether the JetStream of the server that we are connected to takes these topics too. `None`: it was asked.
    local: HashMap<Box<str>, Option<bool>>,
}

impl Seconds {
    /// This stream was the first to acknowledge a message.
    pub(crate) fn is_a_first_taker(&mut self, id: &StreamId) {
        self.late.retain(|second| **second != *id);
    }

    pub(crate) fn add_twin(&mut self, name: &str) {
        if self.twins.len() < MOST_TWINS && !self.twins.iter().any(|twin| **twin == *name) {
            self.twins.push(name.into());
        }
    }

    fn are_two(&self, name: &str) -> bool {
        self.twins.len() >= MOST_TWINS || self.twins.iter().any(|twin| **twin == *name)
    }

    /// A message that was sent once was acknowledged.
    pub(crate) fn remember(&mut self, id: u64) {
        if self.acked.len() < MOST_ACKED {
            self.acked.push(id);
        } else if let Some(oldest) = self.acked.get_mut(self.next) {
            *oldest = id;
            self.next = (self.next + 1) % MOST_ACKED;
        }
    }

    fn remembers(&self, id: u64) -> bool {
        self.acked.contains(&id)
    }

    pub(crate) fn forget_local(&mut self) {
        self.local.clear();
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn size(&self) -> usize {
        self.local.len()
    }
}

impl Handler {
    /// An answer for a message that is settled.
    pub(crate) fn hear_late(&mut self, id: u64, verdict: &Verdict<'_>) {
        let known = &mut self.known;
        match verdict {
            // The stream that acknowledged first remembers the id.
            Verdict::Stored { duplicate: true, .. } | Verdict::Alien => {}
            Verdict::Stored { stream, domain, .. } => {
                let (was_first, has_namesake) = known.was_first(stream, domain);
                // Of one name, and even with the same sequence: a stream acknowledges an attempt once.
                if has_namesake || known.seconds.remembers(id) {
                    known.seconds.add_twin(stream);
                }
                let late = &mut known.seconds.late;
                if !was_first && late.len() < MOST_SECOND && !late.iter().any(|id| id.is(stream, domain)) {
                    late.push(Arc::new(StreamId::new(stream, domain)));
                }
            }
            Verdict::Refused(refusal) => {
                if let Some(stream) = &refusal.stream
                    && known.seconds.remembers(id)
                {
                    known.seconds.add_twin(stream);
                }
            }
        }
    }

    /// Whether a refusal by this stream proves that a message of the rule was not stored: no other can have taken it, as far as acks tell.
    pub(crate) fn is_only_taker(&mut self, rule: u32, stream: &str) -> bool {
        let (named, seconds) = (self.rules.get(rule).stream.is_some(), &self.known.seconds);
        (named || seconds.late.iter().all(|id| id.name() == stream)) && !seconds.are_two(stream) && self.gates.rule(rule).takers.allow_proof(stream)
    }

    /// Whether the JetStream that is asked is that of another domain than the server's.
    fn asks_elsewhere(&self) -> bool {
        self.shared.settings.jetstream_domain.as_ref().is_some_and(|domain| *domain != self.known.domain)
    }

    /// With the JetStream of another domain the local one may take a topic too, and refuse it under an equal stream name: refusals carry no domain. So it is asked.
    pub(crate) fn ask_local(&mut self, topic: &str) {
        if !self.asks_elsewhere() || self.known.seconds.local.contains_key(topic) || !self.online {
            return;
        }
        if self.known.seconds.local.len() >= MOST_LOCAL {
            self.known.seconds.local.clear();
        }
        self.known.seconds.local.insert(topic.into(), None);
        self.ask_who_takes_here(topic);
    }

    /// Whether only one JetStream can have refused a message to this topic. While the local one has not said that it takes none, nothing is proven.
    pub(crate) fn has_one_jetstream(&mut self, topic: &str) -> bool {
        if !self.asks_elsewhere() {
            return true;
        }
        self.ask_local(topic);
        matches!(self.known.seconds.local.get(topic), Some(Some(false)))
    }

    pub(crate) fn learn_local(&mut self, topic: Box<str>, answer: &StreamAnswer) {
        let takes = match answer {
            // A server with a domain has a JetStream: that nobody answers for it now proves nothing.
            StreamAnswer::Disabled { nobody, .. } => nobody.is_some() && !self.known.domain.is_empty(),
            StreamAnswer::None { .. } => false,
            StreamAnswer::Exists { .. } | StreamAnswer::Denied | StreamAnswer::Refused { .. } | StreamAnswer::Condition { .. } => true,
            StreamAnswer::Unavailable { .. } => {
                self.known.seconds.local.remove(&topic);
                return;
            }
        };
        self.known.seconds.local.insert(topic, Some(takes));
    }
}
