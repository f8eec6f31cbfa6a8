//! What the server's permissions do not allow, and names otherwise: an account's mapping comes before them, and their errors name what it made.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ackbus::{EventKind, Message, Persistence, Status};
use ackbus_test_support::{Options, Reader, Server, wait_for};

use crate::common::{Books, Bus, PATIENCE};

const DENIED: (Status, Persistence, u32) = (Status::Denied, Persistence::NotPersisted, 0);
const IN_DOUBT: (Status, Persistence, u32) = (Status::Denied, Persistence::PossiblyPersisted, 0);
/// Nothing but the server's permission errors can tell in the time a test has.
const ONLY_ERRORS: &[(&str, &str)] = &[("user", "app"), ("password", "pw"), ("ack_wait_ms", "600000"), ("delivery_timeout_ms", "3600000")];
const SRC_TO_DST: &str = r#""src.*": "dst.{{wildcard(1)}}""#;

fn options(mappings: &str, publish: &str) -> Options {
    Server::options().config(format!(
        "accounts {{ A {{ jetstream: enabled, users: [ {{ user: admin, password: pw }}, {{ user: app, password: pw, permissions: {{ publish: {publish} }} }} ], \
         mappings {{ {mappings} }} }} }}"
    ))
}

fn admin(server: &Server) -> Reader {
    Reader::connect(&server.url().replace("nats://", "nats://admin:pw@"))
}

/// P2: what was reported is what the stream holds, whatever it is called there. Payloads differ.
#[track_caller]
fn compare(books: &Books, reader: &Reader, stream: &str) {
    let stored: Vec<Vec<u8>> = reader.read_all(stream).into_iter().map(|message| message.payload.to_vec()).collect();
    let held: HashSet<&[u8]> = stored.iter().map(Vec::as_slice).collect();
    assert_eq!(held.len(), stored.len(), "one copy of each");
    for seen in books.reports.values() {
        let is_held = held.contains(seen.payload.as_slice());
        match seen.persistence {
            Persistence::Persisted => assert!(is_held, "not stored: {seen:?}"),
            Persistence::NotPersisted => assert!(!is_held, "stored: {seen:?}"),
            _ => {}
        }
    }
}

/// The topics of the events that told of denials.
fn told(books: &Books) -> Vec<&str> {
    let mut topics: Vec<&str> = books.events.iter().filter(|event| event.kind == EventKind::Denied).map(|event| event.topic.as_str()).collect();
    topics.sort_unstable();
    topics
}

/// The reports name the topic, and the server's name for it.
#[track_caller]
fn texts_name(books: &Books, ids: &[u64], other: &str) {
    for seen in books.of(ids) {
        let start = format!("publishing to {:?} is denied by the server's permissions", seen.topic);
        assert!(seen.text.starts_with(&start) && seen.text.contains(&format!("Publish to {other:?}")), "{seen:?}");
    }
}

#[test]
fn a_denial_under_another_name_is_proven_the_first_time() {
    let server = options(SRC_TO_DST, r#"{ deny: "dst.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.*"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    let (mut good, mut denied) = (Vec::new(), Vec::new());
    for n in 0..1_000 {
        good.push(bus.publish("src.open", format!("good {n}")));
        denied.push(bus.publish("src.secret", format!("denied {n}")));
    }
    bus.reported(2_000);
    // Known by now: not even sent.
    let later = bus.series("src.secret", 100);
    let books = bus.finish();
    books.persisted(&good);
    books.ended(&denied, DENIED);
    books.ended(&later, DENIED);
    texts_name(&books, &denied, "dst.secret");
    texts_name(&books, &later, "dst.secret");
    assert!(books.of(&good).all(|seen| seen.attempts == 1), "the others never waited");
    assert!(books.of(&denied).all(|seen| seen.attempts <= 1));
    assert!(books.of(&later).filter(|seen| seen.attempts > 0).count() <= 2, "one a second tests it");
    assert_eq!((told(&books), books.stats.resent, books.stats.ack_timeouts), (vec!["src.secret"], 0, 0));
    compare(&books, &reader, "DST");
}

#[test]
fn several_topics_are_told_with_their_other_names() {
    let server = options(SRC_TO_DST, r#"{ deny: ["dst.no1", "dst.no2", "dst.no3"] }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.*"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    let (mut good, mut denied) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for n in 0..60 {
        good.push(bus.publish("src.open", format!("good {n}")));
        for (topic, ids) in denied.iter_mut().enumerate() {
            ids.push(bus.publish(&format!("src.no{}", topic + 1), format!("denied {n} {topic}")));
        }
    }
    let books = bus.finish();
    books.persisted(&good);
    for (topic, ids) in denied.iter().enumerate() {
        books.ended(ids, DENIED);
        texts_name(&books, ids, &format!("dst.no{}", topic + 1));
    }
    assert_eq!((told(&books), books.stats.resent), (vec!["src.no1", "src.no2", "src.no3"], 0));
    compare(&books, &reader, "DST");
}

#[test]
fn topics_that_share_their_other_name() {
    let mappings = r#""src.one": "dst.secret", "src.two": "dst.secret", "src.open": "dst.open""#;
    let server = options(mappings, r#"{ deny: "dst.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.*"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    let (mut good, mut denied) = (Vec::new(), Vec::new());
    for n in 0..100 {
        good.push(bus.publish("src.open", format!("good {n}")));
        denied.push(bus.publish("src.one", format!("one {n}")));
        denied.push(bus.publish("src.two", format!("two {n}")));
        denied.push(bus.publish("dst.secret", format!("itself {n}")));
    }
    let books = bus.finish();
    books.persisted(&good);
    books.ended(&denied, DENIED);
    assert_eq!((told(&books), books.stats.resent), (vec!["dst.secret", "src.one", "src.two"], 0));
    compare(&books, &reader, "DST");
}

#[test]
fn a_topic_whose_name_an_error_has_may_be_stored_elsewhere() {
    // Errors about "a" name "b", and what goes to "b" is stored as "c".
    let server = options(r#""a": "b", "b": "c""#, r#"{ deny: "b" }"#).start();
    let reader = admin(&server);
    reader.create_stream("C", &["c"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    let (mut good, mut denied) = (Vec::new(), Vec::new());
    for n in 0..300 {
        denied.push(bus.publish("a", format!("denied {n}")));
        good.push(bus.publish("b", format!("good {n}")));
    }
    let books = bus.finish();
    books.persisted(&good);
    books.ended(&denied, DENIED);
    assert_eq!((told(&books), books.stats.resent), (vec!["a"], 0));
    compare(&books, &reader, "C");
}

#[test]
fn a_weighted_mapping_denies_a_part() {
    let server =
        options(r#""src": [ { destination: "dst.open", weight: "50%" }, { destination: "dst.secret", weight: "50%" } ]"#, r#"{ deny: "dst.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.*"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    for burst in 0..10 {
        for n in 0..100 {
            bus.publish("src", format!("{burst} {n}"));
        }
        bus.reported((burst + 1) * 100);
    }
    let books = bus.finish();
    let persisted = books.reports.values().filter(|seen| seen.is_persisted()).count();
    assert!(books.reports.values().all(|seen| seen.is_persisted() || seen.verdict() == DENIED));
    assert!((200..800).contains(&persisted), "{persisted} of 1000, about a half");
    let unsent = books.reports.values().filter(|seen| seen.attempts == 0).count();
    assert!(unsent <= 100, "{unsent} were not tried, although the next may be stored");
    assert_eq!((told(&books), books.stats.resent), (vec!["src"], 0));
    compare(&books, &reader, "DST");
}

#[test]
fn beside_ephemeral_messages_the_second_time_is_proven() {
    let server = options(SRC_TO_DST, r#"{ deny: "dst.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.*"]);
    let bus = Bus::connect(&server.url(), &[ONLY_ERRORS, &[("ack_wait_ms", "2000")]].concat(), &[("ticks.>", "mode", "ephemeral")]);
    let tick = || bus.ephemeral(&Message::new("ticks.price", b"1"));
    let publish = |n: u64| {
        tick();
        let id = bus.publish("src.secret", format!("{n}"));
        tick();
        id
    };
    let first = publish(0);
    assert!([DENIED, IN_DOUBT].contains(&bus.report(first).verdict()), "the tick may be what was denied: {:?}", bus.report(first));
    let begun = Instant::now();
    let second = publish(1);
    bus.report(second);
    assert!(begun.elapsed() < Duration::from_secs(2), "told by the permission error, not by ack_wait");
    let third = publish(2);
    bus.report(third);
    let books = bus.finish();
    books.ended(&[second, third], DENIED);
    texts_name(&books, &[second, third], "dst.secret");
    assert!(books.reports[&first].text.contains("dst.secret"), "{:?}", books.reports[&first]);
    assert!(books.reports.values().all(|seen| seen.attempts <= 1 && !seen.text.contains("why")), "no other cause is named");
    assert_eq!((told(&books), books.stats.resent), (vec!["src.secret"], 0));
    assert!(!books.has_event(EventKind::AckSilence));
    compare(&books, &reader, "DST");
}

#[test]
fn under_its_own_name_ephemeral_messages_hide_nothing() {
    let server = options("", r#"{ deny: "orders.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[("ticks.>", "mode", "ephemeral")]);
    for _ in 0..50 {
        bus.ephemeral(&Message::new("ticks.price", b"1"));
    }
    let denied = bus.publish("orders.secret", "denied");
    let good = bus.publish("orders.open", "good");
    let books = bus.finish();
    books.ended(&[denied], DENIED);
    books.persisted(&[good]);
    assert_eq!(told(&books), ["orders.secret"]);
    compare(&books, &reader, "ORDERS");
}

#[test]
fn who_does_not_answer_hides_a_denial_only_once() {
    let server = options(SRC_TO_DST, r#"{ deny: "dst.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.secret", "dst.open"]);
    // Somebody listens, and does not answer.
    let _silent = reader.subscribe("dst.silent");
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    let silent = bus.publish("src.silent", "silent");
    let first = bus.publish("src.secret", "0");
    let good = bus.publish("src.open", "good");
    bus.report(good);
    let second = bus.publish("src.secret", "1");
    assert_eq!(bus.report(second).verdict(), DENIED, "under a mark of its own");
    let books = bus.close(Duration::from_millis(500));
    books.persisted(&[good]);
    texts_name(&books, &[second], "dst.secret");
    assert_eq!(books.reports[&silent].persistence, Persistence::PossiblyPersisted);
    assert_eq!(books.reports[&first].persistence, Persistence::PossiblyPersisted, "the silent one may be what was denied");
    assert_eq!(books.stats.resent, 0);
    compare(&books, &reader, "DST");
}

#[test]
fn denied_ephemeral_messages_under_another_name_are_told() {
    let server = options(SRC_TO_DST, r#"{ deny: "dst.tick" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.open"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[("src.tick", "mode", "ephemeral")]);
    bus.ephemeral(&Message::new("src.tick", b"nobody may see it"));
    bus.series("src.open", 100);
    assert!(bus.event(EventKind::Denied).text.contains("dst.tick"));
    // The next ones tell whose name that is.
    for _ in 0..20 {
        bus.ephemeral(&Message::new("src.tick", b"nobody may see it"));
    }
    let event = bus.event_where(EventKind::Denied, |event| event.topic == "src.tick");
    assert!(event.text.contains("dst.tick"), "{event:?}");
    let books = bus.finish();
    books.all_persisted();
    compare(&books, &reader, "DST");
}

#[test]
fn it_is_told_again_after_a_reconnect_and_works_when_it_is_allowed() {
    let server = options(SRC_TO_DST, r#"{ deny: "dst.secret" }"#).start();
    let reader = admin(&server);
    reader.create_stream("DST", &["dst.*"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[("ticks", "mode", "ephemeral")]);
    let mut denied = bus.series("src.secret", 10);
    bus.reported(10);
    server.restart();
    bus.event(EventKind::Reconnected);
    bus.ephemeral(&Message::new("ticks", b"beside it"));
    denied.extend((10..20).map(|n| bus.publish("src.secret", format!("again {n}"))));
    bus.ephemeral(&Message::new("ticks", b"beside it"));
    bus.reported(20);
    server.reload(options(SRC_TO_DST, r#"{ deny: "dst.other" }"#));
    let mut n = 0;
    wait_for("a message to get through", PATIENCE, || {
        n += 1;
        let id = bus.publish("src.secret", format!("try {n}"));
        bus.report(id).is_persisted().then_some(())
    });
    let good: Vec<u64> = (0..100).map(|n| bus.publish("src.secret", format!("good {n}"))).collect();
    let books = bus.finish();
    books.ended(&denied, DENIED);
    books.persisted(&good);
    assert_eq!(told(&books), ["src.secret", "src.secret"], "once for each connection");
    compare(&books, &reader, "DST");
}

#[test]
fn a_message_that_is_sent_again_and_denied_then_stays_in_doubt() {
    let server = options(SRC_TO_DST, r#"{ deny: "dst.other" }"#).start();
    let reader = admin(&server);
    // Somebody listens, and does not answer.
    let mut silent = reader.subscribe("dst.secret");
    let bus = Bus::connect(&server.url(), &[ONLY_ERRORS, &[("ack_wait_ms", "3000")]].concat(), &[]);
    let id = bus.publish("src.secret", "once");
    silent.next(PATIENCE).unwrap();
    server.reload(options(SRC_TO_DST, r#"{ deny: "dst.secret" }"#));
    let seen = bus.report(id);
    let books = bus.finish();
    assert_eq!((seen.verdict(), seen.attempts), (IN_DOUBT, 2), "the first attempt may be stored: {seen:?}");
    texts_name(&books, &[id], "dst.secret");
    assert_eq!(books.stats.resent, 1);
}

#[test]
fn a_header_that_is_not_allowed_denies_one_message() {
    let server = options("", r#"{ deny: "traces" }"#).start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders"]);
    let bus = Bus::connect(&server.url(), ONLY_ERRORS, &[]);
    let headers = [("Nats-Trace-Dest", "traces")];
    let denied = bus.send(&Message { headers: &headers, ..Message::new("orders", b"denied") }).unwrap();
    bus.report(denied);
    let good = bus.series("orders", 10);
    let books = bus.finish();
    books.ended(&[denied], DENIED);
    assert!(books.reports[&denied].text.contains("traces"), "{:?}", books.reports[&denied]);
    books.persisted(&good);
    compare(&books, &reader, "ORDERS");
}

/// A publisher that may not ask lives without, whatever the server calls the question.
fn lives_without_the_api(server: &Server, more: &[(&str, &str)]) {
    let bus = Bus::connect(&server.url(), &[ONLY_ERRORS, more].concat(), &[("ord.>", "stream", "ORD")]);
    let begun = Instant::now();
    let first = bus.publish("ord.a", "first");
    assert!(bus.report(first).is_persisted(), "{:?}", bus.report(first));
    assert!(begun.elapsed() < Duration::from_secs(20), "not after some time-out");
    (0..100).for_each(|n| _ = bus.publish("ord.a", format!("{n}")));
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.stats.resent, 0);
}

#[test]
fn questions_to_a_domain_are_denied_under_the_names_of_none() {
    let domain = |publish: &str| Server::options().jetstream("domain: hub").user("admin", "pw", "").user("app", "pw", publish).start();
    for publish in [r#"publish: { allow: ["ord.>"] }"#, r#"publish: { allow: ["ord.>", "$JS.hub.API.>"] }"#] {
        let server = domain(publish);
        admin(&server).create_stream("ORD", &["ord.>"]);
        lives_without_the_api(&server, &[("jetstream_domain", "hub")]);
    }
}

#[test]
fn questions_are_denied_under_the_names_of_a_mapping() {
    let mappings = r#""$JS.API.STREAM.INFO.*": "asked.{{wildcard(1)}}""#;
    let server = options(mappings, r#"{ deny: "asked.>" }"#).start();
    // The mapping is for the administrator, too.
    let reader = admin(&server);
    server.reload(options("", r#"{ deny: "asked.>" }"#));
    reader.create_stream("ORD", &["ord.>"]);
    server.reload(options(mappings, r#"{ deny: "asked.>" }"#));
    lives_without_the_api(&server, &[]);
}
