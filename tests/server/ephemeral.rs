//! Ephemeral topics: core NATS, at most once, beside persistent ones.

use std::time::Duration;

use ackbus::{EventKind, Message, Persistence, REPORT_EPHEMERAL, Status};
use ackbus_test_support::{Proxy, Reader, Server, wait_for};

use crate::common::{Bus, PATIENCE};

#[test]
fn ephemeral_messages_reach_subscribers_and_no_stream() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let mut ticks = reader.subscribe("ticks.>");
    let bus = Bus::connect(&server.url(), &[], &[("ticks.>", "mode", "ephemeral")]);
    for n in 0..1_000 {
        bus.publish("orders.created", format!("order {n}"));
        bus.ephemeral(&Message::new("ticks.price", format!("tick {n}").as_bytes()));
    }
    for n in 0..1_000 {
        assert_eq!(ticks.next(PATIENCE), Some(("ticks.price".to_owned(), format!("tick {n}").into_bytes())));
    }
    let reports = bus.wait_ephemeral(&Message::new("ticks.price", b"waited for"));
    let report = reports.get(0).unwrap();
    assert_eq!((report.status(), report.persistence(), report.flags(), report.stream_seq()), (Status::Ok, Persistence::PossiblyPersisted, REPORT_EPHEMERAL, 0));
    assert_eq!(ticks.next(PATIENCE), Some(("ticks.price".to_owned(), b"waited for".to_vec())));
    drop(reports);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert_eq!(stored.len(), 1_000);
    assert_eq!((books.stats.accepted, books.stats.ephemeral, books.stats.ephemeral_dropped), (1_000, 1_001, 0), "{:?}", books.stats);
}

#[test]
fn ephemeral_messages_wait_for_a_connection_and_are_dropped_at_their_deadline() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let mut ticks = reader.subscribe("ticks.>");
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[("delivery_timeout_ms", "3600000")], &[("ticks.>", "mode", "ephemeral")]);
    proxy.refuse();
    proxy.reset();
    bus.event(EventKind::Disconnected);
    for n in 0..10 {
        bus.ephemeral(&Message::new("ticks.price", format!("tick {n}").as_bytes()));
    }
    bus.ephemeral(&Message { delivery_timeout: Some(Duration::from_millis(50)), ..Message::new("ticks.price", b"too old") });
    wait_for("the drop", PATIENCE, || (bus.publisher().stats().ephemeral_dropped == 1).then_some(()));
    proxy.accept();
    for n in 0..10 {
        assert_eq!(ticks.next(PATIENCE), Some(("ticks.price".to_owned(), format!("tick {n}").into_bytes())));
    }
    let books = bus.finish();
    assert_eq!((books.stats.accepted, books.stats.ephemeral, books.stats.ephemeral_dropped), (0, 10, 1), "{:?}", books.stats);
}
