//! Streams of another account, reached through an import, and topics that an account maps to other subjects.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackbus::{Persistence, Status};
use ackbus_test_support::async_nats::jetstream::stream::DiscardPolicy;
use ackbus_test_support::{Action, Options, Proxy, Reader, Server, StreamConfig, Verb, choose, wait_for};

use crate::common::{Books, Bus, PATIENCE, Rules, Seen};

/// Longer than a test may wait.
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const NAMED: Rules<'_> = &[("ord.>", "stream", "ORD")];
const CREATED: Rules<'_> = &[("ord.>", "stream", "ORD"), ("ord.>", "create", "if_missing")];

/// OWN has the streams. PUB imports their subjects and has no JetStream; PJS imports them and has one of its own.
fn accounts() -> Options {
    Server::options()
        .account("OWN", r#"jetstream: enabled, exports: [{ service: "ord.>" }], mappings: { "in.*": "ord.mapped.{{wildcard(1)}}" }"#)
        .account("PUB", r#"imports: [{ service: { account: OWN, subject: "ord.>" } }]"#)
        .account("PJS", r#"jetstream: enabled, imports: [{ service: { account: OWN, subject: "ord.>" } }]"#)
}

fn owner(server: &Server) -> Reader {
    Reader::connect(&server.url_of("own"))
}

/// Each round has a server of its own: a stream that is deleted and made again at once can have its old messages (seen with 2.15.1).
#[test]
fn an_imported_stream_takes_messages_with_a_rule_and_without() {
    for (user, rules) in [("pub", &[][..]), ("pub", NAMED), ("pub", CREATED), ("pjs", &[]), ("pjs", NAMED)] {
        let server = accounts().start();
        let reader = owner(&server);
        reader.create_stream("ORD", &["ord.>"]);
        let bus = Bus::connect(&server.url_of(user), &[NEVER], rules);
        let ids = bus.series("ord.a", 100);
        for id in ids {
            let seen = bus.report(id);
            assert!(seen.is_persisted() && seen.stream == "ORD", "{user} with {rules:?}: {seen:?}");
        }
        let books = bus.finish();
        let stored = books.compare(&reader, &["ORD"]);
        books.in_order(&stored);
    }
}

/// Whether the stream is made here or taken over there: what is told as stored is stored in a stream of this name.
#[test]
fn a_creation_beside_an_import_leaves_no_message_without_a_stream() {
    let server = accounts().start();
    let (theirs, ours) = (owner(&server), Reader::connect(&server.url_of("pjs")));
    theirs.create_stream("ORD", &["ord.>"]);
    let bus = Bus::connect(&server.url_of("pjs"), &[NEVER], CREATED);
    bus.series("ord.a", 100);
    let books = bus.finish();
    books.all_persisted();
    let mut stored = theirs.read_all("ORD");
    if ours.stream_info("ORD").is_some() {
        stored.extend(ours.read_all("ORD"));
    }
    for seen in books.reports.values() {
        assert!(stored.iter().any(|message| (message.seq, &message.payload) == (seen.seq, &seen.payload)), "{seen:?}");
    }
}

#[test]
fn a_mapped_topic_is_stored_under_its_other_name() {
    for rules in [&[][..], &[("in.>", "stream", "ORD")]] {
        let server = accounts().start();
        let reader = owner(&server);
        reader.create_stream("ORD", &["ord.>"]);
        let bus = Bus::connect(&server.url_of("own"), &[NEVER], rules);
        bus.series("in.a", 100);
        let books = bus.finish();
        books.all_persisted();
        let stored = books.compare_as(&reader, &["ORD"], mapped);
        books.in_order(&stored);
    }
}

fn mapped(topic: &str) -> String {
    topic.replace("in.", "ord.mapped.")
}

/// The account sends half of them to each stream, and one is full: which one refused is no secret, and it proves nothing about the other.
#[test]
fn a_refusal_of_one_of_several_streams_is_no_proof() {
    let server = Server::options()
        .account("OWN", r#"jetstream: enabled, mappings: { "w.*": [{ destination: "a.{{wildcard(1)}}", weight: 50% }, { destination: "b.{{wildcard(1)}}", weight: 50% }] }"#)
        .start();
    let reader = owner(&server);
    reader.create_stream_with(StreamConfig {
        name: "A".into(),
        subjects: vec!["a.>".into()],
        max_messages: 20,
        discard: DiscardPolicy::New,
        ..Default::default()
    });
    reader.create_stream("B", &["b.>"]);
    let bus = Bus::connect(&server.url_of("own"), &[NEVER], &[]);
    // Both have acknowledged: the bus knows that the topic has several.
    let mut ids = Vec::new();
    wait_for("acks of both streams", PATIENCE, || {
        ids.extend(bus.series("w.x", 1));
        let seen = bus.report(*ids.last().unwrap());
        assert!(seen.is_persisted(), "{seen:?}");
        (reader.message_count("A") > 0 && reader.message_count("B") > 0).then_some(())
    });
    ids.extend(bus.series("w.x", 200));
    let books = bus.finish();
    let full: Vec<_> = books.reports.values().filter(|seen| !seen.is_persisted()).collect();
    assert!(!full.is_empty(), "one stream was full");
    for seen in full {
        assert_eq!(seen.verdict(), (Status::StreamFull, Persistence::PossiblyPersisted, 10077), "{seen:?}");
    }
    payloads_are_as_told(&books, &reader, &["A", "B"]);
}

/// What is told as stored is there under the number told, and what is told as not stored is nowhere.
#[track_caller]
fn payloads_are_as_told(books: &Books, reader: &Reader, streams: &[&str]) {
    let stored: Vec<_> = streams.iter().flat_map(|&stream| reader.read_all(stream).into_iter().map(move |message| (stream, message))).collect();
    for seen in books.reports.values() {
        let copies: Vec<_> = stored.iter().filter(|(_, message)| message.payload == seen.payload).map(|(stream, message)| (*stream, message.seq)).collect();
        match seen.persistence {
            Persistence::Persisted => assert_eq!(copies, [(seen.stream.as_str(), seen.seq)], "{seen:?}"),
            Persistence::NotPersisted => assert_eq!(copies, [], "{seen:?}"),
            _ => {}
        }
    }
}

/// The subjects go over from one stream to another while messages are published. Those in between wait, or are told as not stored; none is told wrongly.
#[test]
fn a_topic_that_moves_to_another_stream_is_taken_there() {
    for options in [&[NEVER][..], &[NEVER, ("on_no_stream", "wait")]] {
        let server = Server::start();
        let reader = Reader::connect(&server.url());
        reader.create_stream("FIRST", &["t.>"]);
        let bus = Bus::connect(&server.url(), options, &[]);
        let before = bus.series("t.x", 50);
        bus.reported(50);
        reader.update_stream(StreamConfig { name: "FIRST".into(), subjects: vec!["other.>".into()], ..Default::default() });
        let between = bus.series("t.x", 50);
        reader.create_stream_with(StreamConfig {
            name: "SECOND".into(),
            subjects: vec!["t.>".into()],
            max_messages: 120,
            discard: DiscardPolicy::New,
            ..Default::default()
        });
        bus.reported(100);
        let after = bus.series("t.x", 50);
        bus.reported(150);
        let full = bus.series("t.x", 150);
        let books = bus.finish();
        books.persisted(&before);
        books.persisted(&after);
        assert!(books.of(&after).all(|seen| seen.stream == "SECOND"));
        if options.len() > 1 {
            books.persisted(&between);
        }
        let refused: Vec<_> = books.of(&full).filter(|seen| !seen.is_persisted()).collect();
        assert!(
            !refused.is_empty() && refused.iter().all(|seen| seen.persistence == Persistence::PossiblyPersisted),
            "two streams had this topic: {:?}",
            refused.first()
        );
        books.compare(&reader, &["FIRST", "SECOND"]);
    }
}

/// The JetStream of the streams' account is off for three seconds: whoever reaches them, and in whatever way, waits.
#[test]
fn an_account_without_jetstream_for_a_while_loses_nothing() {
    let server = accounts().start();
    let reader = owner(&server);
    reader.create_stream("ORD", &["ord.>"]);
    let ways: Vec<(&str, &str, Rules<'_>)> = vec![
        ("own", "ord.own", &[]),
        ("own", "ord.own.named", NAMED),
        ("own", "in.a", &[]),
        ("own", "in.b", &[("in.>", "stream", "ORD")]),
        ("pub", "ord.pub", &[]),
        ("pub", "ord.pub.named", NAMED),
        ("pjs", "ord.pjs", &[]),
        ("pjs", "ord.pjs.named", NAMED),
    ];
    let buses: Vec<Bus> = ways.iter().map(|(user, _, rules)| Bus::connect(&server.url_of(user), &[("ack_wait_ms", "1000"), NEVER], rules)).collect();
    for (bus, (_, topic, _)) in buses.iter().zip(&ways) {
        bus.series(topic, 10);
        bus.reported(10);
    }
    server.reload(
        Server::options()
            .account("OWN", r#"exports: [{ service: "ord.>" }], mappings: { "in.*": "ord.mapped.{{wildcard(1)}}" }"#)
            .account("PUB", r#"imports: [{ service: { account: OWN, subject: "ord.>" } }]"#)
            .account("PJS", r#"jetstream: enabled, imports: [{ service: { account: OWN, subject: "ord.>" } }]"#),
    );
    for _ in 0..30 {
        for (bus, (_, topic, _)) in buses.iter().zip(&ways) {
            bus.series(topic, 1);
        }
        std::thread::sleep(Duration::from_millis(100)); // Three seconds are the fault.
    }
    server.reload(accounts());
    for (bus, (_, topic, _)) in buses.iter().zip(&ways) {
        bus.series(topic, 10);
    }
    let mut stored = 0;
    for (bus, (user, topic, rules)) in buses.into_iter().zip(&ways) {
        let books = bus.finish();
        let lost = books.reports.values().find(|seen| !seen.is_persisted());
        assert!(lost.is_none(), "{user} by {topic} with {rules:?}: {lost:?}, events: {:#?}", books.events);
        stored += books.reports.len();
    }
    assert_eq!(reader.message_count("ORD"), stored as u64, "one copy of each");
}

/// The connection is lost with acks on their way. Nobody here can say what the stream's window is: it is assumed, and what is in doubt goes again.
#[test]
fn a_reconnect_behind_an_import_sends_what_is_in_doubt_again() {
    let server = accounts().start();
    let reader = owner(&server);
    reader.create_stream("ORD", &["ord.>"]);
    for (user, topic, rules) in [("pub", "ord.1", &[][..]), ("pub", "ord.2", NAMED), ("pjs", "ord.3", &[]), ("pjs", "ord.4", NAMED), ("own", "in.5", &[])] {
        let proxy = Proxy::start(server.address());
        let bus = Bus::connect(&proxy.url(), &[("user", user), ("password", "pw"), NEVER], rules);
        bus.series(topic, 20);
        bus.reported(20);
        for _ in 0..2 {
            proxy.hold_replies();
            let before = bus.publisher().stats().attempts;
            let ids = bus.series(topic, 200);
            wait_for("all attempts", PATIENCE, || (bus.publisher().stats().attempts >= before + 200).then_some(()));
            proxy.reset();
            proxy.resume();
            let last = bus.report_within(ids[199], Duration::from_secs(4));
            assert!(last.as_ref().is_some_and(Seen::is_persisted), "{user} by {topic} with {rules:?}: {last:?}");
        }
        let books = bus.finish();
        books.all_persisted();
        let stored: Vec<_> = reader.read_all("ORD").into_iter().filter(|message| message.subject == mapped(topic)).collect();
        assert_eq!(stored.len(), 420, "one copy of each: {user} by {topic} with {rules:?}");
        books.in_order(&stored);
    }
}

/// The whole server's JetStream is off for three seconds.
#[test]
fn a_server_without_jetstream_for_a_while_loses_nothing() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORD", &["ord.>"]);
    let ways: [(&str, Rules<'_>); 2] = [("ord.any", &[]), ("ord.named", NAMED)];
    let buses = ways.map(|(_, rules)| Bus::connect(&server.url(), &[("ack_wait_ms", "1000"), NEVER], rules));
    for (bus, (topic, _)) in buses.iter().zip(ways) {
        bus.series(topic, 10);
        bus.reported(10);
    }
    server.reload(Server::options().without_jetstream());
    for _ in 0..30 {
        for (bus, (topic, _)) in buses.iter().zip(ways) {
            bus.series(topic, 1);
        }
        std::thread::sleep(Duration::from_millis(100)); // Three seconds are the fault.
    }
    server.reload(Server::options());
    for (bus, (topic, rules)) in buses.into_iter().zip(ways) {
        bus.series(topic, 10);
        let books = bus.finish();
        let lost = books.reports.values().find(|seen| !seen.is_persisted());
        assert!(lost.is_none(), "{topic} with {rules:?}: {lost:?}, events: {:#?}", books.events);
    }
    assert_eq!(reader.message_count("ORD"), 100, "one copy of each");
}

/// What a server says while its JetStream is off, and while it comes back.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    On,
    Off,
    Recovering,
}

/// JetStream that comes back recovers one stream after the other, a large one in seconds. Until it has a stream it says that there is none (seen with
/// 2.15.1: 10059, and no name for the subject, for 20 to 140 ms with 30,000 messages). That is no more true than an election.
#[test]
fn a_stream_that_is_being_recovered_is_waited_for() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORD", &["ord.>"]);
    let proxy = Proxy::start(server.address());
    let phase = Arc::new(Mutex::new(Phase::On));
    let now = Arc::clone(&phase);
    proxy.filter_up(move |verb, frame| {
        let (phase, asks) = (*now.lock().unwrap(), choose::subject(frame).is_some_and(|subject| subject.starts_with("$JS.API.")));
        match (phase, choose::reply_subject(frame)) {
            (Phase::On, _) | (_, None) => Action::Pass,
            _ if verb != Verb::Pub => Action::Pass,
            // The bus has one subscription: that of its inbox.
            (_, Some(inbox)) if !asks => Action::Answer(format!("HMSG {inbox} 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").into_bytes()),
            (Phase::Off, _) => api_error(503, 10039, "JetStream not enabled for account"),
            _ if choose::subject(frame) == Some("$JS.API.STREAM.NAMES") => {
                Action::Reply(br#"{"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"offset":0,"limit":1024,"streams":null}"#.to_vec())
            }
            _ => api_error(404, 10059, "stream not found"),
        }
    });
    let ways: [(&str, Rules<'_>); 2] = [("ord.any", &[]), ("ord.named", NAMED)];
    let buses = ways.map(|(_, rules)| Bus::connect(&proxy.url(), &[("ack_wait_ms", "1000"), NEVER], rules));
    for (bus, (topic, _)) in buses.iter().zip(ways) {
        bus.series(topic, 100);
        bus.reported(100);
    }
    for (next, time) in [(Phase::Off, 1_500), (Phase::Recovering, 1_500), (Phase::On, 0)] {
        *phase.lock().unwrap() = next;
        for (bus, (topic, _)) in buses.iter().zip(ways) {
            bus.series(topic, 20);
        }
        std::thread::sleep(Duration::from_millis(time)); // So long is the phase.
    }
    for (bus, (topic, rules)) in buses.into_iter().zip(ways) {
        let books = bus.finish();
        let lost: Vec<_> = books.reports.values().filter(|seen| !seen.is_persisted()).collect();
        assert!(lost.is_empty(), "{topic} with {rules:?}: {} of {}, such as {:?}", lost.len(), books.reports.len(), lost[0]);
    }
    assert_eq!(reader.message_count("ORD"), 320, "one copy of each");
}

fn api_error(code: u32, err_code: u32, text: &str) -> Action {
    let body = format!(
        "{{\"type\":\"io.nats.jetstream.api.v1.stream_info_response\",\"error\":{{\"code\":{code},\"err_code\":{err_code},\"description\":\"{text}\"}}}}"
    );
    Action::Reply(body.into_bytes())
}
