//! The end of a publisher, and what is taken back before it.

use std::time::{Duration, Instant};

use ackbus::{Persistence, Purge, Status};
use ackbus_test_support::{Proxy, Reader, Server, wait_for};

use crate::common::{Bus, PATIENCE};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");

#[test]
fn close_waits_for_acks() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[], &[("orders.>", "stream", "ORDERS")]);
    bus.series("orders.created", 10_000);
    let books = bus.close(PATIENCE);
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn close_does_not_wait_for_a_server_that_stands_still() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[NEVER, ("max_pending", "10000")], &[]);
    server.pause();
    let ids: Vec<u64> = (0..10_000).map(|n| bus.publish("orders.created", format!("{n:0>1024}"))).collect();
    assert_eq!(bus.publisher().pending(), 10_000);
    let start = Instant::now();
    let books = bus.close(Duration::from_secs(1));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
    assert!(books.of(&ids).all(|seen| seen.status == Status::Closed), "10,000 reports");
    let doubtful = books.of(&ids).filter(|seen| seen.persistence == Persistence::PossiblyPersisted).count();
    assert!(doubtful > 0 && doubtful < 10_000, "the kernel took {doubtful} messages; of the rest it is known that they were never sent");
    // P10 in the doubt too: what was sent is a prefix.
    assert!(books.of(&ids).skip(doubtful).all(|seen| seen.persistence == Persistence::NotPersisted && seen.attempts == 0));
    server.resume();
    // What the kernel had is still on its way. It is in when the connection has ended and a message behind it is stored; that one is taken out again.
    wait_for("the end of the connection", PATIENCE, || {
        let page = server.monitor("/connz").ok()?;
        page["connections"].as_array()?.iter().all(|connection| connection["name"] != "ackbus").then_some(())
    });
    let marker = reader.publish("orders.marker", b"behind all others");
    let deleted = reader.request("$JS.API.STREAM.MSG.DELETE.ORDERS", format!("{{\"seq\":{marker}}}").as_bytes());
    assert!(String::from_utf8_lossy(&deleted).contains("\"success\":true"), "{}", String::from_utf8_lossy(&deleted));
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn purge_takes_back_what_is_asked_for() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    // The gate of a missing stream holds some back; the others are stored, and their acks kept from us.
    let bus = Bus::connect(&proxy.url(), &[NEVER, ("ack_wait_ms", "60000"), ("on_no_stream", "wait")], &[("missing.>", "stream", "MISSING")]);
    let first = bus.publish("orders.created", "acknowledged");
    bus.report(first);
    proxy.hold_replies();
    let in_flight = bus.series("orders.created", 100);
    let unsent = bus.series("missing.created", 50);
    wait_for("101 messages in the stream", PATIENCE, || (reader.message_count("ORDERS") == 101).then_some(()));
    assert_eq!(bus.publisher().purge(Purge { unsent: true, in_flight: false }).unwrap(), 50);
    assert_eq!(bus.publisher().purge(Purge { unsent: false, in_flight: true }).unwrap(), 100);
    bus.reported(151);
    proxy.resume();
    let last = bus.publish("orders.created", "acknowledged again");
    let books = bus.finish();
    books.persisted(&[first, last]);
    books.ended(&unsent, (Status::Purged, Persistence::NotPersisted, 0));
    books.ended(&in_flight, (Status::Purged, Persistence::PossiblyPersisted, 0));
    assert_eq!(books.stats.late_acks, 100, "they came, and nobody waited for them: {:?}", books.stats);
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 102);
}
