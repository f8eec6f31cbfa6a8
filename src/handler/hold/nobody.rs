//! Nobody: the topics that no stream takes, by the API's word, and until when that is believed.

use std::collections::HashMap;

use crate::base::time::Nanos;

/// How long the API's word that no stream takes a topic is believed.
pub(super) const NOBODY_FOR: Nanos = 250_000_000;
/// Topics of which that is remembered (P9).
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Nobody {
    topics: HashMap<Box<str>, Nanos>,
    /// The latest of those times: after it nothing is looked up.
    until: Nanos,
}

impl Nobody {
    /// For a moment each further message that finds nobody is proof enough: a service that publishes 3,000 messages a second to no stream must not ask as often. The
    /// messages still go, so the first one after the stream's creation is stored.
    pub(super) fn remember(&mut self, topic: &str, now: Nanos) {
        if self.topics.len() >= MOST {
            self.topics.clear();
        }
        self.until = now + NOBODY_FOR;
        self.topics.insert(topic.into(), self.until);
    }

    /// The API said so a moment ago, and is still believed.
    pub(super) fn takes(&self, topic: &str, now: Nanos) -> bool {
        self.topics.get(topic).is_some_and(|&until| now < until)
    }

    /// Something is remembered that may still be believed.
    #[inline(always)]
    pub(super) fn is_remembered(&self, now: Nanos) -> bool {
        now < self.until
    }

    /// A message to this topic was stored: somebody takes it.
    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}
