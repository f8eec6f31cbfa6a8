//! Servers that are not there: at the start, for a while, for good.

use ackbus::{EventKind, Persistence, State, Status};
use ackbus_test_support::{Proxy, Reader, Server, wait_for};

use crate::common::{Bus, PATIENCE};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");

fn with_credentials(server: &Server) -> String {
    server.url().replace("nats://", "nats://somebody:hidden-words@")
}

#[test]
fn a_stopped_server_is_named_with_the_cause() {
    let server = Server::start();
    server.kill();
    let error = Bus::refused(&with_credentials(&server), &[], &["hidden-words", "somebody"]);
    assert_eq!(error.status(), Status::ConnectFailed);
    assert!(error.message().contains(&server.address().to_string()) && error.message().contains("refused"), "{error}");
}

#[test]
fn a_stopped_server_is_waited_for_when_it_shall() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    server.kill();
    let bus = Bus::connect(&with_credentials(&server), &[("retry_on_connect", "true"), NEVER], &[("orders.>", "stream", "ORDERS")]);
    bus.series("orders.created", 1_000);
    let event = bus.event(EventKind::ConnectFailed);
    assert!(event.text.contains(&server.address().to_string()) && !event.text.contains("hidden-words"), "{event:?}");
    assert_eq!((bus.publisher().info().state, bus.publisher().pending()), (State::Connecting, 1_000));
    assert_eq!(bus.publisher().wait_connected(Some(std::time::Duration::ZERO)).unwrap_err().status(), Status::TimedOut);
    server.restart();
    bus.publisher().wait_connected(Some(PATIENCE)).unwrap();
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert!(books.reports.values().all(|seen| seen.attempts == 1));
}

#[test]
fn the_deadline_runs_while_there_is_no_server() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    server.kill();
    let bus = Bus::connect(&server.url(), &[("retry_on_connect", "true"), ("delivery_timeout_ms", "300")], &[]);
    let lost = bus.series("orders.created", 100);
    bus.reported(100);
    server.restart();
    bus.publisher().wait_connected(Some(PATIENCE)).unwrap();
    let books = bus.finish();
    books.ended(&lost, (Status::Disconnected, Persistence::NotPersisted, 0));
    assert!(books.of(&lost).all(|seen| seen.attempts == 0 && seen.text.contains("refused")), "{:?}", books.reports[&lost[0]]);
    assert!(books.compare(&reader, &["ORDERS"]).is_empty());
}

#[test]
fn the_next_server_is_tried() {
    let (dead, server) = (Server::start(), Server::start());
    dead.kill();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&format!("{},{}", dead.url(), server.url()), &[], &[]);
    bus.series("orders.created", 100);
    assert_eq!(bus.publisher().info().server, server.url());
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_disconnected_publisher_refuses_when_it_shall() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[("on_disconnect", "fail"), NEVER], &[]);
    proxy.hold_replies();
    let pending = bus.series("orders.created", 100);
    proxy.refuse();
    proxy.reset();
    bus.event(EventKind::Disconnected);
    let error = bus.publisher().publish("orders.created", b"refused", 0).unwrap_err();
    assert_eq!((error.status(), error.is_retriable()), (Status::Disconnected, true), "{error}");
    proxy.resume();
    proxy.accept();
    bus.event(EventKind::Reconnected);
    let after = bus.publish("orders.created", "accepted again");
    let books = bus.finish();
    books.persisted(&pending);
    books.persisted(&[after]);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_publisher_that_gives_up_settles_everything_and_says_why() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[("max_reconnects", "3"), ("reconnect_wait_ms", "1"), NEVER], &[]);
    proxy.hold_replies();
    let sent = bus.series("orders.created", 100);
    wait_for("100 messages in the stream", PATIENCE, || (reader.message_count("ORDERS") == 100).then_some(()));
    proxy.refuse();
    proxy.reset();
    let failed = bus.event(EventKind::Failed);
    assert!(failed.text.contains("refused"), "{failed:?}");
    bus.reported(100);
    let error = bus.publisher().publish("orders.created", b"too late", 0).unwrap_err();
    assert_eq!((error.status(), error.is_fatal(), error.message().contains("refused")), (Status::Failed, true, true), "{error}");
    assert_eq!(bus.publisher().info().state, State::Failed);
    let books = bus.finish();
    books.ended(&sent, (Status::ConnectFailed, Persistence::PossiblyPersisted, 0));
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 100);
}
