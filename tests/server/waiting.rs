//! Messages that wait for a stream (`on_no_stream=wait`): what ends it, and who need not wait with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackbus::{EventKind, Message, Status};
use ackbus_test_support::{Action, Proxy, Reader, Server, wait_for};

use crate::common::{Bus, PATIENCE, Rules, Seen};

/// Longer than a test may wait.
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const WAIT: (&str, &str) = ("on_no_stream", "wait");
/// Milliseconds, and what a busy machine makes of them.
const SOON: Duration = Duration::from_secs(15);

/// A topic that no stream takes is refused before the bus knows the subjects of the stream that takes the others. Its messages may use up a share of the
/// window, and only that: a publisher that put the good topic behind the same gate would accept none of its messages as long as the bad one waits.
#[test]
fn a_topic_without_a_stream_locks_out_no_other_before_the_stream_is_described() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("GOOD", &["good.>"]);
    let proxy = Proxy::start(server.address());
    // The first description is late, and the refusal of the bad topic comes before it.
    let described = Arc::new(AtomicBool::new(false));
    let is_described = Arc::clone(&described);
    proxy.filter(move |_, frame| {
        let late = is_description(frame) && !is_described.swap(true, Ordering::Relaxed);
        if late { Action::Delay(Duration::from_millis(500)) } else { Action::Pass }
    });
    let options = [NEVER, WAIT, ("max_pending", "1000"), ("gate_share", "10"), ("on_full", "fail")];
    let bus = Bus::connect(&proxy.url(), &options, &[]);
    let first = bus.series("good.1", 1)[0];
    assert!(bus.report(first).is_persisted());
    bus.publish("bad.1", "bad 0");
    bus.event(EventKind::GateHeld);
    let mut bad = 1;
    let full = wait_for("a full share", PATIENCE, || {
        let sent = bus.send(&Message::new("bad.1", format!("bad {bad}").as_bytes()));
        bad += usize::from(sent.is_ok());
        sent.err()
    });
    assert_eq!(full.status(), Status::QueueFull, "{full}");
    let good = wait_for(&format!("a place for good.1 while {bad} messages to bad.1 wait"), SOON, || bus.send(&Message::new("good.1", b"good")).ok());
    let seen = bus.report_within(good, SOON);
    assert!(seen.as_ref().is_some_and(Seen::is_persisted), "good.1 waits behind bad.1: {seen:?}");
    for _ in 0..100 {
        let good = bus.series("good.1", 1)[0];
        let seen = bus.report_within(good, SOON);
        assert!(seen.as_ref().is_some_and(Seen::is_persisted), "{seen:?}");
    }
    reader.create_stream("BAD", &["bad.>"]);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["GOOD", "BAD"]);
    assert_eq!(stored.len(), 102 + bad, "the first one, and 101 while bad.1 waits");
    for part in [&stored[..102], &stored[102..]] {
        books.in_order(part);
    }
}

/// A rule gets its stream, and then the leave to create it, while messages wait. Returns what was wrong.
fn what_goes_wrong(start: Rules<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (count, pause) in [(20, 0), (20, 300), (1, 300)] {
        let server = Server::start();
        let reader = Reader::connect(&server.url());
        let bus = Bus::connect(&server.url(), &[NEVER, WAIT, ("ack_wait_ms", "1000")], start);
        let first = bus.series("f.1", count)[0];
        bus.event(EventKind::GateHeld);
        bus.publisher().set_topic("f.>", "stream", "F").unwrap();
        std::thread::sleep(Duration::from_millis(pause)); // So long it has a stream that is not there.
        bus.publisher().set_topic("f.>", "create", "if_missing").unwrap();
        bus.series("f.1", count);
        let seen = bus.report_within(first, SOON);
        let about = format!("{count} and {count} messages, {pause} ms between the stream and its creation, before: {start:?}");
        if !seen.as_ref().is_some_and(Seen::is_persisted) {
            wrong.push(format!("{about}: the stream is there: {}, {seen:?}, {:?}", reader.stream_info("F").is_some(), bus.publisher().stats()));
            bus.close(Duration::ZERO);
            continue;
        }
        let books = bus.finish();
        books.all_persisted();
        assert_eq!(books.compare(&reader, &["F"]).len() as u64, 2 * count);
        let mut order: Vec<(u64, u64)> = books.reports.values().map(|seen| (seen.seq, seen.id)).collect();
        order.sort_unstable();
        // Those of the default rule wait for no certain stream: only what is one rule's has an order.
        let is_first = |id: u64| id < first + count;
        let is_sorted = |part: bool| order.iter().filter(|(_, id)| is_first(*id) == part).is_sorted_by_key(|(_, id)| *id);
        if !(is_sorted(true) && is_sorted(false) && (start.is_empty() || order.is_sorted_by_key(|(_, id)| *id))) {
            wrong.push(format!("{about}: stored out of order: {:?}", order.iter().map(|(_, id)| id).collect::<Vec<_>>()));
        }
    }
    wrong
}

/// A publisher that forgot what waits, or that its rule may create the stream by now, would keep the messages until their deadline.
#[test]
fn messages_that_wait_go_when_their_rule_gets_a_stream_to_create() {
    let starts: [Rules<'_>; 4] = [&[], &[("f.>", "in_flight", "5")], &[("f.>", "in_flight", "50")], &[("f.>", "stream", "F")]];
    let wrong: Vec<String> = starts.into_iter().flat_map(what_goes_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One rule, a limit, and two topics, of which a stream takes one. Messages to the other one wait; if they kept all places of the limit, nothing of the rule
/// would go any more.
#[test]
fn what_waits_for_a_stream_keeps_no_place_of_its_rules_limit() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("APP", &["app.good"]);
    let proxy = Proxy::start(server.address());
    let described = Arc::new(AtomicBool::new(false));
    let is_described = Arc::clone(&described);
    proxy.filter(move |_, frame| {
        is_described.fetch_or(is_description(frame), Ordering::Relaxed);
        Action::Pass
    });
    let bus = Bus::connect(&proxy.url(), &[NEVER, WAIT, ("ack_wait_ms", "1000")], &[("app.>", "in_flight", "5")]);
    let warm = bus.series("app.good", 3);
    bus.reported(3);
    wait_for("a description of the stream", PATIENCE, || described.load(Ordering::Relaxed).then_some(()));
    let bad = bus.series("app.bad", 10);
    bus.event(EventKind::GateHeld);
    for n in 0..20 {
        let good = bus.series("app.good", 1)[0];
        let seen = bus.report_within(good, SOON);
        assert!(seen.as_ref().is_some_and(Seen::is_persisted), "number {n} to app.good, behind 10 to app.bad: {seen:?}; {:?}", bus.publisher().stats());
    }
    assert_eq!(bus.publisher().pending(), 10);
    reader.create_stream("BAD", &["app.bad"]);
    let books = bus.finish();
    books.persisted(&warm);
    books.persisted(&bad);
    books.all_persisted();
    books.compare(&reader, &["APP", "BAD"]);
    for stream in ["APP", "BAD"] {
        books.in_order(&reader.read_all(stream));
    }
}

fn is_description(frame: &[u8]) -> bool {
    memchr::memmem::find(frame, b"stream_info_response").is_some()
}
