//! What needs a process of its own, or a look inside: forks (P8), signals (P7), the moment between two locks (P6), and what a publisher leaves behind (P9).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use ackbus_test_support::{Proxy, Reader, Server, wait_for};

use crate::base::error::{Error, Status};
use crate::base::sys::{alone, in_child};
use crate::base::time::Clock;
use crate::bus::lane::{Command, FlushTicket};
use crate::bus::shared::Shared;
use crate::config::Config;
use crate::config::topic::Rules;
use crate::desk::report::Report;
use crate::desk::sink::{Handlers, Sink};
use crate::handler::Handler;
use crate::message::Message;
use crate::publisher::{Publisher, Purge, State};
use crate::window::places::Patience;

const LONG: Duration = Duration::from_secs(60);

struct Silent;
impl Sink for Silent {
    fn reports(&self, _: &[Report<'_>]) {}
}

fn memory(options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    config.set("servers", "memory:").unwrap();
    for (key, value) in options {
        config.set(key, value).unwrap();
    }
    config
}

#[test]
fn a_forked_child_is_refused_everywhere_and_the_parent_goes_on() {
    if !alone(module_path!(), "a_forked_child_is_refused_everywhere_and_the_parent_goes_on") {
        return;
    }
    let bus = Publisher::connect(&memory(&[("report", "all")]), Handlers::default()).unwrap();
    let ticket = bus.submit(&Message::new("a", b"")).unwrap();
    bus.publish("a", b"", 1).unwrap();
    bus.flush(None).unwrap();
    let batch = bus.poll(9, None).unwrap();
    let child = |number: u8| {
        in_child(|| {
            let message = Message::new("a", b"");
            let zero = Some(Duration::ZERO);
            let refused = [
                bus.publish("a", b"", 0).map(drop),
                bus.publish_message(&message).map(drop),
                bus.publish_batch([Ok(message.clone())], drop),
                bus.publish_wait(&message, None).map(drop),
                bus.submit(&message).map(drop),
                bus.poll(1, None).map(drop),
                bus.poll_events(1, None).map(drop),
                bus.wait_connected(None),
                bus.set_topic("a", "mode", "ephemeral"),
                bus.flush(None),
                bus.purge(Purge { unsent: true, in_flight: true }).map(drop),
                bus.close(zero),
                ticket.wait(None).map(drop),
                Publisher::connect(&memory(&[]), Handlers::default()).map(drop),
            ];
            let all = refused.iter().all(|result| result.as_ref().is_err_and(|error| error.status() == Status::Forked));
            let silent = bus.wake_fd().is_none() && ticket.try_take().is_none() && bus.stats().accepted == 0;
            let silent = silent && bus.metrics() == "# EOF\n";
            let told = bus.info().last_error.is_some_and(|error| error.status() == Status::Forked);
            // Neither is given back: what they hold belongs to the parent.
            drop(batch);
            drop(ticket);
            drop(bus);
            if all && silent && told { number } else { 1 }
        })
    };
    assert_eq!(child(7), Some(7));
}

#[test]
fn the_parent_of_a_fork_goes_on() {
    if !alone(module_path!(), "the_parent_of_a_fork_goes_on") {
        return;
    }
    goes_on_beside_forks(&memory(&[("report", "all")]));
}

#[test]
fn the_parent_of_a_fork_goes_on_with_all_its_connections() {
    if !alone(module_path!(), "the_parent_of_a_fork_goes_on_with_all_its_connections") {
        return;
    }
    let server = Server::start();
    Reader::connect(&server.url()).create_stream("S", &["a", "b", "c", "d"]);
    goes_on_beside_forks(&four_connections(&server));
}

fn four_connections(server: &Server) -> Config {
    let mut config = memory(&[("report", "all"), ("connections", "4")]);
    config.set("servers", &server.url()).unwrap();
    config
}

#[test]
fn every_connection_has_a_thread_that_no_signal_reaches() {
    if !alone(module_path!(), "every_connection_has_a_thread_that_no_signal_reaches") {
        return;
    }
    let server = Server::start();
    let bus = Publisher::connect(&four_connections(&server), Handlers::default()).unwrap();
    let mut names = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        if field("Name:").starts_with("ackbus-io") {
            let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
            // SIGHUP, SIGINT, SIGUSR1, SIGPIPE, SIGTERM (P7)
            assert!([1, 2, 10, 13, 15].iter().all(|signal| blocked >> (signal - 1) & 1 == 1), "{blocked:016x}");
            names.push(field("Name:"));
        }
    }
    names.sort();
    assert_eq!(names, ["ackbus-io", "ackbus-io-1", "ackbus-io-2", "ackbus-io-3"]);
    bus.close(None).unwrap();
}

/// Forks while other threads hold, and give back, every lock there is.
fn goes_on_beside_forks(config: &Config) {
    let bus = Publisher::connect(config, Handlers { reports: Some(Arc::new(Silent)), events: None }).unwrap();
    std::thread::scope(|scope| {
        let bus = &bus;
        let publish = |topic| scope.spawn(move || (0..20_000).for_each(|_| assert!(bus.publish(topic, b"", 0).is_ok())));
        let publishers = ["a", "b", "c", "d"].map(publish);
        for _ in 0..20 {
            let child = in_child(|| {
                let refused = bus.publish("a", b"", 0).is_err() && bus.flush(None).is_err() && bus.stats().accepted == 0 && bus.info().state == State::Failed;
                u8::from(refused)
            });
            assert_eq!(child, Some(1), "the child hangs or is served");
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
    bus.flush(Some(LONG)).unwrap();
    assert_eq!((bus.stats().published, bus.info().state), (80_000, State::Connected));
    bus.close(None).unwrap();
}

#[test]
fn a_host_with_default_sigpipe_outlives_a_server_killed_in_mid_write() {
    if !alone(module_path!(), "a_host_with_default_sigpipe_outlives_a_server_killed_in_mid_write") {
        return;
    }
    crate::base::sys::default_sigpipe();
    let server = Server::start();
    Reader::connect(&server.url()).create_stream("S", &["s"]);
    let proxy = Proxy::start(server.address());
    let mut config = memory(&[("report", "none"), ("max_pending", "200"), ("reconnect_wait_ms", "10")]);
    config.set("servers", &proxy.url()).unwrap();
    let bus = Publisher::connect(&config, Handlers { reports: Some(Arc::new(Silent)), events: None }).unwrap();
    let payload = vec![0; 200_000];
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| (0..400).try_for_each(|_| bus.publish("s", &payload, 0).map(drop)));
        for round in 0..6 {
            wait_for("bytes on their way", LONG, || (bus.stats().bytes_out > 4_000_000 * round).then_some(()));
            if round % 2 == 0 {
                proxy.reset()
            } else {
                server.kill()
            }
            if round % 2 == 1 {
                server.restart();
            }
        }
        publisher.join().unwrap().unwrap();
    });
    bus.flush(Some(LONG)).unwrap();
    let stats = bus.stats();
    assert!(stats.reconnects >= 3, "{stats:?}");
    assert_eq!((stats.accepted, stats.pending), (400, 0));
    bus.close(None).unwrap();
}

fn shared() -> Arc<Shared> {
    let settings = memory(&[]).settings().unwrap();
    Shared::new(settings, Rules::new(), Clock::Real(std::time::Instant::now()), &[7; 32], &Handlers::default()).unwrap()
}

#[test]
fn a_flush_counts_what_came_in_after_the_turn_began() {
    let shared = shared();
    let mut handler = Handler::new(Arc::clone(&shared), Arc::clone(shared.lanes.first()), 1);
    // Between the handler's look at the queue and its look at the commands a thread publishes and flushes.
    let id = shared.accept(&Message::new("a", b""), Patience::NoLimit, None).unwrap();
    let ticket = FlushTicket::new(shared.lanes.first().queue.last_id());
    shared.lanes.first().command(Command::Flush(Arc::clone(&ticket)));
    handler.finish_commands();
    assert_eq!(ticket.result(), None, "message {id} is not settled");
    handler.end_all(&Error::new(Status::Closed, "the end"));
    handler.hand_over();
    assert_eq!(ticket.result(), Some(1));
}

#[test]
fn flushes_that_nobody_waits_for_are_forgotten() {
    let shared = shared();
    let mut handler = Handler::new(Arc::clone(&shared), Arc::clone(shared.lanes.first()), 1);
    shared.accept(&Message::new("a", b""), Patience::NoLimit, None).unwrap();
    for _ in 0..1_000 {
        shared.lanes.first().command(Command::Flush(FlushTicket::new(1)));
        handler.finish_commands();
    }
    assert!(handler.flushes() <= 1, "{}", handler.flushes());
    shared.lane_done(shared.lanes.first());
    let ticket = FlushTicket::new(1);
    shared.lanes.first().command(Command::Flush(Arc::clone(&ticket)));
    assert_eq!(Arc::strong_count(&ticket), 1, "nobody is left to take it");
}

#[test]
fn a_new_rule_holds_for_its_first_message() {
    let shared = shared();
    let mut handler = Handler::new(Arc::clone(&shared), Arc::clone(shared.lanes.first()), 1);
    let mut rules = Rules::new();
    rules.set("a", "stream", "S").unwrap();
    shared.rules.store(Arc::new(rules)); // the command that tells the handler comes later
    shared.accept(&Message::new("a", b""), Patience::NoLimit, None).unwrap();
    shared.lanes.first().command(Command::Flush(FlushTicket::new(0)));
    handler.finish_commands();
    assert_eq!(handler.rules().get(1).stream.as_deref(), Some("S"));
}

#[test]
fn a_publisher_leaves_nothing_behind() {
    for explicit in [false, true] {
        let bus = Publisher::connect(&memory(&[("report", "all")]), Handlers::default()).unwrap();
        bus.publish("a", b"", 0).unwrap();
        let batch = bus.poll(1, Some(LONG)).unwrap();
        let shared = Arc::downgrade(&bus.shared);
        if explicit {
            bus.close(None).unwrap();
        }
        drop(bus);
        // The I/O thread lets go a moment after it said that it is gone.
        wait_for("the end of everything shared", LONG, || (shared.strong_count() == 0).then_some(()));
        assert_eq!(batch.get(0).unwrap().topic(), "a", "a batch keeps what it needs");
    }
}
