//! Trouble that lasts, with many messages or many topics: what the bus sends meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackbus_test_support::async_nats::jetstream::stream::StorageType;
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, choose, wait_for};

use crate::common::{Bus, PATIENCE, Rules};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");

/// Counts publishes, and none of the questions.
fn counted(proxy: &Proxy) -> Arc<AtomicU64> {
    let frames = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&frames);
    proxy.filter_up(move |_, frame| {
        count.fetch_add(u64::from(choose::is_publish(frame)), Ordering::Relaxed);
        Action::Pass
    });
    frames
}

/// The server has no memory left for streams (10023) for some seconds.
#[test]
fn a_server_without_resources_is_probed_and_not_stormed() {
    let server = Server::options().jetstream("max_memory_store: 1MB").start();
    let reader = Reader::connect(&server.url());
    let memory =
        |name: &str, subject: &str| StreamConfig { name: name.into(), subjects: vec![subject.into()], storage: StorageType::Memory, ..Default::default() };
    reader.create_stream_with(memory("FILL", "fill"));
    reader.create_stream_with(memory("ORDERS", "orders.>"));
    for rules in [&[("orders.>", "stream", "ORDERS")][..], &[]] {
        let proxy = Proxy::start(server.address());
        let frames = counted(&proxy);
        let bus = Bus::connect(&proxy.url(), &[NEVER], rules);
        bus.series("orders.x", 10);
        bus.reported(10);
        // The last one finds no room: the one before it made it too much.
        let mut fill = 0;
        wait_for("a full memory", PATIENCE, || {
            fill += 1;
            let reply = reader.request("fill", &[b'x'; 128 * 1024]);
            String::from_utf8_lossy(&reply).contains("10023").then_some(())
        });
        let before = frames.load(Ordering::Relaxed);
        bus.series("orders.x", 1_000);
        std::thread::sleep(Duration::from_secs(4)); // So long is the fault.
        assert_eq!(bus.publisher().stats().published, 10, "nothing is taken now");
        let during = frames.load(Ordering::Relaxed) - before;
        reader.api("STREAM.PURGE.FILL", &serde_json::Value::Null).unwrap();
        let books = bus.finish();
        books.all_persisted();
        let all = frames.load(Ordering::Relaxed) - before;
        // Each went once before the first refusal came back, and once more when there was room; between the two one at a time was tried.
        assert!(during <= 1_500 && all <= 3_000, "{during} frames in {fill} fills during the fault, {all} in all, for 1,000 messages: {rules:?}");
        reader.api("STREAM.PURGE.ORDERS", &serde_json::Value::Null).unwrap();
    }
}

const TOPICS: usize = 3_000;

/// Three thousand topics, more than there are gates, and no stream.
#[test]
fn thousands_of_topics_without_a_stream_wait_quietly_and_in_order() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let proxy = Proxy::start(server.address());
    let frames = counted(&proxy);
    let bus = Bus::connect(&proxy.url(), &[NEVER, ("on_no_stream", "wait"), ("max_pending", "40000")], &[]);
    let mut ids: HashMap<String, Vec<u64>> = HashMap::new();
    for n in 0..3 * TOPICS {
        let topic = format!("t.{}", n % TOPICS);
        let id = bus.publish(&topic, format!("{n}"));
        ids.entry(topic).or_default().push(id);
    }
    // The first frames of all are out, and have been refused.
    wait_for("the first frames", PATIENCE, || (frames.load(Ordering::Relaxed) >= TOPICS as u64).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let (before, start) = (frames.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(Duration::from_secs(3)); // The time that is measured.
    let rate = (frames.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
    assert!(rate < 3_000.0, "{rate:.0} frames a second");
    assert_eq!(bus.publisher().pending(), 3 * TOPICS as u64);
    reader.create_stream("TOPICS", &["t.>"]);
    let books = bus.finish();
    books.all_persisted();
    for (topic, ids) in ids {
        let places: Vec<u64> = books.of(&ids).map(|seen| seen.seq).collect();
        assert!(places.is_sorted(), "{topic}: {places:?}");
    }
}

/// An outage that lasts for more attempts than a token can tell.
#[test]
fn attempts_have_no_end_before_the_deadline() {
    const MANY: u64 = 4_300;
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let ways: [(&[u8], Rules<'_>); 2] = [
        (br#"{"error":{"code":503,"err_code":10163,"description":"busy"},"stream":"ORDERS","seq":0}"#, &[("orders.>", "stream", "ORDERS")]),
        (br#"{"error":{"code":503,"err_code":10163,"description":"busy"}}"#, &[]),
    ];
    for (answer, rules) in ways {
        let proxy = Proxy::start(server.address());
        let frames = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&frames);
        proxy.filter_up(move |_, frame| {
            let meets = choose::is_publish(frame) && count.fetch_add(1, Ordering::Relaxed) < MANY;
            if meets { Action::Reply(answer.to_vec()) } else { Action::Pass }
        });
        let bus = Bus::connect(&proxy.url(), &[NEVER, ("retry_backoff_ms", "1"), ("retry_backoff_max_ms", "1")], rules);
        let id = bus.publish("orders.x", format!("{rules:?}"));
        let seen = bus.report(id);
        assert!(seen.is_persisted(), "after {} frames: {seen:?}", frames.load(Ordering::Relaxed));
        assert_eq!(u64::from(seen.attempts), MANY + 1, "{seen:?}");
        bus.finish();
    }
}
