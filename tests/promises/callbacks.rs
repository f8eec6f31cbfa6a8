//! P5 and P1: what a callback may do, what it is told, and that its faults stay its own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use ackbus::{Config, Handlers, Message, Persistence, Publisher, Purge, REPORT_EPHEMERAL, Status, in_callback};

use super::bus::{LONG, Latch, memory, on_event, on_reports, polled, refused, within};

#[test]
fn calls_that_would_wait_for_themselves_are_refused_in_a_callback() {
    within("calls from a callback", || {
        let bus: Arc<OnceLock<Publisher>> = Arc::default();
        let other = Publisher::connect(&memory(&[]), polled()).unwrap();
        let ticket = other.submit(&Message::new("a", b"")).unwrap();
        let own = Arc::clone(&bus);
        let (told, outcome) = mpsc::channel();
        let told = Mutex::new(Some(told));
        let handlers = on_reports(move |_| {
            let Some(told) = told.lock().unwrap().take() else { return };
            let bus = own.wait();
            let zero = Some(Duration::ZERO);
            let message = Message::new("a", b"");
            let mut refused: Vec<(&str, Option<Status>)> = Vec::new();
            for (whose, bus) in [("own", bus), ("other", &other)] {
                let calls = [
                    bus.publish_wait(&message, zero).map(drop),
                    bus.poll(1, zero).map(drop),
                    bus.poll_events(1, zero).map(drop),
                    bus.flush(zero),
                    bus.close(zero),
                    bus.wait_connected(zero),
                    bus.purge(Purge { unsent: true, in_flight: true }).map(drop),
                ];
                refused.extend(calls.into_iter().map(|call| (whose, call.err().map(|error| error.status()))));
            }
            refused.push(("ticket", ticket.wait(None).err().map(|error| error.status())));
            refused.push(("connect", Publisher::connect(&memory(&[]), polled()).err().map(|error| error.status())));
            let free = (bus.publish("a", b"", 0).is_ok(), bus.submit(&message).is_ok(), bus.set_topic("b", "mode", "ephemeral").is_ok(), bus.stats().accepted);
            told.send((refused, free, in_callback())).unwrap();
        });
        bus.set(Publisher::connect(&memory(&[]), handlers).unwrap()).unwrap();
        assert!(!in_callback());
        let bus = bus.get().unwrap();
        bus.publish_message(&refused("a", 1)).unwrap();
        let (refused, free, inside) = outcome.recv_timeout(LONG).unwrap();
        assert_eq!(refused.len(), 16);
        for (index, (whose, status)) in refused.into_iter().enumerate() {
            assert_eq!(status, Some(Status::WrongThread), "call {index} on {whose}");
        }
        assert_eq!(free, (true, true, true, 3));
        assert!(inside);
        bus.close(None).unwrap();
    });
}

#[test]
fn events_come_on_a_callback_thread_as_well() {
    within("calls from an event's callback", || {
        let (told, outcome) = mpsc::channel();
        let handlers = on_event(move |_| {
            let connected = Publisher::connect(&memory(&[]), polled()).err().map(|error| error.status());
            let _ = told.send((in_callback(), connected));
        });
        let bus = Publisher::connect(&memory(&[]), handlers).unwrap();
        assert_eq!(outcome.recv_timeout(LONG).unwrap(), (true, Some(Status::WrongThread)));
        bus.close(None).unwrap();
    });
}

#[test]
fn a_publisher_dropped_in_a_callback_does_not_hang() {
    within("a drop in a callback", || {
        let bus: Arc<Mutex<Option<Publisher>>> = Arc::default();
        let (own, freed) = (Arc::clone(&bus), Latch::new());
        let gone = Arc::clone(&freed);
        let finalized = Arc::new(());
        let alive = Arc::downgrade(&finalized);
        let handlers = on_reports(move |_| {
            let _ = &finalized;
            // The test has put it there before it published; the lock is not held while the publisher is dropped.
            let bus = own.lock().unwrap().take();
            drop(bus);
            gone.open();
        });
        let publisher = Publisher::connect(&memory(&[]), handlers).unwrap();
        let mut place = bus.lock().unwrap();
        publisher.publish_message(&refused("a", 1)).unwrap();
        *place = Some(publisher);
        drop(place);
        freed.wait();
        // The close that it began ends on a thread of its own; the finalizer is its last act.
        ackbus_test_support::wait_for("the finalizer", LONG, || (alive.strong_count() == 0).then_some(()));
    });
}

#[test]
fn a_panicking_sink_loses_no_other_report() {
    within("a panicking sink", || {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let handlers = on_reports(move |reports| {
            count.fetch_add(reports.len() as u64, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("a user's fault")); // without the hook's noise on stderr
        });
        let bus = Publisher::connect(&memory(&[("max_pending", "4"), ("report", "all")]), handlers).unwrap();
        (0..1_000).for_each(|tag| assert!(bus.publish("a", b"", tag).is_ok()));
        bus.flush(Some(LONG)).unwrap();
        assert_eq!((told.load(Ordering::Relaxed), bus.pending_bytes()), (1_000, 0));
        bus.close(None).unwrap();
    });
}

#[test]
fn a_panicking_event_handler_is_called_again() {
    within("a panicking event handler", || {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let handlers = on_event(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("a user's fault"));
        });
        let bus = Publisher::connect(&memory(&[]), handlers).unwrap();
        bus.close(None).unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 2, "connected and closed");
    });
}

/// The tags that are reported of an acknowledged message, a refused one, the same two with `report_always`, and two ephemeral ones.
fn reported(mode: &str) -> Vec<u64> {
    let tags = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&tags);
    let mut config: Config = memory(&[("report", mode)]);
    config.set_topic("news.>", "mode", "ephemeral").unwrap();
    let handlers = on_reports(move |reports| {
        for report in reports {
            let expected = match report.tag() {
                0 | 2 => (Status::Ok, Persistence::Persisted, 0),
                1 | 3 => (Status::WrongExpectation, Persistence::NotPersisted, 0),
                _ => (Status::Ok, Persistence::PossiblyPersisted, REPORT_EPHEMERAL),
            };
            assert_eq!((report.status(), report.persistence(), report.flags()), expected, "tag {}", report.tag());
            told.lock().unwrap().push(report.tag());
        }
    });
    let bus = Publisher::connect(&config, handlers).unwrap();
    for tag in 0..6 {
        let message = match tag {
            1 | 3 => refused("a", tag),
            4 | 5 => Message { tag, ..Message::new("news.today", b"") },
            _ => Message { tag, ..Message::new("a", b"") },
        };
        bus.publish_message(&Message { report_always: matches!(tag, 2 | 3 | 5), ..message }).unwrap();
    }
    bus.flush(Some(LONG)).unwrap();
    let stats = bus.stats();
    assert_eq!((stats.accepted, stats.published, stats.publish_errors, stats.ephemeral, stats.pending), (4, 2, 2, 2, 0), "counters count all");
    assert_eq!(bus.pending_bytes(), 0);
    bus.close(None).unwrap();
    tags.lock().unwrap().clone()
}

#[test]
fn the_option_report_and_report_always_say_what_is_told() {
    within("report modes", || {
        assert_eq!(reported("failures"), [1, 2, 3, 5]);
        assert_eq!(reported("all"), [0, 1, 2, 3, 5]);
        assert_eq!(reported("none"), [2, 3, 5]);
    });
}

#[test]
fn a_report_carries_the_message_and_its_outcome() {
    within("a report's fields", || {
        let (told, outcome) = mpsc::channel();
        let told = Mutex::new(told);
        let handlers: Handlers = on_reports(move |reports| {
            for report in reports {
                let text = (report.topic().to_owned(), report.msg_id().to_owned(), report.stream().to_owned(), report.text().to_owned());
                let nul = [report.topic_nul(), report.msg_id_nul(), report.stream_nul(), report.text_nul()].map(|bytes| bytes.last() == Some(&0));
                let numbers = (report.id(), report.tag(), report.stream_seq(), report.server_code(), report.attempts());
                told.lock().unwrap().send((text, nul, numbers, report.payload().to_vec())).unwrap();
            }
        });
        let bus = Publisher::connect(&memory(&[("report", "all")]), handlers).unwrap();
        bus.publish_message(&Message { msg_id: Some("one"), tag: 7, ..Message::new("a.b", b"\0\xff") }).unwrap();
        bus.publish_message(&Message { msg_id: Some("two"), ..refused("a.c", 8) }).unwrap();
        let (text, nul, numbers, payload) = outcome.recv_timeout(LONG).unwrap();
        assert_eq!(text, ("a.b".into(), "one".into(), "MEMORY".into(), String::new()));
        assert_eq!((nul, numbers, payload), ([true; 4], (1, 7, 1, 0, 1), vec![0, 0xff]));
        let (text, nul, numbers, payload) = outcome.recv_timeout(LONG).unwrap();
        assert_eq!(text, ("a.c".into(), "two".into(), String::new(), "wrong last sequence: 1".into()));
        assert_eq!((nul, numbers, payload), ([true; 4], (2, 8, 0, 10_071, 1), b"payload".to_vec()));
        bus.close(None).unwrap();
    });
}
