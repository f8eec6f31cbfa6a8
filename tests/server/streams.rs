//! Streams that are missing, created, different, deleted or full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ackbus::{EventKind, Persistence, Status};
use ackbus_test_support::async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy, StorageType};
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, choose};

use crate::common::Bus;

const NO_STREAM: (Status, Persistence, u32) = (Status::NoStream, Persistence::NotPersisted, 503);
/// Longer than a test may wait: what is told before is told at once.
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const CREATED: &[(&str, &str, &str)] = &[("orders.>", "stream", "ORDERS"), ("orders.>", "create", "if_missing")];

#[test]
fn a_missing_stream_is_created_and_takes_what_waited_in_order() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let rules = [CREATED, &[("orders.>", "storage", "memory"), ("orders.>", "duplicate_window_ms", "30000")]].concat();
    let bus = Bus::connect(&server.url(), &[], &rules);
    bus.series("orders.created", 5_000);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::StreamCreated).count(), 1, "{:?}", books.events);
    assert!(!books.has_event(EventKind::StreamDiffers), "{:?}", books.events);
    assert!(books.reports.values().all(|seen| seen.attempts == 1), "nothing was sent before the stream was there");
    let config = reader.stream_info("ORDERS").unwrap().config;
    assert_eq!((config.subjects, config.storage, config.duplicate_window.as_secs()), (vec!["orders.>".to_owned()], StorageType::Memory, 30));
}

#[test]
fn a_topic_without_a_stream_is_told_at_once_and_holds_nobody() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[NEVER], &[]);
    let (mut good, mut lost) = (Vec::new(), Vec::new());
    for n in 0..1_000 {
        good.push(bus.publish("orders.created", format!("good {n}")));
        lost.push(bus.publish("nowhere.else", format!("lost {n}")));
    }
    let books = bus.finish();
    books.persisted(&good);
    assert!(books.of(&good).all(|seen| seen.attempts == 1), "the others never waited");
    books.ended(&lost, NO_STREAM);
    assert!(books.of(&lost).all(|seen| seen.text.contains("nowhere.else")), "{:?}", books.reports[&lost[0]]);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_named_stream_that_is_missing_is_told_at_once_and_one_message_tries() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("OTHER", &["other.>"]);
    let bus = Bus::connect(&server.url(), &[NEVER], &[("orders.>", "stream", "ORDERS")]);
    let lost = bus.series("orders.created", 100);
    let good = bus.series("other.created", 100);
    let books = bus.finish();
    books.persisted(&good);
    books.ended(&lost, (Status::NoStream, Persistence::NotPersisted, 10059));
    assert!(books.of(&lost).all(|seen| seen.text.contains("there is no stream \"ORDERS\"")), "{:?}", books.reports[&lost[0]]);
    // The stream could be behind an import, where this server does not see it.
    assert!(books.reports[&lost[0]].attempts == 1 && books.of(&lost[1..]).all(|seen| seen.attempts == 0), "{:?}", books.reports[&lost[0]]);
    books.compare(&reader, &["OTHER"]);
}

#[test]
fn a_service_without_a_stream_neither_asks_nor_warns_for_each_message() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    proxy.filter_up(move |_, frame| {
        count.fetch_add(usize::from(choose::subject(frame).is_some_and(|subject| subject.starts_with("$JS.API."))), Ordering::Relaxed);
        Action::Pass
    });
    let bus = Bus::connect(&proxy.url(), &[], &[]);
    // One after the other: each has its answer before the next one goes.
    let start = Instant::now();
    let mut lost = Vec::new();
    for number in 0..500 {
        lost.push(bus.publish("orders.created", format!("{number}")));
        bus.reported(lost.len());
    }
    // A quarter of a second is the API's word believed.
    let allowed = 2 + start.elapsed().as_millis() as usize / 250;
    let books = bus.finish();
    books.ended(&lost, NO_STREAM);
    let asked = asked.load(Ordering::Relaxed);
    assert!((1..=allowed).contains(&asked), "{asked} questions in {:?}", start.elapsed());
    assert!(books.events.iter().all(|event| event.kind != EventKind::GateHeld), "{:?}", books.events);
    assert_eq!(books.stats.gates_held, 0);
}

#[test]
fn messages_wait_for_a_stream_when_they_shall() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("OTHER", &["other.>"]);
    let bus = Bus::connect(&server.url(), &[("on_no_stream", "wait"), NEVER], &[("orders.>", "stream", "ORDERS")]);
    let named = bus.series("orders.created", 500);
    let any = bus.series("events.created", 500);
    let mut held: Vec<_> = bus.events(EventKind::GateHeld, 2).into_iter().map(|event| (event.topic, event.status)).collect();
    held.sort_unstable();
    assert_eq!(held, [("events.created".to_owned(), Status::Unavailable), ("orders.created".to_owned(), Status::NoStream)]);
    // Behind its ack nothing is under way any more: a stream made earlier could take the last of them before the first.
    let marker = bus.publish("other.marker", "marker");
    bus.report(marker);
    assert_eq!(bus.publisher().pending(), 1_000);
    reader.create_stream("EVENTS", &["events.>"]);
    reader.create_stream("ORDERS", &["orders.>"]);
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::GateHeld).count(), 2, "each gate tells once: {:?}", books.events);
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::GateOpened).count(), 2, "{:?}", books.events);
    assert_eq!(books.stats.gates_held, 2);
    assert!(books.of(&named[1..]).all(|seen| seen.attempts == 1), "what waits behind the one that tries is not sent");
    assert!(books.of(&any[2..]).all(|seen| seen.attempts <= 3), "what waits behind a held gate is not sent again and again");
    for (stream, ids) in [("ORDERS", named), ("EVENTS", any)] {
        let stored = reader.read_all(stream);
        books.in_order(&stored);
        assert_eq!(stored.len(), ids.len());
    }
    books.compare(&reader, &["ORDERS", "EVENTS", "OTHER"]);
}

#[test]
fn the_deadline_of_a_message_that_waited_for_its_stream_says_so() {
    let server = Server::start();
    let bus = Bus::connect(&server.url(), &[("on_no_stream", "wait"), ("delivery_timeout_ms", "500")], &[("orders.>", "stream", "ORDERS")]);
    let lost = bus.series("orders.created", 10);
    let books = bus.finish();
    books.ended(&lost, (Status::NoStream, Persistence::NotPersisted, 10059));
    assert!(books.of(&lost[1..]).all(|seen| seen.attempts == 0 && seen.text.contains("there is no stream \"ORDERS\"")), "{:?}", books.reports[&lost[1]]);
}

#[test]
fn a_refused_creation_is_the_text_of_the_reports() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("TAKEN", &["orders.created"]);
    let bus = Bus::connect(&server.url(), &[NEVER], CREATED);
    let lost = bus.series("orders.created", 100);
    // Its own answer for each time it is asked: no old answer is served for ever.
    bus.reported(100);
    let later = bus.series("orders.created", 1);
    let books = bus.finish();
    for ids in [&lost, &later] {
        books.ended(ids, (Status::CreateFailed, Persistence::NotPersisted, 10065));
        assert!(books.of(ids).all(|seen| seen.attempts == 0 && seen.text.contains("subjects overlap")), "{:?}", books.reports[&ids[0]]);
    }
    assert!(books.compare(&reader, &["TAKEN"]).is_empty());
    assert!(reader.stream_info("ORDERS").is_none());
}

#[test]
fn an_existing_stream_with_another_configuration_is_used() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(StreamConfig { name: "ORDERS".into(), subjects: vec!["orders.>".into()], max_messages: 100_000, ..Default::default() });
    let rules = [CREATED, &[("orders.>", "storage", "memory"), ("orders.>", "max_msgs", "5000")]].concat();
    let bus = Bus::connect(&server.url(), &[], &rules);
    bus.series("orders.created", 100);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
    let differs: Vec<&str> = books.events.iter().filter(|event| event.kind == EventKind::StreamDiffers).map(|event| event.text.as_str()).collect();
    assert_eq!(differs.len(), 1, "{:?}", books.events);
    assert!(
        differs[0].contains("ORDERS") && differs[0].contains("storage is file, not memory") && differs[0].contains("max_msgs is 100000, not 5000"),
        "{differs:?}"
    );
    assert!(!books.has_event(EventKind::StreamCreated));
    assert_eq!(reader.stream_info("ORDERS").unwrap().config.max_messages, 100_000, "it was not changed");
}

#[test]
fn a_stream_that_takes_other_subjects_is_no_stream() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["other.>"]);
    let bus = Bus::connect(&server.url(), &[NEVER], CREATED);
    let lost = bus.series("orders.created", 100);
    let books = bus.finish();
    books.ended(&lost, NO_STREAM);
    assert!(books.of(&lost).all(|seen| seen.text.contains("orders.created")), "{:?}", books.reports[&lost[0]]);
    assert!(books.compare(&reader, &["ORDERS"]).is_empty());
}

#[test]
fn a_deleted_stream_is_told_and_then_taken_again() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    reader.create_stream("OTHER", &["other.>"]);
    let bus = Bus::connect(&server.url(), &[NEVER], &[("orders.>", "stream", "ORDERS")]);
    let before = bus.series("orders.created", 100);
    bus.reported(100);
    reader.delete_stream("ORDERS");
    let (mut between, mut others) = (Vec::new(), Vec::new());
    for n in 0..100 {
        between.push(bus.publish("orders.created", format!("between {n}")));
        others.push(bus.publish("other.created", format!("other {n}")));
    }
    bus.reported(300);
    reader.create_stream("ORDERS", &["orders.>"]);
    let after = bus.series("orders.created", 100);
    let books = bus.finish();
    books.persisted(&before);
    books.persisted(&others);
    books.ended(&between, NO_STREAM);
    books.persisted(&after);
    let (old, stored): (Vec<_>, Vec<_>) = (books.of(&before).collect(), reader.read_all("ORDERS"));
    assert_eq!(old.iter().map(|seen| seen.seq).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>(), "as the first stream had them");
    assert_eq!(stored.len(), 100);
    books.in_order(&stored);
    for (message, seen) in stored.iter().zip(books.of(&after)) {
        assert_eq!((message.seq, &message.payload), (seen.seq, &seen.payload));
    }
}

#[test]
fn a_deleted_stream_is_created_again() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let bus = Bus::connect(&server.url(), &[NEVER], CREATED);
    bus.series("orders.created", 100);
    bus.reported(100);
    reader.delete_stream("ORDERS");
    let after = bus.series("orders.created", 500);
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::StreamCreated).count(), 2, "{:?}", books.events);
    let stored = reader.read_all("ORDERS");
    books.in_order(&stored);
    let expected: Vec<(u64, &[u8])> = books.of(&after).map(|seen| (seen.seq, seen.payload.as_slice())).collect();
    assert_eq!(stored.iter().map(|message| (message.seq, message.payload.as_slice())).collect::<Vec<_>>(), expected);
}

fn small_stream(reader: &Reader) {
    let subjects = vec!["orders.>".into()];
    reader.create_stream_with(StreamConfig { name: "ORDERS".into(), subjects, max_messages: 100, discard: DiscardPolicy::New, ..Default::default() });
}

#[test]
fn a_full_stream_refuses_at_once() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    small_stream(&reader);
    let bus = Bus::connect(&server.url(), &[NEVER], &[]);
    let ids = bus.series("orders.created", 150);
    let books = bus.finish();
    books.persisted(&ids[..100]);
    books.ended(&ids[100..], (Status::StreamFull, Persistence::NotPersisted, 10077));
    assert!(books.of(&ids).all(|seen| seen.attempts == 1));
    assert!(books.reports[&ids[149]].text.contains("maximum messages exceeded"), "{:?}", books.reports[&ids[149]]);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_full_stream_is_waited_for_when_it_shall() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    small_stream(&reader);
    // Named: without it the marker's rule is known to have no other stream, and what is refused holds up all that is new to it (P10).
    let bus = Bus::connect(&server.url(), &[("retry_stream_full", "true"), NEVER], &[("orders.>", "stream", "ORDERS")]);
    let ids = bus.series("orders.created", 150);
    bus.reported(100);
    // All 150 have been answered once when a later message has: replies come in the order of the frames.
    reader.create_stream("OTHER", &["other.>"]);
    let marker = bus.publish("other.marker", "marker");
    bus.report(marker);
    assert_eq!(bus.publisher().pending(), 50);
    let emptied = reader.request("$JS.API.STREAM.PURGE.ORDERS", b"");
    assert!(String::from_utf8_lossy(&emptied).contains("\"purged\":100"), "{}", String::from_utf8_lossy(&emptied));
    let books = bus.finish();
    books.all_persisted();
    let mut sequences: Vec<u64> = books.of(&ids[100..]).map(|seen| seen.seq).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (101..=150).collect::<Vec<_>>());
    for message in reader.read_all("ORDERS") {
        let seen = books.reports.values().find(|seen| seen.payload == message.payload).unwrap();
        assert_eq!((seen.seq, seen.attempts >= 2), (message.seq, true), "{seen:?}");
    }
}

#[test]
fn streams_that_may_forget_ids_are_warned_of_once() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let queue = StreamConfig { name: "WORK".into(), subjects: vec!["work.>".into()], retention: RetentionPolicy::WorkQueue, ..Default::default() };
    reader.create_stream_with(queue);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[], &[("work.>", "stream", "WORK"), ("orders.>", "stream", "ORDERS")]);
    bus.series("work.todo", 100);
    bus.series("orders.created", 100);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["WORK", "ORDERS"]);
    let risks: Vec<&str> = books.events.iter().filter(|event| event.kind == EventKind::StreamRisk).map(|event| event.text.as_str()).collect();
    assert_eq!(risks.len(), 1, "{:?}", books.events);
    assert!(risks[0].contains("WORK") && risks[0].contains("work queue"), "{risks:?}");
}

#[test]
fn a_domain_is_asked_by_its_name() {
    let server = Server::options().jetstream("domain: hub").start();
    let reader = Reader::connect(&server.url());
    let bus = Bus::connect(&server.url(), &[("jetstream_domain", "hub")], CREATED);
    bus.series("orders.created", 100);
    let books = bus.finish();
    books.all_persisted();
    assert!(books.has_event(EventKind::StreamCreated));
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_server_without_jetstream_is_tried_until_the_deadline() {
    let server = Server::options().without_jetstream().start();
    let bus = Bus::connect(&server.url(), &[("delivery_timeout_ms", "500")], &[("orders.>", "stream", "ORDERS")]);
    let named = bus.series("orders.created", 100);
    let any = bus.series("events.created", 100);
    let books = bus.finish();
    // That nobody answers may be an election: those that were sent say that nobody took them, those behind them that they waited.
    for seen in books.of(&any).chain(books.of(&named)) {
        let expected = if seen.attempts > 0 { NO_STREAM } else { (Status::Unavailable, Persistence::NotPersisted, 0) };
        let says_why = seen.attempts == 0 || seen.text.contains("nobody answers JetStream here: it is not enabled");
        assert!(seen.verdict() == expected && says_why, "{seen:?}");
    }
}
