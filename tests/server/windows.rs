//! The duplicate window is the stream's: what the bus does when it changes, is small, or cannot be read (P4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ackbus::{EventKind, Persistence};
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, Verb, choose, wait_for};

use crate::common::{Bus, PATIENCE, Rules, Seen};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const QUICK: (&str, &str) = ("ack_wait_ms", "500");

fn stream(name: &str, subject: &str, window: Duration) -> StreamConfig {
    StreamConfig { name: name.into(), subjects: vec![subject.into()], duplicate_window: window, ..Default::default() }
}

/// One copy in the stream, and a report that says why there was no second attempt.
#[track_caller]
pub(crate) fn once_and_told(seen: &Seen, reader: &Reader, stream: &str, about: &str) {
    let copies = reader.read_all(stream).into_iter().filter(|message| message.payload == seen.payload).count();
    assert_eq!(copies, 1, "{about}: {seen:?}");
    assert_eq!(seen.persistence, Persistence::PossiblyPersisted, "{about}: {seen:?}");
    assert!(seen.text.contains("window"), "{about}: {seen:?}");
}

/// The window was made smaller after the bus had read it. What is in doubt when the connection comes back is older than it allows.
#[test]
fn a_smaller_window_is_learnt_after_a_reconnect() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let mut all = Vec::new();
    for (number, (named, reconnects)) in [(true, false), (true, true), (false, false), (false, true)].into_iter().enumerate() {
        let (name, subject) = (format!("W{number}"), format!("w{number}.>"));
        reader.create_stream_with(stream(&name, &subject, Duration::from_secs(120)));
        let proxy = Proxy::start(server.address());
        let rules: Rules<'_> = &[(&subject, "stream", &name)];
        let bus = Bus::connect(&proxy.url(), &[NEVER, QUICK], if named { rules } else { &[] });
        let topic = format!("w{number}.x");
        let first = bus.publish(&topic, "first");
        assert!(bus.report(first).is_persisted());
        reader.update_stream(stream(&name, &subject, Duration::from_secs(2)));
        if reconnects {
            proxy.reset();
            bus.event(EventKind::Reconnected);
            let second = bus.publish(&topic, "second");
            assert!(bus.report(second).is_persisted());
        }
        proxy.hold_replies();
        let third = bus.publish(&topic, "third");
        all.push((format!("named {named}, reconnects {reconnects}"), name, proxy, bus, third));
    }
    std::thread::sleep(Duration::from_secs(3)); // Longer than the window.
    for (about, name, proxy, bus, third) in all {
        proxy.reset();
        proxy.resume();
        once_and_told(&bus.report(third), &reader, &name, &about);
        let last = bus.publish("w0.after", "the bus goes on");
        assert!(bus.report(last).is_persisted(), "{about}");
        bus.finish();
    }
}

/// A window that is large enough: what is in doubt goes again, and is found stored.
#[test]
fn a_window_that_allows_it_lets_messages_go_again() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(stream("ORDERS", "orders.>", Duration::from_secs(20)));
    let proxy = Proxy::start(server.address());
    for rules in [&[("orders.>", "stream", "ORDERS")][..], &[]] {
        let bus = Bus::connect(&proxy.url(), &[NEVER, QUICK, ("assume_duplicate_window_ms", "20000")], rules);
        bus.series("orders.x", 10);
        bus.reported(10);
        proxy.hold_replies();
        bus.series("orders.x", 10);
        std::thread::sleep(Duration::from_secs(2)); // Several times ack_wait, and a part of the window.
        proxy.reset();
        proxy.resume();
        let books = bus.finish();
        books.all_persisted();
    }
    assert_eq!(reader.message_count("ORDERS"), 40);
}

/// No connection is lost: the gate of the stream opens again after a while, and the window has changed meanwhile.
#[test]
fn a_smaller_window_is_learnt_when_a_gate_opens() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(stream("ORDERS", "orders.>", Duration::from_secs(120)));
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[NEVER, QUICK], &[("orders.>", "stream", "ORDERS")]);
    let warm = bus.publish("orders.x", "warm");
    assert!(bus.report(warm).is_persisted());
    let closed = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&closed);
    proxy.filter_up(move |_, frame| {
        let meets = refuses.load(Ordering::Relaxed) && choose::is_publish(frame) && memchr::memmem::find(frame, b"refused").is_some();
        if meets {
            Action::Reply(br#"{"error":{"code":503,"err_code":10008,"description":"unavailable"},"stream":"ORDERS","seq":0}"#.to_vec())
        } else {
            Action::Pass
        }
    });
    let swallows = Arc::clone(&closed);
    proxy.filter(move |verb, frame| {
        let meets = swallows.load(Ordering::Relaxed) && verb == Verb::Msg && memchr::memmem::find(frame, br#""seq":2"#).is_some();
        if meets { Action::Drop } else { Action::Pass }
    });
    // Both are under way before the first is refused, which holds the gate; the second is stored, and its ack is lost.
    proxy.hold_publishes();
    let refused = bus.publish("orders.x", "refused");
    let doubtful = bus.publish("orders.x", "doubtful");
    wait_for("two more attempts", PATIENCE, || (bus.publisher().stats().attempts == 3).then_some(()));
    proxy.resume();
    bus.event(EventKind::GateHeld);
    reader.update_stream(stream("ORDERS", "orders.>", Duration::from_secs(2)));
    std::thread::sleep(Duration::from_secs(3)); // Longer than the new window.
    closed.store(false, Ordering::Relaxed);
    assert!(bus.report(refused).is_persisted());
    once_and_told(&bus.report(doubtful), &reader, "ORDERS", "a gate that opens");
    bus.finish();
}

#[test]
fn a_window_that_is_not_larger_than_ack_wait_is_a_risk() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream_with(stream("SMALL", "small.>", Duration::from_secs(2)));
    reader.create_stream_with(stream("LARGE", "large.>", Duration::from_secs(3)));
    let bus = Bus::connect(&server.url(), &[("ack_wait_ms", "2000"), NEVER], &[("small.>", "stream", "SMALL"), ("large.>", "stream", "LARGE")]);
    bus.series("small.x", 10);
    bus.series("large.x", 10);
    let risk = bus.event_within(Duration::from_secs(5), |event| event.kind == EventKind::StreamRisk);
    assert!(risk.is_some_and(|event| event.text.contains("SMALL") && event.text.contains("window")));
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::StreamRisk).count(), 1, "{:?}", books.events);
}

/// A second, and what a busy machine adds to it. Less than `ack_wait`.
const SOON: Duration = Duration::from_secs(4);

/// Whoever may not ask for the window, or gets no answer, resends all the same: at once, or after a second.
#[test]
fn who_learns_no_window_resends_soon() {
    let server = Server::options().user("admin", "pw", "").user("app", "pw", r#"publish: { deny: "$JS.API.>" }"#).start();
    let reader = Reader::connect(&server.url().replace("nats://", "nats://admin:pw@"));
    reader.create_stream("ORDERS", &["orders.>"]);
    for (user, rules) in [("app", &[("orders.>", "stream", "ORDERS")][..]), ("app", &[]), ("admin", &[("orders.>", "stream", "ORDERS")])] {
        let proxy = Proxy::start(server.address());
        let bus = Bus::connect(&proxy.url(), &[("user", user), ("password", "pw"), NEVER], rules);
        bus.series("orders.x", 10);
        bus.reported(10);
        if user == "admin" {
            // This one asks, and hears nothing.
            proxy.filter_up(|_, frame| if choose::subject(frame).is_some_and(|subject| subject.starts_with("$JS.API.")) { Action::Drop } else { Action::Pass });
        }
        proxy.hold_replies();
        let ids = bus.series("orders.x", 200);
        proxy.reset();
        proxy.resume();
        bus.event(EventKind::Reconnected);
        let start = Instant::now();
        let last = bus.report_within(ids[199], SOON);
        assert!(last.as_ref().is_some_and(Seen::is_persisted), "{user} {rules:?} after {:?}: {last:?}", start.elapsed());
        proxy.no_filter_up();
        let books = bus.finish();
        books.all_persisted();
    }
    assert_eq!(reader.message_count("ORDERS"), 630);
}

const MANY: usize = 1_000;

/// A thousand streams have something in doubt when the connection comes back.
#[test]
fn a_thousand_windows_are_asked_for_a_few_at_a_time() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    for n in 0..MANY {
        let config = serde_json::json!({ "name": format!("S{n}"), "subjects": [format!("s.{n}")], "storage": "memory" });
        reader.api(&format!("STREAM.CREATE.S{n}"), &config).unwrap();
    }
    let rules: Vec<(String, String)> = (0..MANY).map(|n| (format!("s.{n}"), format!("S{n}"))).collect();
    let rules: Vec<(&str, &str, &str)> = rules.iter().map(|(topic, name)| (topic.as_str(), "stream", name.as_str())).collect();
    for rules in [&rules[..], &[]] {
        let proxy = Proxy::start(server.address());
        let (open, most, asked) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
        let bus = Bus::connect(&proxy.url(), &[NEVER], rules);
        for n in 0..MANY {
            bus.publish(&format!("s.{n}"), format!("first {n}"));
        }
        bus.reported(MANY);
        proxy.hold_replies();
        for n in 0..MANY {
            bus.publish(&format!("s.{n}"), format!("second {n}"));
        }
        // Out, and so in doubt when the connection is lost.
        wait_for("the second messages to leave", PATIENCE, || (bus.publisher().stats().attempts >= 2 * MANY as u64).then_some(()));
        let (up, up_most, up_asked) = (Arc::clone(&open), Arc::clone(&most), Arc::clone(&asked));
        proxy.filter_up(move |verb, frame| {
            if verb == Verb::Connect {
                up.store(0, Ordering::Relaxed);
            }
            if choose::subject(frame).is_some_and(|subject| subject.starts_with("$JS.API.")) {
                up_asked.fetch_add(1, Ordering::Relaxed);
                up_most.fetch_max(up.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            Action::Pass
        });
        let down = Arc::clone(&open);
        proxy.filter(move |_, frame| {
            down.fetch_sub(i64::from(memchr::memmem::find(frame, br#""type":"io.nats.jetstream.api."#).is_some()), Ordering::Relaxed);
            Action::Pass
        });
        proxy.reset();
        proxy.resume();
        bus.event(EventKind::Reconnected);
        let start = Instant::now();
        let books = bus.finish();
        assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
        books.all_persisted();
        let (most, asked) = (most.load(Ordering::Relaxed), asked.load(Ordering::Relaxed));
        assert!(most <= 16, "{most} questions were open at once; {asked} in all");
        if !rules.is_empty() {
            assert!(asked > 0, "the windows are asked for");
        }
    }
}
