//! Messages that are too large: for the window, the server, the stream, and for a server whose limit changes.

use ackbus::{EventKind, Message, Persistence, Status};
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, Verb};

use crate::common::Bus;

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");

fn limited(max_payload: u32) -> ackbus_test_support::Options {
    Server::options().config(format!("max_payload: {max_payload}"))
}

#[test]
fn the_call_refuses_what_cannot_be_sent() {
    let server = limited(4096).start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("max_pending_bytes", "10000")], &[]);
    assert_eq!(bus.publisher().info().max_payload, 4096);
    let refused = |message: &Message<'_>, names: &str| {
        let error = bus.publisher().publish_message(message).unwrap_err();
        assert_eq!((error.status(), error.is_retriable()), (Status::TooLarge, false), "{error}");
        assert!(error.message().contains(names), "{error}");
    };
    refused(&Message::new("orders.created", &[0; 4097]), "4096");
    // Headers count: the id's alone make it too large.
    refused(&Message::new("orders.created", &[0; 4096]), "4096");
    refused(&Message { headers: &[("Note", &"n".repeat(4000))], ..Message::new("orders.created", &[0; 100]) }, "4096");
    let large = bus.publish("orders.created", [7; 4000]);
    let books = bus.finish();
    books.persisted(&[large]);
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 1);
    assert_eq!(books.stats.accepted, 1, "what was refused is in no figure");
}

#[test]
fn the_window_refuses_what_it_can_never_hold() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("max_pending_bytes", "10000")], &[]);
    let error = bus.publisher().publish("orders.created", &[0; 10_001], 0).unwrap_err();
    assert_eq!(error.status(), Status::TooLarge, "{error}");
    assert!(error.message().contains("10000"), "{error}");
    // Each alone fits, all together do not: they take turns.
    let ids: Vec<u64> = (0..100_u8).map(|n| bus.publish("orders.created", [n; 9_000])).collect();
    let books = bus.finish();
    books.persisted(&ids);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert_eq!(books.stats.pending_max, 1);
}

#[test]
fn a_message_beyond_the_streams_limit_is_refused_alone() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(StreamConfig { name: "ORDERS".into(), subjects: vec!["orders.>".into()], max_message_size: 1_000, ..Default::default() });
    let bus = Bus::connect(&server.url(), &[NEVER], &[]);
    let mut good = bus.series("orders.created", 100);
    let large = bus.publish("orders.created", [0; 2_000]);
    good.extend(bus.series("orders.created", 100));
    let books = bus.finish();
    books.persisted(&good);
    books.ended(&[large], (Status::TooLarge, Persistence::NotPersisted, 10054));
    assert_eq!(books.reports[&large].attempts, 1);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_limit_that_is_lower_after_a_reconnect_settles_what_is_beyond() {
    let server = limited(65_536).start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[NEVER], &[]);
    proxy.refuse();
    proxy.reset();
    bus.event(EventKind::Disconnected);
    let mut small = bus.series("orders.created", 100);
    let large = bus.publish("orders.created", [0; 60_000]);
    small.extend(bus.series("orders.created", 100));
    server.reload(limited(4_096));
    proxy.accept();
    bus.event(EventKind::Reconnected);
    assert_eq!(bus.publisher().info().max_payload, 4_096);
    let books = bus.finish();
    books.persisted(&small);
    books.ended(&[large], (Status::TooLarge, Persistence::NotPersisted, 0));
    assert_eq!(books.reports[&large].attempts, 0);
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

/// The server ends a connection on which a frame is beyond its limit. Here it never tells the true limit, so the frame must be found out.
#[test]
fn a_frame_that_ends_connections_is_found_and_set_apart() {
    let server = limited(4_096).start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, frame| match verb {
        Verb::Info => Action::Replace(String::from_utf8_lossy(frame).replace("\"max_payload\":4096", "\"max_payload\":1048576").into_bytes()),
        _ => Action::Pass,
    });
    let bus = Bus::connect(&proxy.url(), &[NEVER], &[]);
    assert_eq!(bus.publisher().info().max_payload, 1_048_576);
    let mut small = bus.series("orders.created", 100);
    let large = bus.publish("orders.created", [0; 5_000]);
    small.extend(bus.series("orders.created", 100));
    // Found out, and proven: never a loop.
    bus.events(EventKind::Reconnected, 2);
    let books = bus.finish();
    books.persisted(&small);
    let seen = &books.reports[&large];
    // The first attempt was in flight with others when the connection ended: only the second one is proven.
    assert_eq!((seen.status, seen.attempts), (Status::TooLarge, 2), "{seen:?}");
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::Quarantined).count(), 1);
    assert_eq!(books.stats.reconnects, 2);
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_limit_lowered_under_a_living_connection_loses_nothing_else() {
    let server = limited(65_536).start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[NEVER], &[]);
    let mut small = bus.series("orders.created", 100);
    bus.reported(100);
    server.reload(limited(4_096));
    // Accepted or refused by the call, as far as the news have come; stored in neither case.
    let large = bus.send(&Message::new("orders.created", &[0; 60_000]));
    small.extend(bus.series("orders.created", 100));
    let books = bus.finish();
    books.persisted(&small);
    match large {
        Ok(large) => assert_eq!(books.reports[&large].status, Status::TooLarge, "{:?}", books.reports[&large]),
        Err(error) => assert_eq!(error.status(), Status::TooLarge, "{error}"),
    }
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 200);
}
