//! In steady state a message allocates nothing: not where it is published, not on the I/O thread, not where it is reported.
//!
//! That is for messages of up to 64 KiB, as long as free slots together keep no more than 8 MiB: the memory of others is given back when they are settled (P9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ackbus::{Handlers, Message, Persistence, Publisher, Report, Sink};
use ackbus_test_support::Server;

use super::counting::{allocations_here, allocations_of};
use super::{LONG, STREAM, alone, config, set_topics};

const WARM_UP: u64 = 50_000;
const COUNTED: u64 = 50_000;
/// Some buffer may yet grow, once, when threads take turns as they never did before. Far from one in a thousand messages.
const MOST: u64 = 40;

#[derive(Default)]
struct Tally {
    persisted: AtomicU64,
    others: AtomicU64,
}

impl Sink for Tally {
    fn reports(&self, reports: &[Report<'_>]) {
        let persisted = reports.iter().filter(|report| report.persistence() == Persistence::Persisted).count();
        self.persisted.fetch_add(persisted as u64, Ordering::Relaxed);
        self.others.fetch_add((reports.len() - persisted) as u64, Ordering::Relaxed);
    }
}

fn message(tag: u64) -> Message<'static> {
    let topic = ["costs.a", "costs.b", "costs.c"][tag as usize % 3];
    Message { tag, ..Message::new(topic, &[b'x'; 128]) }
}

fn one_by_one(bus: &Publisher, count: u64) {
    for tag in 0..count {
        bus.publish_message(&message(tag)).unwrap();
    }
}

/// One long batch: the call may allocate, its messages may not.
fn in_a_batch(bus: &Publisher, count: u64) {
    bus.publish_batch((0..count).map(|tag| Ok(message(tag))), |_| {}).unwrap();
}

/// Publishes so many messages.
type Publish = fn(&Publisher, u64);

/// What publishing so many messages made each thread ask for: the calling, the I/O and the report thread.
fn count(bus: &Publisher, publish: Publish, messages: u64) -> [u64; 3] {
    let ours = || [allocations_of("ackbus-io"), allocations_of("ackbus-report")];
    let [io, report] = ours();
    let here = allocations_here();
    publish(bus, messages);
    let here = allocations_here() - here;
    bus.flush(Some(LONG)).unwrap();
    let [io_after, report_after] = ours();
    [here, io_after - io, report_after - report]
}

fn steady_state(servers: &str, rule: &[(&str, &str)], publish: Publish, warm_up: u64) {
    let tally = Arc::new(Tally::default());
    // A machine that pauses makes nothing be sent again: that would be another state.
    let mut config = config(servers, &[("max_pending", "1000"), ("report", "all"), ("ack_wait_ms", "120000"), ("delivery_timeout_ms", "240000")]);
    set_topics(&mut config, rule);
    let bus = Publisher::connect(&config, Handlers { reports: Some(Arc::clone(&tally) as Arc<dyn Sink>), events: None }).unwrap();
    publish(&bus, warm_up);
    bus.flush(Some(LONG)).unwrap();
    let [publishing, io, report] = count(&bus, publish, COUNTED);
    assert_eq!((tally.persisted.load(Ordering::Relaxed), tally.others.load(Ordering::Relaxed)), (warm_up + COUNTED, 0));
    bus.close(None).unwrap();
    assert!(publishing <= MOST, "{COUNTED} messages made {publishing} allocations on the publishing thread");
    assert!(io <= MOST, "{COUNTED} messages made {io} allocations on the I/O thread");
    assert!(report <= MOST, "{COUNTED} messages made {report} allocations on the report thread");
}

#[test]
fn a_message_to_a_server_allocates_nothing() {
    let _one = alone();
    let server = Server::start();
    steady_state(&server.url(), &STREAM, one_by_one, WARM_UP);
}

#[test]
fn a_message_of_a_batch_allocates_nothing() {
    let _one = alone();
    let server = Server::start();
    steady_state(&server.url(), &STREAM, in_a_batch, WARM_UP);
}

#[test]
fn a_message_in_memory_allocates_nothing() {
    let _one = alone();
    // The wire in memory remembers 100,000 Msg-Ids; from then on each takes the place of another.
    steady_state("memory:", &[], one_by_one, 100_000 + WARM_UP);
}
