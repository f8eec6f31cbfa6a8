//! Two streams of one name take the same topics: at a hub and at its leaf node, or one's own beside an imported one. Acks may say by their domain which of the
//! two speaks; refusals and the API's descriptions never do.

use std::collections::HashSet;
use std::time::Duration;

use ackbus::Persistence;
use ackbus_test_support::async_nats::jetstream::stream::DiscardPolicy;
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, choose, wait_for};

use crate::common::{Bus, Options, PATIENCE, Rules, Seen};
use crate::windows::once_and_told;

/// Longer than a test may wait.
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const QUICK: (&str, &str) = ("ack_wait_ms", "1000");
/// So many messages a publisher sends before the phase that matters: it can learn of both streams from their answers.
const BEFORE: u64 = 20;
/// So many it sends then.
const THEN: u64 = 50;
/// Later than whatever else the servers say.
const LATE: Duration = Duration::from_millis(100);

/// What a publisher can have seen of the two streams before one refuses what the other stores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// Both acknowledged each message, with the same sequence.
    Alike,
    /// Both acknowledged each message, with different sequences.
    Apart,
    /// One acknowledged, the other was full from the first message on, and its refusals came after the acks.
    Refused,
}

/// Somewhere to publish, and the readers of the two streams that it reaches: theirs is the hub's or the imported one, ours the leaf's or the account's own.
struct Place<'a> {
    theirs: &'a Reader,
    ours: &'a Reader,
    /// Waits until what is published here reaches their stream with this subject.
    ready: &'a dyn Fn(&str),
    server: &'a Server,
    options: Options<'a>,
}

impl Place<'_> {
    /// One of two streams of this number's name is full, the other stores, and its acks come after the refusals. Returns what was told wrongly.
    fn told_wrongly(&self, number: usize, theirs_is_full: bool, before: Before, named: bool) -> Option<String> {
        let (name, subject, topic) = (format!("ORD{number}"), format!("ord.{number}.>"), format!("ord.{number}.x"));
        let (full, ample) = if theirs_is_full { (self.theirs, self.ours) } else { (self.ours, self.theirs) };
        // Each has a subject of its own, for what only it shall have.
        let ahead = if before == Before::Apart { 7 } else { 0 };
        let room = if before == Before::Refused { 1 } else { BEFORE.cast_signed() + ahead };
        for (reader, alone, limit) in [(full, "full", room), (ample, "ample", -1)] {
            let subjects = vec![subject.clone(), format!("alone.{number}.{alone}")];
            let config = StreamConfig { name: name.clone(), subjects, max_messages: limit, discard: DiscardPolicy::New, ..Default::default() };
            reader.create_stream_with(config);
        }
        (self.ready)(&subject);
        let fill = if before == Before::Refused { 1 } else { ahead };
        for _ in 0..fill {
            full.publish(&format!("alone.{number}.full"), b"alone");
        }

        let proxy = Proxy::start(self.server.address());
        proxy.filter(choose::acks(|| true, move |frame| if is_refusal(frame) == (before == Before::Refused) { Action::Delay(LATE) } else { Action::Pass }));
        let rules: Rules<'_> = &[(&subject, "stream", &name)];
        let bus = Bus::connect(&proxy.url(), &[self.options, &[NEVER, QUICK]].concat(), if named { rules } else { &[] });
        bus.series(&topic, BEFORE);
        bus.reported(usize::try_from(BEFORE).unwrap());
        wait_for("a second answer to each message", PATIENCE, || {
            let stats = bus.publisher().stats();
            (stats.late_acks + stats.alien_replies >= BEFORE).then_some(())
        });
        proxy.filter(choose::acks(|| true, |frame| if is_refusal(frame) { Action::Pass } else { Action::Delay(LATE) }));
        bus.series(&topic, THEN);
        let books = bus.finish();

        // Refusals come before the other stream has it.
        let ample = if theirs_is_full { self.ours } else { self.theirs };
        wait_for("the stream that is not full to have them all", PATIENCE, || (ample.message_count(&name) >= BEFORE + THEN).then_some(()));
        let streams = [self.theirs, self.ours].map(|reader| reader.read_all(&name));
        let stored = if theirs_is_full { &streams[1] } else { &streams[0] };
        let payloads: HashSet<&[u8]> = stored.iter().filter(|message| message.subject == topic).map(|message| &*message.payload).collect();
        assert_eq!(payloads.len() as u64, BEFORE + THEN, "the stream that is not full has them all");
        let is_wrong = |seen: &&Seen| match seen.persistence {
            Persistence::Persisted => !streams.iter().flatten().any(|message| (message.seq, &message.payload) == (seen.seq, &seen.payload)),
            Persistence::NotPersisted => payloads.contains(&*seen.payload),
            _ => false,
        };
        let wrong: Vec<_> =
            books.reports.values().filter(is_wrong).map(|seen| (seen.id, seen.status, seen.persistence, seen.seq, &*seen.stream, &*seen.domain)).collect();
        let full = if theirs_is_full { "theirs" } else { "ours" };
        let first = wrong.first()?;
        Some(format!("{:?}, named {named}, {full} is full, before: {before:?}: {} of {}, first {first:?}", self.options, wrong.len(), books.reports.len()))
    }

    /// The same for everything that differs.
    fn all_told_wrongly(&self, numbers: &mut impl Iterator<Item = usize>, before: &[Before]) -> Vec<String> {
        let mut wrong = Vec::new();
        for &before in before {
            for (theirs_is_full, named) in [(true, true), (true, false), (false, true), (false, false)] {
                wrong.extend(self.told_wrongly(numbers.next().unwrap(), theirs_is_full, before, named));
            }
        }
        wrong
    }
}

fn is_refusal(frame: &[u8]) -> bool {
    memchr::memmem::find(frame, br#""error":"#).is_some()
}

fn hub_and_leaf() -> (Server, Server) {
    let hub = Server::options().name("hub").domain("hub").hub().start();
    let leaf = Server::options().name("leaf").domain("leaf").leaf_of(&hub).start();
    (hub, leaf)
}

/// OWN exports its subjects; PJS imports them beside a JetStream of its own.
fn accounts() -> Server {
    Server::options()
        .account("OWN", r#"jetstream: enabled, exports: [{ service: "ord.>" }]"#)
        .account("PJS", r#"jetstream: enabled, imports: [{ service: { account: OWN, subject: "ord.>" } }]"#)
        .start()
}

const PJS: [(&str, &str); 2] = [("user", "pjs"), ("password", "pw")];

/// A publisher that believed the refusal would say of messages that the other stream has that they are proven to be nowhere, and its caller would store them
/// twice.
#[test]
fn a_refusal_proves_nothing_where_hub_and_leaf_have_streams_of_one_name() {
    let (hub, leaf) = hub_and_leaf();
    let (theirs, ours) = (Reader::connect(&hub.url()), Reader::connect(&leaf.url()));
    let mut numbers = 0..;
    let mut wrong = Vec::new();
    for options in [&[][..], &[("jetstream_domain", "leaf")]] {
        let place = Place { theirs: &theirs, ours: &ours, ready: &|subject| leaf.wait_wanted(subject), server: &leaf, options };
        wrong.extend(place.all_told_wrongly(&mut numbers, &[Before::Alike, Before::Apart, Before::Refused]));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is told wrongly where one's own stream stands beside an imported one of its name.
fn told_wrongly_beside_an_import(before: &[Before]) -> Vec<String> {
    let server = accounts();
    let (theirs, ours) = (Reader::connect(&server.url_of("own")), Reader::connect(&server.url_of("pjs")));
    let place = Place { theirs: &theirs, ours: &ours, ready: &|_| {}, server: &server, options: &PJS };
    place.all_told_wrongly(&mut (0..), before)
}

/// The same without any domain: only the sequences of the acks differ, or one stream's refusals come behind the other one's acks.
#[test]
fn a_refusal_proves_nothing_beside_an_import_with_a_stream_of_the_same_name() {
    let wrong = told_wrongly_beside_an_import(&[Before::Apart, Before::Refused]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Both streams began together, so their acks are the same to the last byte. But there are two for each attempt, and a stream acknowledges an attempt once.
#[test]
fn a_refusal_proves_nothing_beside_an_import_even_if_both_acks_are_alike() {
    let wrong = told_wrongly_beside_an_import(&[Before::Alike]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The stream that takes the messages forgets their ids after two seconds. The API here knows another one of its name, with other subjects, that remembers them
/// for two minutes. Whoever believed it would send again what is in doubt after four seconds, and all of it would be stored a second time.
#[test]
fn the_window_of_a_namesake_elsewhere_is_not_believed() {
    const WINDOW: Duration = Duration::from_secs(2);
    let (hub, leaf) = hub_and_leaf();
    let accounts = accounts();
    let of_hub = (Reader::connect(&hub.url()), Reader::connect(&leaf.url()));
    let of_account = (Reader::connect(&accounts.url_of("own")), Reader::connect(&accounts.url_of("pjs")));
    let mut all = Vec::new();
    for (number, (imports, named)) in [(false, true), (false, false), (true, true), (true, false)].into_iter().enumerate() {
        let (name, subject, topic) = (format!("W{number}"), format!("ord.{number}.>"), format!("ord.{number}.x"));
        let ((theirs, ours), server) = if imports { (&of_account, &accounts) } else { (&of_hub, &leaf) };
        for (reader, subject, window) in [(theirs, subject.clone(), WINDOW), (ours, format!("other.{number}"), Duration::from_secs(120))] {
            reader.create_stream_with(StreamConfig { name: name.clone(), subjects: vec![subject], duplicate_window: window, ..Default::default() });
        }
        if !imports {
            leaf.wait_wanted(&subject);
        }
        let proxy = Proxy::start(server.address());
        let rules: Rules<'_> = &[(&subject, "stream", &name)];
        let options = [&[NEVER, ("ack_wait_ms", "500"), ("assume_duplicate_window_ms", "2000")][..], if imports { &PJS[..] } else { &[] }].concat();
        let bus = Bus::connect(&proxy.url(), &options, if named { rules } else { &[] });
        for _ in 0..2 {
            let warm = bus.series(&topic, 1)[0];
            assert!(bus.report(warm).is_persisted());
        }
        proxy.hold_replies();
        let doubtful = bus.series(&topic, THEN);
        wait_for("all messages in the stream", PATIENCE, || (theirs.message_count(&name) == 2 + THEN).then_some(()));
        proxy.refuse();
        proxy.reset();
        all.push((format!("imports {imports}, named {named}"), name, theirs, proxy, bus, doubtful));
    }
    std::thread::sleep(2 * WINDOW); // So long are they away.
    let mut again = Vec::new();
    for (about, name, theirs, proxy, bus, doubtful) in all {
        proxy.resume();
        proxy.accept();
        bus.reported(2 + doubtful.len());
        let copies = theirs.message_count(&name) - 2;
        if copies > THEN {
            again.push(format!("{about}: {copies} copies of {THEN} messages"));
            continue;
        }
        let books = bus.finish();
        for seen in books.of(&doubtful) {
            once_and_told(seen, theirs, &name, &about);
        }
    }
    assert!(again.is_empty(), "{again:#?}");
}
