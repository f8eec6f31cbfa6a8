//! A publisher under test, with a record of everything it took and everything it told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use ackbus::{
    Config, Error, Event, EventKind, Handlers, Message, Persistence, Publisher, REPORT_DUPLICATE, REPORT_EPHEMERAL, Report, Reports, Result, Sink, Stats,
    Status,
};
use ackbus_test_support::{Reader, StoredMsg};

/// What must happen at all, on a busy machine. Nothing waits so long unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Options as `(key, value)`.
pub(crate) type Options<'a> = &'a [(&'a str, &'a str)];
/// Keys of topic rules as `(pattern, key, value)`.
pub(crate) type Rules<'a> = &'a [(&'a str, &'a str, &'a str)];

/// A stream and a sequence in it.
type Place<'a> = (&'a str, u64);

/// A copy of one report.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) msg_id: String,
    pub(crate) stream: String,
    pub(crate) domain: String,
    pub(crate) seq: u64,
    pub(crate) status: Status,
    pub(crate) persistence: Persistence,
    pub(crate) flags: u32,
    pub(crate) server_code: u32,
    pub(crate) attempts: u32,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn of(report: &Report<'_>) -> Self {
        Seen {
            id: report.id(),
            topic: report.topic().to_owned(),
            payload: report.payload().to_vec(),
            msg_id: report.msg_id().to_owned(),
            stream: report.stream().to_owned(),
            domain: report.domain().to_owned(),
            seq: report.stream_seq(),
            status: report.status(),
            persistence: report.persistence(),
            flags: report.flags(),
            server_code: report.server_code(),
            attempts: report.attempts(),
            text: report.text().to_owned(),
        }
    }

    pub(crate) fn is_persisted(&self) -> bool {
        self.persistence == Persistence::Persisted
    }

    pub(crate) fn is_duplicate(&self) -> bool {
        self.flags & REPORT_DUPLICATE != 0
    }

    /// Status, persistence and server code: what tells outcomes apart.
    pub(crate) fn verdict(&self) -> (Status, Persistence, u32) {
        (self.status, self.persistence, self.server_code)
    }
}

/// A sink that copies everything.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    record: Mutex<Record>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Record {
    reports: Vec<Seen>,
    events: Vec<Event>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn wait<T>(&self, what: &str, mut find: impl FnMut(&Record) -> Option<T>) -> T {
        let mut found = None;
        let unmet = |record: &mut Record| {
            found = find(record);
            found.is_none()
        };
        let (record, _) = self.changed.wait_timeout_while(self.lock(), PATIENCE, unmet).unwrap();
        let events: Vec<String> = record.events.iter().map(|event| format!("{} {}", event.kind.name(), event.text)).collect();
        let reports = record.reports.len();
        drop(record);
        found.unwrap_or_else(|| panic!("waited in vain for {what}; {reports} reports, events: {events:#?}"))
    }
}

impl Sink for Recorder {
    fn reports(&self, reports: &[Report<'_>]) {
        self.lock().reports.extend(reports.iter().map(Seen::of));
        self.changed.notify_all();
    }

    fn event(&self, event: &Event) {
        self.lock().events.push(event.clone());
        self.changed.notify_all();
    }
}

/// What was accepted: topic, payload, and whether a report is owed.
#[derive(Debug)]
struct Accepted {
    topic: String,
    payload: Vec<u8>,
    reported: bool,
}

/// A publisher that reports everything to a [`Recorder`].
#[derive(Debug)]
pub(crate) struct Bus {
    publisher: Publisher,
    recorder: Arc<Recorder>,
    accepted: Mutex<HashMap<u64, Accepted>>,
    max_pending: u64,
}

/// The failures that metrics tell, of all statuses.
pub(crate) fn failures(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| Some(line.strip_prefix("ackbus_failed_messages_total{")?.split_once("\"} ")?.1));
    lines.map(|rest| rest.split(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap()).sum()
}

/// The configuration for a server: all outcomes are reported, no interval is longer than a test can wait.
pub(crate) fn config(url: &str, options: Options<'_>, rules: Rules<'_>) -> Config {
    let mut config = Config::new();
    config.set("servers", url).unwrap().set("report", "all").unwrap();
    for (key, value) in options {
        config.set(key, value).unwrap();
    }
    for (pattern, key, value) in rules {
        config.set_topic(pattern, key, value).unwrap();
    }
    config
}

impl Bus {
    /// Connects.
    #[track_caller]
    pub(crate) fn connect(url: &str, options: Options<'_>, rules: Rules<'_>) -> Self {
        Bus::try_connect(url, options, rules).unwrap()
    }

    pub(crate) fn try_connect(url: &str, options: Options<'_>, rules: Rules<'_>) -> Result<Self> {
        let config = config(url, options, rules);
        let recorder = Arc::new(Recorder::default());
        let sink: Arc<dyn Sink> = recorder.clone();
        let publisher = Publisher::connect(&config, Handlers { reports: Some(Arc::clone(&sink)), events: Some(sink) })?;
        let max_pending = config.get("max_pending")?.parse().unwrap();
        Ok(Bus { publisher, recorder, accepted: Mutex::default(), max_pending })
    }

    /// Why connecting fails; the text of the error must hold none of `secrets`.
    #[track_caller]
    pub(crate) fn refused(url: &str, options: Options<'_>, secrets: &[&str]) -> Error {
        let error = Bus::try_connect(url, options, &[]).expect_err("the connection must be refused");
        for secret in secrets {
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?} tells a secret");
        }
        error
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Publishes; returns the id.
    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) -> u64 {
        self.send(&Message::new(topic, payload.as_ref())).unwrap()
    }

    /// Publishes `count` messages with payloads of their own; returns the ids.
    #[track_caller]
    pub(crate) fn series(&self, topic: &str, count: u64) -> Vec<u64> {
        (0..count).map(|n| self.publish(topic, self.unique(n))).collect()
    }

    /// A payload that no other message of this bus has.
    fn unique(&self, n: u64) -> String {
        format!("{n} of {:?}, after {}", std::thread::current().id(), self.accepted.lock().unwrap().len())
    }

    /// Publishes a message with everything it may have.
    pub(crate) fn send(&self, message: &Message<'_>) -> Result<u64> {
        let id = self.publisher.publish_message(message)?;
        self.note(id, message, true);
        Ok(id)
    }

    /// Publishes to an ephemeral topic: no report is owed.
    #[track_caller]
    pub(crate) fn ephemeral(&self, message: &Message<'_>) {
        let id = self.publisher.publish_message(message).unwrap();
        self.note(id, message, false);
    }

    /// The same, and waits until it is written.
    #[track_caller]
    pub(crate) fn wait_ephemeral(&self, message: &Message<'_>) -> Reports {
        let reports = self.publisher.publish_wait(message, Some(PATIENCE)).unwrap();
        self.note(reports.get(0).unwrap().id(), message, false);
        reports
    }

    fn note(&self, id: u64, message: &Message<'_>, reported: bool) {
        let accepted = Accepted { topic: message.topic.to_owned(), payload: message.payload.to_vec(), reported };
        assert!(self.accepted.lock().unwrap().insert(id, accepted).is_none(), "id {id} was given twice");
    }

    /// Waits for the report of this message.
    #[track_caller]
    pub(crate) fn report(&self, id: u64) -> Seen {
        self.recorder.wait(&format!("the report of {id}"), |record| record.reports.iter().find(|seen| seen.id == id).cloned())
    }

    /// The report of this message, if it comes within `limit`.
    pub(crate) fn report_within(&self, id: u64, limit: Duration) -> Option<Seen> {
        let found = |record: &Record| record.reports.iter().find(|seen| seen.id == id).cloned();
        let (record, _) = self.recorder.changed.wait_timeout_while(self.recorder.lock(), limit, |record| found(record).is_none()).unwrap();
        found(&record)
    }

    /// The first event that is the one looked for, if it comes within `limit`.
    pub(crate) fn event_within(&self, limit: Duration, looked_for: impl Fn(&Event) -> bool) -> Option<Event> {
        let found = |record: &Record| record.events.iter().find(|event| looked_for(event)).cloned();
        let (record, _) = self.recorder.changed.wait_timeout_while(self.recorder.lock(), limit, |record| found(record).is_none()).unwrap();
        found(&record)
    }

    /// Waits until there are so many reports.
    #[track_caller]
    pub(crate) fn reported(&self, count: usize) {
        self.recorder.wait(&format!("{count} reports"), |record| (record.reports.len() >= count).then_some(()));
    }

    /// Waits for the first event of this kind.
    #[track_caller]
    pub(crate) fn event(&self, kind: EventKind) -> Event {
        self.events(kind, 1).remove(0)
    }

    /// Waits for the first event of this kind that is the one looked for.
    #[track_caller]
    pub(crate) fn event_where(&self, kind: EventKind, looked_for: impl Fn(&Event) -> bool) -> Event {
        let found = |event: &&Event| event.kind == kind && looked_for(event);
        self.recorder.wait(&format!("a certain {} event", kind.name()), |record| record.events.iter().find(found).cloned())
    }

    /// Waits for so many events of this kind.
    #[track_caller]
    pub(crate) fn events(&self, kind: EventKind, count: usize) -> Vec<Event> {
        self.recorder.wait(&format!("{count} {} events", kind.name()), |record| {
            let found: Vec<Event> = record.events.iter().filter(|event| event.kind == kind).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits until everything is settled, closes, and checks the books.
    #[track_caller]
    pub(crate) fn finish(self) -> Books {
        if let Err(error) = self.publisher.flush(Some(PATIENCE)) {
            let events = std::mem::take(&mut self.recorder.lock().events);
            panic!("{error}; {:?}, {:?}, events: {events:#?}", self.publisher.stats(), self.publisher.info());
        }
        self.close(PATIENCE)
    }

    /// Closes within this time, and checks the books: one report for each message (P1), which gives the message back, and figures that agree with them.
    #[track_caller]
    pub(crate) fn close(self, timeout: Duration) -> Books {
        self.publisher.close(Some(timeout)).unwrap();
        let (accepted, record) = (self.accepted.into_inner().unwrap(), std::mem::take(&mut *self.recorder.lock()));
        let mut reports = BTreeMap::new();
        for seen in record.reports {
            let known = accepted.get(&seen.id).unwrap_or_else(|| panic!("a report about a message that was never accepted: {seen:?}"));
            assert!(known.reported, "a report about an ephemeral message: {seen:?}");
            assert_eq!((&seen.topic, &seen.payload), (&known.topic, &known.payload), "message {} comes back as it was", seen.id);
            assert_eq!(seen.status == Status::Ok, seen.is_persisted(), "{seen:?}");
            assert_eq!(
                (seen.seq > 0, !seen.stream.is_empty(), seen.text.is_empty()),
                (seen.is_persisted(), seen.is_persisted(), seen.is_persisted()),
                "{seen:?}"
            );
            assert_eq!(seen.flags & REPORT_EPHEMERAL, 0, "{seen:?}");
            let again = reports.insert(seen.id, seen);
            assert!(again.is_none(), "two reports: {again:?}");
        }
        let owed = accepted.values().filter(|accepted| accepted.reported).count();
        assert_eq!(reports.len(), owed, "P1: one report for each message");
        let stats = self.publisher.stats();
        let persisted = reports.values().filter(|seen| seen.is_persisted()).count();
        assert_eq!(stats.accepted, stats.published + stats.publish_errors + stats.pending, "{stats:?}");
        assert_eq!((stats.accepted, stats.published), (owed as u64, persisted as u64), "{stats:?}");
        assert_eq!((stats.pending, stats.pending_bytes), (0, 0), "{stats:?}");
        assert_eq!(failures(&self.publisher.metrics()), stats.publish_errors, "by status");
        assert_eq!(stats.ephemeral + stats.ephemeral_dropped, (accepted.len() - owed) as u64, "{stats:?}");
        assert!(stats.pending_max <= self.max_pending, "P3: {stats:?}");
        Books { reports, events: record.events, stats }
    }
}

/// All that a closed publisher has told.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) reports: BTreeMap<u64, Seen>,
    pub(crate) events: Vec<Event>,
    pub(crate) stats: Stats,
}

impl Books {
    /// The reports of these messages.
    pub(crate) fn of<'a>(&'a self, ids: &'a [u64]) -> impl Iterator<Item = &'a Seen> {
        ids.iter().map(|id| &self.reports[id])
    }

    /// Every message is persisted.
    #[track_caller]
    pub(crate) fn all_persisted(&self) {
        self.persisted(&self.reports.keys().copied().collect::<Vec<_>>());
    }

    /// These are persisted.
    #[track_caller]
    pub(crate) fn persisted(&self, ids: &[u64]) {
        if let Some(seen) = self.of(ids).find(|seen| !seen.is_persisted()) {
            panic!("not persisted: {seen:?}, events: {:#?}", self.events);
        }
    }

    /// These ended so.
    #[track_caller]
    pub(crate) fn ended(&self, ids: &[u64], verdict: (Status, Persistence, u32)) {
        if let Some(seen) = self.of(ids).find(|seen| seen.verdict() != verdict) {
            panic!("not {verdict:?}: {seen:?}, events: {:#?}", self.events);
        }
    }

    pub(crate) fn has_event(&self, kind: EventKind) -> bool {
        self.events.iter().any(|event| event.kind == kind)
    }

    /// P2: what was reported is what the streams hold. Returns their messages. Payloads must differ from each other.
    #[track_caller]
    pub(crate) fn compare(&self, reader: &Reader, streams: &[&str]) -> Vec<StoredMsg> {
        self.compare_as(reader, streams, str::to_owned)
    }

    /// The same where the account maps topics to other subjects: `subject_of` says which.
    #[track_caller]
    pub(crate) fn compare_as(&self, reader: &Reader, streams: &[&str], subject_of: impl Fn(&str) -> String) -> Vec<StoredMsg> {
        let mut stored: Vec<(&str, StoredMsg)> = Vec::new();
        for &stream in streams {
            let messages = reader.read_all(stream);
            assert_eq!(messages.len() as u64, reader.message_count(stream), "{stream} was read to its end");
            stored.extend(messages.into_iter().map(|message| (stream, message)));
        }
        let mut copies: HashMap<(String, &[u8]), Vec<Place<'_>>> = HashMap::new();
        for (stream, message) in &stored {
            copies.entry((message.subject.clone(), &message.payload)).or_default().push((stream, message.seq));
        }
        for seen in self.reports.values() {
            let found = copies.remove(&(subject_of(&seen.topic), seen.payload.as_slice())).unwrap_or_default();
            match seen.persistence {
                Persistence::Persisted if seen.is_duplicate() => {
                    let first = stored.iter().find(|(stream, message)| (*stream, message.seq) == (&seen.stream, seen.seq));
                    assert_eq!(first.and_then(|(_, message)| message.msg_id.as_deref()), Some(seen.msg_id.as_str()), "{seen:?}");
                    assert!(found.is_empty(), "a duplicate was stored: {seen:?}");
                }
                Persistence::Persisted => assert_eq!(found, [(seen.stream.as_str(), seen.seq)], "{seen:?}"),
                Persistence::NotPersisted => assert!(found.is_empty(), "stored at {found:?}: {seen:?}"),
                Persistence::PossiblyPersisted => assert!(found.len() <= 1, "stored at {found:?}: {seen:?}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(copies.is_empty(), "stored, and not ours: {copies:?}");
        stored.into_iter().map(|(_, message)| message).collect()
    }

    /// P10: the stream has them in the order of their ids.
    #[track_caller]
    pub(crate) fn in_order(&self, stored: &[StoredMsg]) {
        let ids: HashMap<&[u8], u64> = self.reports.values().map(|seen| (seen.payload.as_slice(), seen.id)).collect();
        let order: Vec<u64> = stored.iter().map(|message| ids[message.payload.as_slice()]).collect();
        if let Some(pair) = order.windows(2).find(|pair| pair[0] >= pair[1]) {
            panic!("stored out of order: {} before {}", pair[0], pair[1]);
        }
    }
}
