//! What reports and the log say of messages that nobody acknowledges: the bus asks the server why.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackbus::{Persistence, Status};
use ackbus_test_support::{Action, Cluster, Proxy, Reader, Server, StreamConfig, Verb, choose, wait_for};

use crate::common::{Books, Bus, Options, PATIENCE};
use crate::logs::logged;

const SILENT: (Status, Persistence, u32) = (Status::AckTimeout, Persistence::PossiblyPersisted, 0);
/// Two silences, and the end.
const QUICK: Options<'_> = &[("ack_wait_ms", "300"), ("delivery_timeout_ms", "1500")];
/// The message settles at its first silence, so the answer must be there by then.
const ONE_ATTEMPT: Options<'_> = &[("ack_wait_ms", "300"), ("max_attempts", "1")];

/// The text of the only report, which must be that of a silence.
#[track_caller]
fn text_of(books: &Books) -> &str {
    let ids: Vec<u64> = books.reports.keys().copied().collect();
    books.ended(&ids, SILENT);
    &books.reports[&ids[0]].text
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// A proxy that loses all acknowledgements, and nothing else.
fn without_acks(server: &Server) -> Proxy {
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, frame| {
        let text = String::from_utf8_lossy(frame);
        if verb == Verb::Msg && text.contains("\"seq\":") && text.contains("\"stream\":") && !text.contains("\"config\"") { Action::Drop } else { Action::Pass }
    });
    proxy
}

#[test]
fn a_subscriber_where_a_stream_should_be() {
    for options in [QUICK, ONE_ATTEMPT] {
        let server = Server::start();
        let reader = Reader::connect(&server.url());
        reader.create_stream("OTHER", &["other.>"]);
        let mut taker = reader.subscribe("orders.created");
        let bus = Bus::connect(&server.url(), options, &[]);
        bus.publish("orders.created", "taken and never acknowledged");
        let books = bus.finish();
        says(text_of(&books), &["no acknowledgement came", "no stream takes \"orders.created\"", "somebody else subscribes"]);
        assert!(!taker.rest().is_empty(), "the subscriber got it");
    }
}

#[test]
fn a_stream_that_does_not_acknowledge() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(StreamConfig { name: "MUTE".into(), subjects: vec!["mute.>".into()], no_ack: true, ..Default::default() });
    for options in [QUICK, ONE_ATTEMPT] {
        let bus = Bus::connect(&server.url(), options, &[]);
        bus.publish("mute.one", "stored");
        says(text_of(&bus.finish()), &["stream \"MUTE\" takes it", "no_ack"]);
    }
}

#[test]
fn a_server_that_lives_and_is_slow() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = without_acks(&server);
    // With a gate of the stream's, and with none.
    for rules in [&[("orders.>", "stream", "ORDERS")][..], &[]] {
        let bus = Bus::connect(&proxy.url(), ONE_ATTEMPT, rules);
        bus.publish("orders.created", "the answer gets lost");
        says(text_of(&bus.finish()), &["stream \"ORDERS\" takes it", "acknowledges", "alive, and slow", "answered in"]);
    }
}

#[test]
fn a_server_that_stands_still() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("ack_wait_ms", "300"), ("delivery_timeout_ms", "3000")], &[]);
    let first = bus.publish("orders.created", "before");
    bus.reported(1);
    server.pause();
    let id = bus.publish("orders.created", "in vain");
    bus.reported(2);
    server.resume();
    let books = bus.finish();
    books.persisted(&[first]);
    books.ended(&[id], SILENT);
    says(&books.reports[&id].text, &["did not answer in time"]);
}

#[test]
fn a_stream_without_a_leader() {
    let cluster = Cluster::start(3);
    let reader = Reader::connect(&cluster.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let home = &cluster.servers()[cluster.leader(&reader, "ORDERS")];
    let others: Vec<String> = cluster.servers().iter().filter(|server| server.name() != home.name()).map(Server::url).collect();
    let bus = Bus::connect(&others.join(","), &[("delivery_timeout_ms", "8000"), ("discover_servers", "false")], &[]);
    bus.publish("orders.created", "before");
    bus.reported(1);
    home.kill();
    // If it led the cluster too, nobody answers questions about streams until there is another leader.
    let left = cluster.servers().iter().find(|server| server.name() != home.name()).unwrap();
    wait_for("a leader of those that are left", PATIENCE, || {
        let leader = left.monitor("/jsz").ok()?["meta_cluster"]["leader"].as_str()?.to_owned();
        (!leader.is_empty() && leader != home.name()).then_some(())
    });
    let id = bus.publish("orders.created", "nobody leads");
    let seen = bus.report(id);
    assert_eq!((seen.status, seen.persistence), (Status::Unavailable, Persistence::NotPersisted), "{seen:?}");
    // Until the others know that its server is gone, nobody answers for it; then they say that it has no leader.
    says(&seen.text, &["stream \"ORDERS\" takes it", "has no leader"]);
    bus.finish();
}

#[test]
fn permissions_that_do_not_allow_to_ask() {
    let server = Server::options().user("admin", "pw", "").user("app", "pw", "publish: { deny: \"$JS.API.>\" }").start();
    let reader = Reader::connect(&server.url().replace("nats://", "nats://admin:pw@"));
    reader.create_stream_with(StreamConfig { name: "MUTE".into(), subjects: vec!["mute.>".into()], no_ack: true, ..Default::default() });
    let bus = Bus::connect(&server.url(), &[QUICK, &[("user", "app"), ("password", "pw")]].concat(), &[]);
    bus.publish("mute.one", "stored, and nobody may know");
    says(text_of(&bus.finish()), &["the permissions do not allow to ask", "\"mute.one\""]);
}

/// One question of two parts, however many messages are silent, on however many topics.
#[test]
fn the_server_is_asked_once_and_the_log_tells_it() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(StreamConfig { name: "MUTE".into(), subjects: vec!["silence.>".into()], no_ack: true, ..Default::default() });
    let proxy = Proxy::start(server.address());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    proxy.filter_up(move |_, frame| {
        count.fetch_add(usize::from(choose::subject(frame).is_some_and(|subject| subject.starts_with("$JS.API."))), Ordering::Relaxed);
        Action::Pass
    });
    logged();
    let bus = Bus::connect(&proxy.url(), QUICK, &[]);
    let ids: Vec<u64> = (0..500).map(|n| bus.publish(&format!("silence.{n}"), "silent")).collect();
    let books = bus.finish();
    books.ended(&ids, SILENT);
    assert!(books.of(&ids).all(|seen| seen.text.contains("no_ack")), "{:?}", books.reports[&ids[7]]);
    assert!(books.reports[&ids[7]].text.contains("of \"silence."), "a topic that was not asked about says so: {:?}", books.reports[&ids[7]]);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "which stream, and how it fares");
    let log = logged();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("why \"silence.")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("no_ack"), "{told:?}");
}
