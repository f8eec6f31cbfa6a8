//! Servers that die, connections that break: what was accepted arrives, once and in order.

use ackbus::EventKind;
use ackbus_test_support::{Proxy, Reader, Server, wait_for};

use crate::common::{Bus, PATIENCE};

#[test]
fn a_killed_server_comes_back_with_its_store() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("max_pending", "1024")], &[("orders.>", "stream", "ORDERS")]);
    std::thread::scope(|scope| {
        scope.spawn(|| bus.series("orders.created", 30_000));
        for round in 1..=2 {
            bus.reported(round * 10_000);
            server.kill();
            bus.events(EventKind::Disconnected, round);
            server.restart();
            bus.events(EventKind::Reconnected, round);
        }
    });
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert_eq!(stored.len(), 30_000);
    assert_eq!(books.stats.reconnects, 2);
    assert!(books.reports.values().all(|seen| seen.attempts <= 4 && !seen.is_duplicate()), "each loss costs an attempt, and a probe");
}

#[test]
fn connections_that_are_reset_again_and_again_lose_nothing() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[("max_pending", "512")], &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| bus.series("orders.created", 20_000));
        for round in 1..=10 {
            bus.reported(round * 1_500);
            proxy.reset();
            bus.events(EventKind::Reconnected, round);
        }
    });
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert_eq!(books.stats.reconnects, 10);
}

#[test]
fn a_half_open_connection_is_noticed_and_replaced() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    // Silence alone must end the connection: acks are not waited for, and no message has a deadline.
    let options = [("ping_interval_ms", "200"), ("ack_wait_ms", "60000"), ("delivery_timeout_ms", "3600000"), ("connect_timeout_ms", "1000")];
    let bus = Bus::connect(&proxy.url(), &options, &[]);
    bus.series("orders.created", 100);
    bus.reported(100);
    proxy.hold();
    bus.series("orders.created", 1_000);
    bus.event(EventKind::Disconnected);
    proxy.resume();
    bus.event(EventKind::Reconnected);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[test]
fn a_connection_lost_with_acks_under_way_stores_each_message_once() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "60000"), ("delivery_timeout_ms", "3600000")], &[]);
    proxy.hold_replies();
    let ids = bus.series("orders.created", 1_000);
    // The server has stored and acknowledged them all, and we do not know.
    wait_for("1,000 acks on their way", PATIENCE, || {
        let page = server.monitor("/connz").ok()?;
        let ours = page["connections"].as_array()?.iter().find(|connection| connection["name"] == "ackbus")?;
        (ours["out_msgs"].as_u64()? >= 1_000).then_some(())
    });
    assert_eq!(bus.publisher().pending(), 1_000);
    proxy.reset();
    bus.event(EventKind::Disconnected);
    proxy.resume();
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert!(books.of(&ids).all(|seen| seen.attempts == 2 && !seen.is_duplicate()), "found to be stored by a resend, which is no duplicate of the caller's");
    assert_eq!((books.stats.duplicates, books.stats.resent, books.stats.ack_timeouts), (1_000, 1_000, 0), "{:?}", books.stats);
}

#[test]
fn nothing_is_sent_again_to_a_server_that_has_not_read_the_first() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("ack_wait_ms", "200"), ("ping_interval_ms", "60000"), ("delivery_timeout_ms", "3600000")], &[]);
    server.pause();
    // So few that the kernel takes them all.
    let ids = bus.series("orders.created", 200);
    wait_for("all attempts to fall silent", PATIENCE, || (bus.publisher().stats().ack_timeouts == 200).then_some(()));
    assert_eq!(bus.publisher().stats().attempts, 200, "no PONG, no resend");
    server.resume();
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    // The server answers PINGs at once and stores behind them, so the fence may close before the acks are here.
    assert!(books.of(&ids).all(|seen| seen.attempts <= 3 && !seen.is_duplicate()));
}
