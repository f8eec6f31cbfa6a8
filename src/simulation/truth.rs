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
    /// Every request to the JetStream API, and its answer.
    pub(crate) questions: Vec<Asking>,
    /// Every breach of the protocol by the client. One is enough to fail a test.
    pub(crate) breaches: Vec<String>,
    /// The subjects of each stream that ever existed.
    pub(crate) streams: BTreeMap<String, Vec<String>>,
    /// When each of them was made and removed.
    pub(crate) lives: BTreeMap<String, Vec<(u64, u64)>>,
    /// The duplicate window of each from a time on.
    pub(crate) windows: BTreeMap<String, Vec<(u64, u64)>>,
    /// When the client dialled each connection.
    pub(crate) opened: BTreeMap<u64, u64>,
    /// Streams that answered everything with 10023, from when to when.
    pub(crate) storms: Vec<(String, u64, u64)>,
    /// Topics that are not stored under their own name, or not always: under which ones, from when on.
    pub(crate) mapped: Vec<(String, u64, Vec<String>)>,
    /// The domain that the streams' acknowledgements name.
    pub(crate) domain: Option<String>,
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
    /// The stream that this answer names, if it names one.
    pub(crate) said_by: Option<String>,
    /// What others answer who take the topic too.
    pub(crate) words: Vec<Word>,
    /// When the client had read the PONG of a PING that went behind this attempt on the same connection.
    pub(crate) fenced: Option<u64>,
}

/// One answer to an attempt: of a stream elsewhere, or of somebody who is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) told: Told,
    pub(crate) stream: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) read: Option<u64>,
}

/// A request to the JetStream API.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) conn: u64,
    pub(crate) asked: u64,
    /// Behind `$JS.API.`.
    pub(crate) words: String,
    /// What is said, and when the client had read it.
    pub(crate) says: Says,
    pub(crate) read: Option<u64>,
}

/// What the API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Nothing,
    /// It is there.
    Exists,
    /// There is none.
    Absent,
    /// It cannot or will not say: no leader, no JetStream, an error, no permission.
    Refuses,
}

/// Something that the client reads, and what it means then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The answer to this attempt.
    Answer(usize),
    /// Another one's answer to it.
    Word(usize, usize),
    /// The answer to this question.
    Question(usize),
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
    /// Another JetStream has it than the one that the client means.
    pub(crate) abroad: bool,
    /// When its stream was made: one that is made again remembers nothing.
    pub(crate) born: u64,
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

    /// The streams that take this topic at this time.
    pub(crate) fn takers<'a>(&'a self, topic: &'a str, at: u64) -> impl Iterator<Item = &'a str> {
        let way = self.mapped.iter().rfind(|(mapped, from, _)| mapped == topic && *from <= at);
        let plain = way.is_none().then_some(topic);
        let subjects: Vec<&str> = way.into_iter().flat_map(|(_, _, targets)| targets.iter().map(String::as_str)).chain(plain).collect();
        let takes = move |patterns: &[String]| patterns.iter().any(|pattern| subjects.iter().any(|subject| matches(pattern, subject)));
        self.streams.iter().filter(move |(stream, patterns)| takes(patterns) && self.lives(stream, at)).map(|(stream, _)| stream.as_str())
    }

    /// Records that the client had read this. The first time counts.
    pub(crate) fn note_read(&mut self, reading: Reading, at: u64) {
        let read = match reading {
            Reading::Answer(attempt) => self.attempts.get_mut(attempt).map(|attempt| &mut attempt.answered),
            Reading::Word(attempt, word) => self.attempts.get_mut(attempt).and_then(|attempt| attempt.words.get_mut(word)).map(|word| &mut word.read),
            Reading::Question(question) => self.questions.get_mut(question).map(|question| &mut question.read),
        };
        if let Some(read) = read {
            read.get_or_insert(at);
        }
    }

    /// Whether this stream exists at this time.
    pub(crate) fn lives(&self, stream: &str, at: u64) -> bool {
        self.lives.get(stream).is_some_and(|lives| lives.iter().any(|&(from, to)| from <= at && at < to))
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
