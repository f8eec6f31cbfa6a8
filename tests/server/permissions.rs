//! What the server's permissions do not allow.

use ackbus::{EventKind, Persistence, Status};
use ackbus_test_support::{Options, Reader, Server, wait_for};

use crate::common::{Bus, PATIENCE};

const DENIED: (Status, Persistence, u32) = (Status::Denied, Persistence::NotPersisted, 0);
/// Nothing but the server's permission errors can tell in the time a test has.
/// Longer than what a random inbox could have in it by chance: an error that tells it would be seen, and no other.
const APP_PASSWORD: &str = "the-secret-of-app";
const ONLY_FENCES: &[(&str, &str)] = &[("user", "app"), ("password", APP_PASSWORD), ("ack_wait_ms", "600000"), ("delivery_timeout_ms", "3600000")];

fn server(permissions: &str) -> Options {
    Server::options().user("admin", "pw", "").user("app", APP_PASSWORD, permissions)
}

fn admin(server: &Server) -> Reader {
    Reader::connect(&server.url().replace("nats://", "nats://admin:pw@"))
}

#[test]
fn a_denied_subject_is_told_at_once_and_holds_nobody() {
    let server = server("publish: { deny: \"orders.secret\" }").start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), ONLY_FENCES, &[]);
    let (mut good, mut denied) = (Vec::new(), Vec::new());
    for n in 0..2_000 {
        good.push(bus.publish("orders.open", format!("good {n}")));
        denied.push(bus.publish("orders.secret", format!("denied {n}")));
    }
    let books = bus.finish();
    books.persisted(&good);
    assert!(books.of(&good).all(|seen| seen.attempts == 1), "the others never waited");
    books.ended(&denied, DENIED);
    assert!(books.of(&denied).all(|seen| seen.attempts <= 1 && seen.text.contains("orders.secret")), "{:?}", books.reports[&denied[0]]);
    let events: Vec<&str> = books.events.iter().filter(|event| event.kind == EventKind::Denied).map(|event| event.topic.as_str()).collect();
    assert_eq!(events, ["orders.secret"], "told once");
    assert!(!books.has_event(EventKind::Disconnected));
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn several_denied_subjects_are_told_apart() {
    let server = server("publish: { deny: [\"orders.secret.>\"] }").start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), ONLY_FENCES, &[]);
    let (mut good, mut denied) = (Vec::new(), Vec::new());
    for n in 0..300 {
        denied.push(bus.publish(&format!("orders.secret.{}", n % 7), format!("denied {n}")));
        good.push(bus.publish(&format!("orders.open.{}", n % 7), format!("good {n}")));
    }
    let books = bus.finish();
    books.persisted(&good);
    books.ended(&denied, DENIED);
    assert!(books.of(&denied).all(|seen| seen.text.contains(&seen.topic)));
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::Denied).count(), 7);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_subject_that_is_allowed_later_works_then() {
    let server = server("publish: { deny: \"orders.secret\" }").start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), ONLY_FENCES, &[]);
    let denied = bus.series("orders.secret", 10);
    bus.reported(10);
    server.reload(self::server(""));
    // One message a second tries whether the topic is still denied.
    wait_for("a message to get through", PATIENCE, || {
        let ids = bus.series("orders.secret", 1);
        bus.report(ids[0]).is_persisted().then_some(())
    });
    let allowed = bus.series("orders.secret", 10);
    let books = bus.finish();
    books.ended(&denied, DENIED);
    books.persisted(&allowed);
    assert!(books.reports.values().all(|seen| seen.is_persisted() || seen.verdict() == DENIED));
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_denied_inbox_is_refused_at_connect() {
    let server = server("subscribe: { deny: \"_INBOX.>\" }").start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let error = Bus::refused(&server.url(), ONLY_FENCES, &[APP_PASSWORD]);
    assert_eq!(error.status(), Status::Denied, "{error}");
    assert!(error.message().contains("_INBOX.") && error.message().contains("inbox_prefix"), "{error}");
    // The advice is good.
    let bus = Bus::connect(&server.url(), &[ONLY_FENCES, &[("inbox_prefix", "_APP")]].concat(), &[]);
    bus.series("orders.open", 100);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_publisher_may_live_without_the_api() {
    let server = server("publish: { deny: \"$JS.API.>\" }").start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), ONLY_FENCES, &[("orders.>", "stream", "ORDERS")]);
    bus.series("orders.open", 1_000);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_denied_creation_is_told_at_once() {
    let server = server("publish: { deny: \"$JS.API.STREAM.CREATE.>\" }").start();
    let reader = admin(&server);
    let bus = Bus::connect(&server.url(), ONLY_FENCES, &[("orders.>", "stream", "ORDERS"), ("orders.>", "create", "if_missing")]);
    let lost = bus.series("orders.open", 100);
    let books = bus.finish();
    books.ended(&lost, (Status::CreateFailed, Persistence::NotPersisted, 0));
    assert!(books.of(&lost).all(|seen| seen.attempts == 0 && seen.text.contains("permissions")), "{:?}", books.reports[&lost[0]]);
    assert!(reader.stream_info("ORDERS").is_none());
}

#[test]
fn a_denied_ephemeral_topic_is_told_by_an_event() {
    let server = server("publish: { deny: \"ticks.>\" }").start();
    let reader = admin(&server);
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), ONLY_FENCES, &[("ticks.>", "mode", "ephemeral")]);
    bus.ephemeral(&ackbus::Message::new("ticks.price", b"nobody may see it"));
    bus.series("orders.open", 100);
    assert_eq!(bus.event(EventKind::Denied).topic, "ticks.price");
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
}
