//! Three servers: leaders that resign, die, or go into retirement.

use std::collections::BTreeMap;

use ackbus::EventKind;
use ackbus_test_support::{Cluster, Reader, StreamConfig};

use crate::common::{Books, Bus};

const RULES: &[(&str, &str, &str)] = &[("orders.>", "stream", "ORDERS")];
/// An election takes seconds; nothing else may end a message.
const OPTIONS: &[(&str, &str)] = &[("max_pending", "2048"), ("delivery_timeout_ms", "3600000")];

fn replicated(cluster: &Cluster) -> Reader {
    let reader = Reader::connect(&cluster.url());
    let subjects = vec!["orders.>".into()];
    reader.create_stream_with(StreamConfig { name: "ORDERS".into(), subjects, num_replicas: cluster.servers().len(), ..Default::default() });
    reader
}

/// All stored, and what the trouble cost: the gate holds the many back, the few that try have some attempts more.
#[track_caller]
fn cheap(books: &Books, troubles: u32) {
    books.all_persisted();
    let mut attempts: BTreeMap<u32, usize> = BTreeMap::new();
    for seen in books.reports.values() {
        *attempts.entry(seen.attempts).or_default() += 1;
    }
    eprintln!("TEMP {attempts:?} {:?} {:?}", books.stats, books.events.iter().map(|e| e.text.clone()).collect::<Vec<_>>());
    // Each trouble costs those under way one or two attempts: refused or lost, sent again. Only probes have more, one message for each trouble's step.
    let probes: usize = attempts.range(2 * troubles + 2..).map(|(_, count)| count).sum();
    assert!(probes <= 16 * troubles as usize, "messages by attempts: {attempts:?}");
    assert!(attempts.keys().all(|&count| count <= 30), "messages by attempts: {attempts:?}");
}

#[test]
fn elections_in_mid_run_lose_nothing() {
    let cluster = Cluster::start(3);
    let reader = replicated(&cluster);
    let bus = Bus::connect(&cluster.url(), OPTIONS, RULES);
    std::thread::scope(|scope| {
        scope.spawn(|| bus.series("orders.created", 20_000));
        for round in 1..=3 {
            bus.reported(round * 4_000);
            // Only a stream that has a leader can be told to change it.
            let _ = cluster.leader(&reader, "ORDERS");
            cluster.step_down(&reader, "ORDERS");
        }
    });
    let books = bus.finish();
    cheap(&books, 3);
    assert_eq!(books.stats.reconnects, 0, "{:?}", books.events);
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_killed_leader_is_replaced() {
    let cluster = Cluster::start(3);
    let reader = replicated(&cluster);
    let bus = Bus::connect(&cluster.url(), OPTIONS, RULES);
    std::thread::scope(|scope| {
        scope.spawn(|| bus.series("orders.created", 20_000));
        bus.reported(5_000);
        let leader = &cluster.servers()[cluster.leader(&reader, "ORDERS")];
        leader.kill();
        bus.reported(15_000);
        leader.restart();
    });
    let books = bus.finish();
    cheap(&books, 2);
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_server_that_retires_is_left_in_time() {
    let cluster = Cluster::start(3);
    let reader = replicated(&cluster);
    let bus = Bus::connect(&cluster.url(), OPTIONS, RULES);
    let before = bus.publisher().info().server;
    let retiring = cluster.servers().iter().find(|server| server.url() == before).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| bus.series("orders.created", 20_000));
        bus.reported(5_000);
        retiring.lame_duck();
        bus.event(EventKind::LameDuck);
        bus.event(EventKind::Reconnected);
    });
    assert_ne!(bus.publisher().info().server, before);
    let books = bus.finish();
    cheap(&books, 2);
    assert!(!books.has_event(EventKind::Disconnected), "the new connection stood before the old one ended: {:?}", books.events);
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_stream_that_waits_for_its_leader_holds_nobody_else() {
    let cluster = Cluster::start(3);
    let reader = replicated(&cluster);
    // A stream on the one server that stays alone with it.
    reader.create_stream("EVENTS", &["events.>"]);
    let home = cluster.leader(&reader, "EVENTS");
    let bus = Bus::connect(&cluster.servers()[home].url(), &[OPTIONS, &[("discover_servers", "false")]].concat(), &[RULES, &[("events.>", "stream", "EVENTS")]].concat());
    let first = bus.series("orders.created", 100);
    bus.reported(100);
    // Without its majority the replicated stream takes nothing; the other one needs nobody.
    let others: Vec<_> = (0..3).filter(|&index| index != home).map(|index| &cluster.servers()[index]).collect();
    for other in &others {
        other.kill();
    }
    let held = bus.series("orders.created", 500);
    let events = bus.series("events.created", 1_000);
    bus.reported(1_100);
    assert_eq!(bus.publisher().pending(), 500);
    for other in &others {
        other.restart();
    }
    let books = bus.finish();
    books.persisted(&first);
    books.persisted(&held);
    books.persisted(&events);
    assert!(books.of(&events).all(|seen| seen.attempts == 1), "they never waited");
    books.compare(&reader, &["ORDERS", "EVENTS"]);
}
