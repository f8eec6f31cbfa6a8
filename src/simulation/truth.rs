//! What really happened at the server: the ground truth that the publisher's reports are compared with.

use std::collections::BTreeMap;

/// Everything the model server knows. Times are virtual nanoseconds; lists are in the order of the events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Every complete frame with a reply subject that the network took from the client, read by the server or not.
    pub(crate) attempts: Vec<Attempt>,
    /// Every message that a stream holds.
    pub(crate) copies: Vec<StoredCopy>,
    /// Every frame without a reply subject that the server read.
    pub(crate) ephemeral: Vec<Ephemeral>,
    /// Every request to the JetStream API: when, and its subject.
    pub(crate) api_requests: Vec<(u64, String)>,
    /// Every breach of the protocol by the client. One is enough to fail a test.
    pub(crate) breaches: Vec<String>,
    /// The subjects of each stream that ever existed.
    pub(crate) streams: BTreeMap<String, Vec<String>>,
    /// PINGs of the server that the client had ten seconds to answer and did not.
    pub(crate) unanswered_pings: usize,
}

/// One sending of a message.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) conn: u64,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) msg_id: Option<String>,
    /// When the network took the first and the last byte of the frame.
    pub(crate) first_byte: u64,
    pub(crate) last_byte: u64,
    /// When the server read the frame; never, if the connection ended before.
    pub(crate) processed: Option<u64>,
    pub(crate) effect: Effect,
    /// What the server answers to it, and when the client had read that. Damaged replies tell nothing.
    pub(crate) told: Told,
    pub(crate) answered: Option<u64>,
    /// When the client had read the PONG of a PING that went behind this attempt on the same connection.
    pub(crate) fenced: Option<u64>,
}

/// What an attempt did at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Lost with its connection, in front of the server.
    Unread,
    /// Proposed to the stream's replicas, not yet decided.
    Proposed,
    /// The stream holds it now.
    Stored { stream: String, seq: u64 },
    /// The stream held it already.
    Duplicate { stream: String, seq: u64 },
    /// Refused, denied or swallowed: why.
    NotStored(String),
}

/// What an answer says to those who can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Ack,
    /// Proves that the attempt was not stored.
    Refused,
    /// Leaves it open.
    Unclear,
    /// An -ERR, which names the subject but no message.
    Denied,
}

/// One message in a stream.
#[derive(Clone, Debug)]
pub(crate) struct StoredCopy {
    pub(crate) stream: String,
    pub(crate) seq: u64,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) msg_id: Option<String>,
    pub(crate) at: u64,
    pub(crate) conn: u64,
}

/// One message that asked for no acknowledgement.
#[derive(Clone, Debug)]
pub(crate) struct Ephemeral {
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: u64,
    pub(crate) conn: u64,
}

impl Truth {
    /// The stream that takes this subject, as far as one ever existed.
    pub(crate) fn stream_of(&self, subject: &str) -> Option<&str> {
        self.streams.iter().find(|(_, patterns)| patterns.iter().any(|pattern| matches(pattern, subject))).map(|(name, _)| name.as_str())
    }

    /// Records that the client had read a reply for this attempt. The first one counts.
    pub(crate) fn note_answer(&mut self, attempt: usize, at: u64) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.answered.get_or_insert(at);
        }
    }

    /// Records that the client had read the PONG behind this attempt.
    pub(crate) fn note_fence(&mut self, attempt: usize, at: u64) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.fenced.get_or_insert(at);
        }
    }
}

/// Whether a pattern with `*` and `>` matches a subject.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_match_tokens() {
        assert!(matches("a.b", "a.b") && matches("a.*", "a.b") && matches("a.>", "a.b.c") && matches(">", "a"));
        assert!(!matches("a.*", "a.b.c") && !matches("a.>", "a") && !matches("a.b", "a") && !matches("a", "a.b"));
    }
}
