//! The streams of the model server: what they take, what they refuse, what they remember.

use std::collections::{BTreeMap, VecDeque};

use super::frame::Publish;
use super::reply::ApiError;
use super::truth::matches;

/// How a stream is made. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamSpec {
    pub(crate) name: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) duplicate_window: u64,
    /// Discards new messages when it holds this many.
    pub(crate) max_msgs: Option<u64>,
    pub(crate) max_msg_size: Option<usize>,
    /// With more than one the check for duplicates comes before that of expectations.
    pub(crate) replicas: usize,
    pub(crate) sealed: bool,
}

impl StreamSpec {
    /// A stream with the server's defaults.
    pub(crate) fn new(name: &str, subjects: &[&str]) -> Self {
        let subjects = subjects.iter().map(|&s| s.into()).collect();
        Self { name: name.into(), subjects, duplicate_window: 120_000_000_000, max_msgs: None, max_msg_size: None, replicas: 1, sealed: false }
    }
}

/// What the stream made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    New(u64),
    Duplicate(u64),
    Refused(ApiError),
}

/// One stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) spec: StreamSpec,
    pub(crate) created: u64,
    /// A client of this account created it: its API knows it, whatever is imported beside it.
    pub(crate) own: bool,
    pub(crate) last_seq: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    last_msg_id: String,
    last_of_subject: BTreeMap<String, u64>,
    /// When and as what each id was stored.
    ids: BTreeMap<String, (u64, u64)>,
}

/// All streams. Subjects do not overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) streams: BTreeMap<String, Stream>,
}

impl Store {
    /// Makes a stream; `Err` says why the server would not.
    pub(crate) fn create(&mut self, now: u64, spec: StreamSpec) -> Result<(), ApiError> {
        if let Some(existing) = self.streams.get(&spec.name) {
            // The same request again is not an error.
            return if existing.spec == spec { Ok(()) } else { Err(ApiError::new(400, 10058, "stream name already in use with a different configuration")) };
        }
        let overlap = |other: &Stream| other.spec.subjects.iter().any(|a| spec.subjects.iter().any(|b| matches(a, b) || matches(b, a)));
        if self.streams.values().any(overlap) {
            return Err(ApiError::new(400, 10065, "subjects overlap with an existing stream"));
        }
        let name = spec.name.clone();
        let (last_of_subject, ids) = (BTreeMap::new(), BTreeMap::new());
        self.streams
            .insert(name, Stream { spec, created: now, own: false, last_seq: 0, messages: 0, bytes: 0, last_msg_id: String::new(), last_of_subject, ids });
        Ok(())
    }

    /// The stream that takes this subject.
    pub(crate) fn takes(&self, subject: &str) -> Option<&str> {
        self.streams.values().find(|stream| stream.spec.subjects.iter().any(|pattern| matches(pattern, subject))).map(|stream| stream.spec.name.as_str())
    }

    /// Stores a message, if the stream wants it.
    pub(crate) fn put(&mut self, now: u64, stream: &str, publish: &Publish) -> Put {
        match self.streams.get_mut(stream) {
            Some(stream) => stream.put(now, publish),
            None => Put::Refused(ApiError::new(404, 10059, "stream not found")),
        }
    }
}

impl Stream {
    fn put(&mut self, now: u64, publish: &Publish) -> Put {
        if self.spec.sealed {
            return Put::Refused(ApiError::new(400, 10109, "invalid operation on sealed stream"));
        }
        if self.spec.max_msg_size.is_some_and(|max| publish.size > max) {
            return Put::Refused(ApiError::new(400, 10054, "message size exceeds maximum allowed"));
        }
        let duplicate = publish.msg_id().and_then(|id| self.remembers(now, id)).map(Put::Duplicate);
        let broken = self.broken_expectation(publish).map(Put::Refused);
        // One replica checks expectations first, several check duplicates first.
        let verdict = if self.spec.replicas > 1 { duplicate.or(broken) } else { broken.or(duplicate) };
        if let Some(verdict) = verdict {
            return verdict;
        }
        if self.spec.max_msgs.is_some_and(|max| self.messages >= max) {
            return Put::Refused(ApiError::new(503, 10077, "maximum messages exceeded"));
        }
        self.last_seq += 1;
        self.messages += 1;
        self.bytes += publish.size as u64;
        self.last_of_subject.insert(publish.subject.clone(), self.last_seq);
        self.last_msg_id = publish.msg_id().unwrap_or_default().into();
        if let Some(id) = publish.msg_id() {
            self.ids.insert(id.into(), (now, self.last_seq));
        }
        Put::New(self.last_seq)
    }

    fn remembers(&self, now: u64, id: &str) -> Option<u64> {
        self.ids.get(id).filter(|(at, _)| now < at + self.spec.duplicate_window).map(|&(_, seq)| seq)
    }

    fn broken_expectation(&self, publish: &Publish) -> Option<ApiError> {
        if publish.header("Nats-Expected-Stream").is_some_and(|wanted| wanted != self.spec.name) {
            return Some(ApiError::new(400, 10060, "expected stream does not match"));
        }
        let wanted = |name: &str| publish.header(name).and_then(|value| value.parse::<u64>().ok());
        if wanted("Nats-Expected-Last-Sequence").is_some_and(|seq| seq != self.last_seq) {
            return Some(ApiError::new(400, 10071, format!("wrong last sequence: {}", self.last_seq)));
        }
        let of_subject = self.last_of_subject.get(&publish.subject).copied().unwrap_or(0);
        if wanted("Nats-Expected-Last-Subject-Sequence").is_some_and(|seq| seq != of_subject) {
            return Some(ApiError::new(400, 10071, format!("wrong last sequence: {of_subject}")));
        }
        if publish.header("Nats-Expected-Last-Msg-Id").is_some_and(|id| id != self.last_msg_id) {
            return Some(ApiError::new(400, 10070, format!("wrong last msg ID: {}", self.last_msg_id)));
        }
        None
    }
}

/// A message that waits for the replicas of its stream to agree.
#[derive(Clone, Debug)]
pub(crate) struct Proposal<T> {
    pub(crate) due: u64,
    pub(crate) publish: Publish,
    /// Lost by a change of leader instead of committed.
    pub(crate) dropped: bool,
    pub(crate) then: T,
}

/// The proposals of one stream; they commit in their order.
#[derive(Clone, Debug)]
pub(crate) struct Proposals<T>(VecDeque<Proposal<T>>);

impl<T> Default for Proposals<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Proposals<T> {
    /// Adds a proposal; none commits before an older one, and behind a lost one all are lost.
    pub(crate) fn push(&mut self, mut proposal: Proposal<T>) {
        if let Some(last) = self.0.back() {
            proposal.due = proposal.due.max(last.due);
            proposal.dropped |= last.dropped;
        }
        self.0.push_back(proposal);
    }

    /// The oldest one that is due.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Proposal<T>> {
        if self.next_due()? <= now { self.0.pop_front() } else { None }
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.0.front().map(|proposal| proposal.due)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a message with this id is among them.
    pub(crate) fn holds(&self, msg_id: &str) -> bool {
        self.0.iter().any(|proposal| proposal.publish.msg_id() == Some(msg_id))
    }
}

#[cfg(test)]
mod tests {
    use super::{Put, Store, StreamSpec};
    use crate::simulation::frame::Publish;

    fn message(subject: &str, headers: &[(&str, &str)]) -> Publish {
        let headers = headers.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        Publish { subject: subject.into(), headers, payload: b"x".to_vec(), size: 1, ..Publish::default() }
    }

    fn store(change: impl Fn(&mut StreamSpec)) -> Store {
        let (mut store, mut spec) = (Store::default(), StreamSpec::new("S", &["s.>"]));
        change(&mut spec);
        store.create(0, spec).unwrap();
        store
    }

    fn code(put: Put) -> u16 {
        let Put::Refused(error) = put else { panic!("{put:?} was not refused") };
        error.err_code
    }

    #[test]
    fn an_id_is_remembered_for_the_window_and_not_longer() {
        let mut store = store(|spec| spec.duplicate_window = 100);
        let m = message("s.a", &[("Nats-Msg-Id", "1")]);
        assert_eq!(store.put(0, "S", &m), Put::New(1));
        assert_eq!(store.put(99, "S", &m), Put::Duplicate(1));
        assert_eq!(store.put(100, "S", &m), Put::New(2));
        assert_eq!(store.put(199, "S", &m), Put::Duplicate(2));
    }

    #[test]
    fn limits_refuse() {
        let mut store = store(|spec| (spec.max_msgs, spec.max_msg_size) = (Some(1), Some(1)));
        assert_eq!(store.put(0, "S", &message("s.a", &[("Nats-Msg-Id", "1")])), Put::New(1));
        assert_eq!(code(store.put(0, "S", &message("s.a", &[]))), 10077);
        assert_eq!(store.put(0, "S", &message("s.a", &[("Nats-Msg-Id", "1")])), Put::Duplicate(1), "a duplicate needs no room");
        assert_eq!(code(store.put(0, "S", &Publish { size: 2, ..message("s.a", &[]) })), 10054);
    }

    #[test]
    fn expectations_are_checked_before_duplicates_on_one_replica_only() {
        for (replicas, expected) in [(1, Err(10071)), (3, Ok(Put::Duplicate(1)))] {
            let mut store = store(|spec| spec.replicas = replicas);
            let m = message("s.a", &[("Nats-Msg-Id", "1"), ("Nats-Expected-Last-Sequence", "0")]);
            assert_eq!(store.put(0, "S", &m), Put::New(1));
            let again = store.put(1, "S", &m);
            match expected {
                Ok(put) => assert_eq!(again, put),
                Err(err_code) => assert_eq!(code(again), err_code),
            }
        }
        let mut store = store(|_| ());
        assert_eq!(code(store.put(0, "S", &message("s.a", &[("Nats-Expected-Stream", "T")]))), 10060);
        assert_eq!(code(store.put(0, "S", &message("s.a", &[("Nats-Expected-Last-Msg-Id", "9")]))), 10070);
        assert_eq!(code(store.put(0, "S", &message("s.a", &[("Nats-Expected-Last-Subject-Sequence", "1")]))), 10071);
        assert_eq!(store.put(0, "S", &message("s.a", &[("Nats-Expected-Last-Subject-Sequence", "0")])), Put::New(1));
    }

    #[test]
    fn creation_is_idempotent_and_refuses_what_the_server_refuses() {
        let mut store = store(|_| ());
        assert_eq!(store.create(1, StreamSpec::new("S", &["s.>"])), Ok(()));
        assert_eq!(store.create(1, StreamSpec::new("S", &["t.>"])).unwrap_err().err_code, 10058);
        assert_eq!(store.create(1, StreamSpec::new("T", &["s.a"])).unwrap_err().err_code, 10065);
        assert_eq!((store.takes("s.a.b"), store.takes("t")), (Some("S"), None));
    }
}
