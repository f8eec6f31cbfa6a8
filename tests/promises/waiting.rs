//! `publish_wait` and tickets: the outcome is the waiter's alone, as long as he waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ackbus::{Handlers, Message, Persistence, Publisher, Purge, REPORT_EPHEMERAL, StallWait, Status};
use ackbus_test_support::{Proxy, Reader, Server};

use super::bus::{LONG, Latch, Silent, config, memory, on_reports, polled, refused, within};

const NOW: Option<Duration> = Some(Duration::ZERO);
const ALL: Purge = Purge { unsent: true, in_flight: true };

/// Tags and states, as they were told.
type Told = Arc<Mutex<Vec<(u64, Status)>>>;

/// Handlers that collect tags and states.
fn collector() -> (Handlers, Told) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&reports);
    (on_reports(move |reports| told.lock().unwrap().extend(reports.iter().map(|report| (report.tag(), report.status())))), reports)
}

#[test]
fn the_outcome_goes_to_the_waiter_alone() {
    within("publish_wait", || {
        let (handlers, reports) = collector();
        let mut config = memory(&[("report", "all")]);
        config.set_topic("news", "mode", "ephemeral").unwrap();
        let bus = Publisher::connect(&config, handlers).unwrap();
        let outcome = bus.publish_wait(&Message { tag: 1, ..Message::new("a", b"p") }, None).unwrap();
        let report = outcome.get(0).unwrap();
        assert_eq!((outcome.len(), report.tag(), report.status(), report.stream_seq(), report.stream()), (1, 1, Status::Ok, 1, "MEMORY"));
        drop(outcome);

        let outcome = bus.publish_wait(&refused("a", 2), Some(LONG)).unwrap();
        let report = outcome.get(0).unwrap();
        assert_eq!((report.status(), report.persistence(), report.payload()), (Status::WrongExpectation, Persistence::NotPersisted, &b"payload"[..]));
        drop(outcome);

        let outcome = bus.publish_wait(&Message { tag: 3, ..Message::new("news", b"") }, Some(LONG)).unwrap();
        let report = outcome.get(0).unwrap();
        assert_eq!(
            (report.status(), report.persistence(), report.flags(), report.stream_seq()),
            (Status::Ok, Persistence::PossiblyPersisted, REPORT_EPHEMERAL, 0)
        );
        drop(outcome);

        bus.publish("a", b"", 4).unwrap();
        bus.flush(Some(LONG)).unwrap();
        assert_eq!(*reports.lock().unwrap(), [(4, Status::Ok)]);
        assert_eq!((bus.stats().reports_delivered, bus.pending_bytes()), (4, 0));
    });
}

#[test]
fn many_threads_wait_for_their_own() {
    within("eight waiting threads", || {
        let (handlers, reports) = collector();
        let bus = Publisher::connect(&memory(&[("max_pending", "3"), ("report", "all")]), handlers).unwrap();
        thread::scope(|scope| {
            for thread in 0..8 {
                let bus = &bus;
                scope.spawn(move || {
                    for i in 0..500 {
                        let tag = thread * 500 + i;
                        let outcome = bus.publish_wait(&Message { tag, ..Message::new("a", b"") }, None).unwrap();
                        assert_eq!((outcome.len(), outcome.get(0).unwrap().tag()), (1, tag));
                    }
                });
            }
        });
        assert_eq!((bus.stats().published, bus.pending_bytes()), (4_000, 0));
        assert!(bus.stats().pending_max <= 3);
        bus.close(None).unwrap();
        assert!(reports.lock().unwrap().is_empty());
    });
}

#[test]
fn after_a_timeout_the_failure_goes_the_usual_way() {
    within("publish_wait without an answer", || {
        for mode in ["failures", "all", "none"] {
            let (handlers, reports) = collector();
            let silent = Silent::connect(&[("report", mode)], handlers);
            let begin = Instant::now();
            let error = silent.bus.publish_wait(&Message { tag: 9, ..Message::new("a", b"") }, Some(Duration::from_millis(60))).unwrap_err();
            assert_eq!((error.status(), silent.bus.pending()), (Status::TimedOut, 1));
            assert!(begin.elapsed() >= Duration::from_millis(60));
            assert!(error.message().contains("message 1 "), "{error}");
            assert_eq!(silent.bus.publish_wait(&Message { tag: 8, ..Message::new("a", b"") }, NOW).unwrap_err().status(), Status::TimedOut);
            assert_eq!(silent.bus.purge(ALL).unwrap(), 2);
            silent.bus.flush(Some(LONG)).unwrap();
            let expected: &[(u64, Status)] = if mode == "none" { &[] } else { &[(9, Status::Purged), (8, Status::Purged)] };
            assert_eq!(*reports.lock().unwrap(), expected, "report={mode}");
            assert_eq!(silent.bus.pending_bytes(), 0);
        }
    });
}

#[test]
fn after_a_timeout_a_success_is_told_only_to_who_wants_successes() {
    let server = Server::start();
    Reader::connect(&server.url()).create_stream("S", &["s.>"]);
    let proxy = Proxy::start(server.address());
    within("publish_wait with a late answer", move || {
        for (mode, expected) in [("failures", &[][..]), ("all", &[(9, Status::Ok)])] {
            let (handlers, reports) = collector();
            let bus =
                Publisher::connect(&config(&proxy.url(), &[("report", mode), ("ping_interval_ms", "60000"), ("ack_wait_ms", "60000")]), handlers).unwrap();
            proxy.hold_replies();
            let error = bus.publish_wait(&Message { tag: 9, ..Message::new("s.a", b"") }, Some(Duration::from_millis(50))).unwrap_err();
            assert_eq!(error.status(), Status::TimedOut);
            let ticket = bus.submit(&Message { tag: 8, ..Message::new("s.a", b"") }).unwrap();
            proxy.resume();
            assert_eq!(ticket.wait(None).unwrap().get(0).unwrap().tag(), 8);
            bus.flush(Some(LONG)).unwrap();
            assert_eq!(*reports.lock().unwrap(), expected, "report={mode}");
            assert_eq!((bus.stats().published, bus.pending_bytes()), (2, 0), "and its place is free");
        }
    });
}

#[test]
fn a_dropped_ticket_lets_the_report_go_the_usual_way() {
    within("dropped tickets", || {
        let (handlers, reports) = collector();
        let silent = Silent::connect(&[], handlers);
        // Before its outcome is known.
        drop(silent.bus.submit(&Message { tag: 1, ..Message::new("a", b"") }).unwrap());
        // After it.
        let ticket = silent.bus.submit(&Message { tag: 2, ..Message::new("a", b"") }).unwrap();
        assert!(ticket.try_take().is_none());
        assert_eq!(silent.bus.purge(ALL).unwrap(), 2);
        silent.bus.flush(Some(LONG)).unwrap();
        assert_eq!(*reports.lock().unwrap(), [(1, Status::Purged)]);
        drop(ticket);
        silent.bus.flush(Some(LONG)).unwrap();
        assert_eq!(*reports.lock().unwrap(), [(1, Status::Purged), (2, Status::Purged)]);
        assert_eq!(silent.bus.pending_bytes(), 0);

        // A success under report=failures: nobody is told, the place is free.
        let (handlers, reports) = collector();
        let bus = Publisher::connect(&memory(&[]), handlers).unwrap();
        let ticket = bus.submit(&Message::new("a", b"")).unwrap();
        bus.flush(Some(LONG)).unwrap();
        assert!(bus.pending_bytes() > 0, "the ticket holds the message");
        drop(ticket);
        bus.close(None).unwrap();
        assert!(reports.lock().unwrap().is_empty());
        assert_eq!(bus.pending_bytes(), 0);
    });
}

#[test]
fn a_ticket_gives_its_report_once() {
    within("a ticket that was used", || {
        let bus = Publisher::connect(&memory(&[]), polled()).unwrap();
        let ticket = bus.submit(&Message { tag: 5, ..Message::new("a", b"") }).unwrap();
        assert_eq!(ticket.id(), 1);
        assert_eq!(ticket.wait(None).unwrap().get(0).unwrap().tag(), 5);
        assert!(ticket.try_take().is_none());
        let error = ticket.wait(None).unwrap_err();
        assert_eq!(error.status(), Status::InvalidState, "{error}");
        drop(ticket);
        assert!(bus.poll(9, NOW).unwrap().is_empty());
        assert_eq!(bus.pending_bytes(), 0);
    });
}

#[test]
fn close_answers_who_waits_for_an_outcome() {
    within("close under waiters", || {
        let silent = Silent::connect(&[("report", "all")], on_reports(|_| panic!("nothing goes to the callback")));
        let ticket = silent.bus.submit(&Message::new("a", b"")).unwrap();
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| silent.bus.publish_wait(&Message::new("a", b""), None).unwrap())).collect();
            ackbus_test_support::wait_for("five messages", LONG, || (silent.bus.pending() == 5).then_some(()));
            silent.bus.close(NOW).unwrap();
            for waiter in waiters {
                let outcome = waiter.join().unwrap();
                assert_eq!((outcome.get(0).unwrap().status(), outcome.get(0).unwrap().persistence()), (Status::Closed, Persistence::NotPersisted));
            }
        });
        let outcome = ticket.try_take().unwrap();
        drop(silent);
        assert_eq!(outcome.get(0).unwrap().status(), Status::Closed, "valid after the publisher");
    });
}

#[test]
fn publish_wait_counts_the_wait_for_room() {
    within("publish_wait at a full window", || {
        let silent = Silent::connect(&[("max_pending", "1")], polled());
        silent.bus.publish("a", b"", 0).unwrap();
        for stall_wait in [StallWait::Configured, StallWait::NoLimit, StallWait::AtMost(LONG)] {
            let begin = Instant::now();
            let message = Message { stall_wait, ..Message::new("a", b"") };
            let error = silent.bus.publish_wait(&message, Some(Duration::from_millis(40))).unwrap_err();
            assert_eq!(error.status(), Status::QueueFull, "not accepted: {stall_wait:?}");
            assert!(begin.elapsed() >= Duration::from_millis(40));
        }
        assert_eq!(silent.bus.stats().accepted, 1);
        silent.bus.close(NOW).unwrap();
    });
}

#[test]
fn a_ticket_from_a_callback_is_taken_elsewhere() {
    within("submit in a callback", || {
        let bus: Arc<std::sync::OnceLock<Publisher>> = Arc::default();
        let ticket = Arc::new(Mutex::new(None));
        let done = Latch::new();
        let tags = Arc::new(AtomicU64::new(0));
        let (own, place, told, sum) = (Arc::clone(&bus), Arc::clone(&ticket), Arc::clone(&done), Arc::clone(&tags));
        let handlers = on_reports(move |reports| {
            sum.fetch_add(reports.iter().map(|report| report.tag()).sum(), Ordering::Relaxed);
            *place.lock().unwrap() = Some(own.wait().submit(&Message { tag: 100, ..Message::new("dead", b"") }).unwrap());
            told.open();
        });
        bus.set(Publisher::connect(&memory(&[("max_pending", "1")]), handlers).unwrap()).unwrap();
        let bus = bus.get().unwrap();
        bus.publish_message(&refused("a", 1)).unwrap();
        done.wait();
        let outcome = ticket.lock().unwrap().take().unwrap().wait(Some(LONG)).unwrap();
        assert_eq!((outcome.get(0).unwrap().tag(), outcome.get(0).unwrap().status()), (100, Status::Ok));
        drop(outcome);
        bus.close(None).unwrap();
        assert_eq!(tags.load(Ordering::Relaxed), 1);
    });
}
