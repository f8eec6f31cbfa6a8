//! A publisher that has nothing to do sleeps: its threads wake for keep-alives, and otherwise hardly ever.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ackbus::{Handlers, Publisher, Sink};
use ackbus_test_support::{Server, wait_for};

use super::{LONG, STREAM, alone, config, our_threads, set_topics};

const PUBLISHERS: u64 = 4;
const SECONDS: u64 = 5;

struct Ignore;

impl Sink for Ignore {}

/// How often threads of ours went to sleep so far, and how many threads those are. Who was woken for nothing sleeps again, so each wake-up counts.
fn sleeps() -> (u64, usize) {
    let threads = our_threads();
    let of = |thread: &PathBuf| {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap().trim().parse::<u64>().unwrap()
    };
    (threads.iter().map(of).sum(), threads.len())
}

fn stays_asleep(servers: &str) {
    let publishers: Vec<Publisher> = (0..PUBLISHERS)
        .map(|_| {
            let handlers = Handlers { reports: Some(Arc::new(Ignore)), events: None };
            let bus = Publisher::connect(&config(servers, &[]), handlers).unwrap();
            // An ephemeral topic: nobody waits for an answer.
            bus.set_topic("costs.>", "mode", "ephemeral").unwrap();
            bus.publish("costs.idle", b"one", 0).unwrap();
            bus.flush(Some(LONG)).unwrap();
            bus
        })
        .collect();
    // A thread has its name a moment after it was born.
    let before = wait_for("an I/O and a report thread of each", LONG, || match sleeps() {
        (sum, threads) if threads == 2 * PUBLISHERS as usize => Some(sum),
        _ => None,
    });
    thread::sleep(Duration::from_secs(SECONDS));
    let wakeups = sleeps().0 - before;
    publishers.iter().for_each(|bus| bus.close(None).unwrap());
    assert!(wakeups <= 2 * SECONDS * PUBLISHERS, "{PUBLISHERS} idle publishers woke {wakeups} times in {SECONDS} s");
}

#[test]
fn an_idle_connection_wakes_at_most_twice_a_second() {
    let _one = alone();
    let server = Server::start();
    stays_asleep(&server.url());
}

#[test]
fn an_idle_publisher_in_memory_wakes_at_most_twice_a_second() {
    let _one = alone();
    stays_asleep("memory:");
}

#[test]
fn many_publishers_fit_into_one_process() {
    const MANY: usize = 200;
    let _one = alone();
    let server = Server::start();
    let mut config = config(&server.url(), &[]);
    set_topics(&mut config, &STREAM);
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let publishers: Vec<Publisher> = (0..MANY).map(|_| Publisher::connect(&config, Handlers::default()).unwrap()).collect();
    for bus in &publishers {
        bus.publish("costs.many", b"one", 0).unwrap();
    }
    for bus in &publishers {
        bus.flush(Some(LONG)).unwrap();
        assert_eq!(bus.stats().published, 1);
    }
    // The socket, tokio's three, and the wake descriptor.
    assert_eq!((sleeps().1, descriptors() - before), (MANY, 5 * MANY), "threads and descriptors");
    publishers.iter().for_each(|bus| bus.close(None).unwrap());
}
