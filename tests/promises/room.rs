//! Nobody waits who could go: beside streams that are held, and with few places free.

use std::thread;
use std::time::Duration;

use ackbus::{Config, Publisher, StallWait, Status};
use ackbus::{Message, Purge};
use ackbus_test_support::{Proxy, Reader, Server, wait_for};
use nix::poll::PollTimeout;

use super::bus::{LONG, config, on_event, within};
use super::polling::readable;

const NOW: Option<Duration> = Some(Duration::ZERO);
const ALL: Purge = Purge { unsent: true, in_flight: true };

/// Two rules, of which the first one's stream is missing.
fn rules(url: &str, options: &[(&str, &str)]) -> Config {
    let common = [
        ("max_pending", "8"),
        ("on_no_stream", "wait"),
        ("report", "none"),
        ("close_timeout_ms", "0"),
        ("ack_wait_ms", "60000"),
        ("ping_interval_ms", "60000"),
    ];
    let mut config = config(url, &[&common, options].concat());
    config.set_topic("bad.>", "stream", "BAD").unwrap();
    config.set_topic("good.>", "stream", "GOOD").unwrap();
    config
}

/// Fills the share of the stream that is missing.
fn fill_share(bus: &Publisher, share: u64) {
    bus.publish("bad.1", b"", 0).unwrap();
    wait_for("the gate", LONG, || (bus.stats().gates_held == 1).then_some(()));
    (1..share).for_each(|tag| assert!(bus.publish("bad.1", b"", tag).is_ok()));
    let message = Message { stall_wait: StallWait::AtMost(Duration::ZERO), ..Message::new("bad.1", b"") };
    let error = bus.publish_message(&message).unwrap_err();
    assert!(error.status() == Status::QueueFull && error.held_by() != 0, "{error}");
}

/// Forgets what the descriptor told until now.
fn hush(bus: &Publisher) {
    while readable(bus, PollTimeout::ZERO) {
        drop(bus.poll(9, NOW).unwrap());
    }
}

#[test]
fn the_last_place_beside_a_held_stream_is_room() {
    let server = Server::start();
    Reader::connect(&server.url()).create_stream("GOOD", &["good.>"]);
    let proxy = Proxy::start(server.address());
    within("the wake fd beside a held stream", move || {
        let config = rules(&proxy.url(), &[("on_full", "fail"), ("gate_share", "90")]);
        let bus = Publisher::connect(&config, on_event(|_| ())).unwrap();
        bus.publish("good.1", b"", 0).unwrap();
        bus.flush(Some(LONG)).unwrap();
        fill_share(&bus, 7);
        for tag in 0..20 {
            proxy.hold_replies();
            bus.publish("good.1", b"", tag).unwrap();
            let error = bus.publish("good.1", b"", tag).unwrap_err();
            assert_eq!((error.status(), error.held_by()), (Status::QueueFull, 0), "{error}");
            hush(&bus);
            proxy.resume();
            assert!(readable(&bus, PollTimeout::try_from(LONG).unwrap()), "seven of eight places stay taken");
            assert!(bus.poll(9, NOW).unwrap().room());
        }
        bus.publish("good.1", b"", 0).unwrap();
        bus.close(NOW).unwrap();
    });
}

#[test]
fn who_waits_for_a_held_stream_hears_of_it_alone() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("GOOD", &["good.>"]);
    within("the wake fd of a held stream", move || {
        let bus = Publisher::connect(&rules(&server.url(), &[("on_full", "fail"), ("gate_share", "50")]), on_event(|_| ())).unwrap();
        fill_share(&bus, 4);
        hush(&bus);
        for tag in 0..20 {
            bus.publish("good.1", b"", tag).unwrap();
            wait_for("the ack", LONG, || (bus.stats().published == tag + 1).then_some(()));
        }
        wait_for("their places", LONG, || (bus.pending() == 4).then_some(()));
        assert!(!readable(&bus, PollTimeout::ZERO), "those places are none of its");
        reader.create_stream("BAD", &["bad.>"]);
        assert!(readable(&bus, PollTimeout::try_from(LONG).unwrap()));
        assert!(bus.poll(9, NOW).unwrap().room());
        bus.publish("bad.1", b"", 9).unwrap();
        bus.close(Some(LONG)).unwrap();
        assert_eq!(reader.stream_info("BAD").unwrap().state.messages, 5);
    });
}

#[test]
fn the_end_and_new_rules_are_told_to_who_was_refused() {
    let server = Server::start();
    Reader::connect(&server.url()).create_stream("GOOD", &["good.>", "bad.special"]);
    within("the wake fd at the end", move || {
        let bus = Publisher::connect(&rules(&server.url(), &[("on_full", "fail"), ("gate_share", "50")]), on_event(|_| ())).unwrap();
        fill_share(&bus, 4);
        assert_eq!(bus.publish("bad.special", b"", 0).unwrap_err().status(), Status::QueueFull);
        hush(&bus);
        bus.set_topic("bad.special", "stream", "GOOD").unwrap();
        assert!(readable(&bus, PollTimeout::ZERO), "its topic has another rule now");
        assert!(bus.poll(9, NOW).unwrap().room());
        bus.publish("bad.special", b"", 0).unwrap();
        assert_eq!(bus.publish("bad.1", b"", 0).unwrap_err().status(), Status::QueueFull);
        thread::scope(|scope| {
            let closing = scope.spawn(|| bus.close(NOW));
            assert!(bus.poll(9, Some(LONG)).is_ok_and(|reports| reports.room()), "nobody is told to wait for a publisher that ends");
            closing.join().unwrap().unwrap();
        });
        assert_eq!(bus.publish("bad.1", b"", 0).unwrap_err().status(), Status::Closed);
    });
}

/// Threads: those of a held stream wait for it alone, and the others go on, also through places that wake those first.
#[test]
fn threads_that_wait_for_a_held_stream_hold_up_nobody() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("GOOD", &["good.>"]);
    within("threads beside a held stream", move || {
        let bus = Publisher::connect(&rules(&server.url(), &[("gate_share", "50")]), super::bus::on_reports(|_| ())).unwrap();
        fill_share(&bus, 4);
        thread::scope(|scope| {
            let held: Vec<_> = (0..16).map(|_| scope.spawn(|| bus.publish("bad.1", b"", 1).map_err(|error| error.status()))).collect();
            let going: Vec<_> = (0..16).map(|_| scope.spawn(|| (0..100).for_each(|tag| assert!(bus.publish("good.1", b"", tag).is_ok())))).collect();
            for thread in going {
                thread.join().unwrap();
            }
            assert!(held.iter().all(|thread| !thread.is_finished()));
            wait_for("the acks", LONG, || (bus.stats().published == 1_600).then_some(()));
            // One place of the share comes back for each that is purged, and each wakes the next.
            assert_eq!(bus.purge(ALL).unwrap(), 4);
            reader.create_stream("BAD", &["bad.>"]);
            for thread in held {
                assert!(thread.join().unwrap().is_ok());
            }
        });
        bus.close(Some(LONG)).unwrap();
    });
}
