//! P6: flush and close, what they wait for and what they leave behind.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ackbus::{Event, EventKind, Handlers, Message, Persistence, Publisher, Purge, Report, Sink, State, Status};

use super::bus::{LONG, Latch, Silent, Tally, config, memory, on_event, on_reports, polled, refused, within};

const NOW: Option<Duration> = Some(Duration::ZERO);
const ALL: Purge = Purge { unsent: true, in_flight: true };

#[test]
fn flush_returns_after_the_callbacks_returned() {
    within("flush in callback mode", || {
        let (entered, go_on) = (Latch::new(), Latch::new());
        let returned = Arc::new(AtomicU64::new(0));
        let (inside, held, count) = (Arc::clone(&entered), Arc::clone(&go_on), Arc::clone(&returned));
        let handlers = on_reports(move |reports| {
            inside.open();
            held.wait();
            count.fetch_add(reports.len() as u64, Ordering::Relaxed);
        });
        let bus = Publisher::connect(&memory(&[("report", "all")]), handlers).unwrap();
        (0..500).for_each(|tag| assert!(bus.publish("a", b"", tag).is_ok()));
        entered.wait();
        let error = bus.flush(Some(Duration::from_millis(50))).unwrap_err();
        assert_eq!((error.status(), returned.load(Ordering::Relaxed)), (Status::TimedOut, 0));
        go_on.open();
        bus.flush(None).unwrap();
        assert_eq!((returned.load(Ordering::Relaxed), bus.pending_bytes()), (500, 0));
        bus.flush(NOW).unwrap_or_else(|error| assert_eq!(error.status(), Status::TimedOut)); // a try may come too soon, never too late
    });
}

#[test]
fn flush_in_poll_mode_waits_for_outcomes_and_not_for_polls() {
    within("flush in poll mode", || {
        let silent = Silent::connect(&[], polled());
        silent.bus.publish("a", b"", 1).unwrap();
        let error = silent.bus.flush(Some(Duration::from_millis(50))).unwrap_err();
        assert_eq!((error.status(), error.message()), (Status::TimedOut, "1 messages are still pending"));
        thread::scope(|scope| {
            let flush = scope.spawn(|| silent.bus.flush(None));
            silent.bus.purge(ALL).unwrap();
            flush.join().unwrap().unwrap();
        });
        assert_eq!(silent.bus.poll(9, NOW).unwrap().get(0).unwrap().status(), Status::Purged);
    });
}

#[test]
fn flush_misses_nothing_that_was_accepted_before_it() {
    within("publish, flush, look", || {
        // Other threads keep the I/O thread in its rounds, so that the flush meets every moment of one.
        let bus = Publisher::connect(&memory(&[("report", "none"), ("max_pending", "16")]), on_reports(|_| ())).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    bus.publish("noise", b"", 0).unwrap();
                }
            });
            let early = (0..5_000).find(|_| {
                let ticket = bus.submit(&Message::new("a", b"")).unwrap();
                bus.flush(Some(LONG)).unwrap();
                ticket.try_take().is_none()
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(early, None, "a flush returned before the message was settled");
        });
    });
}

#[test]
fn close_sends_waiting_publishers_away() {
    within("close with waiting publishers", || {
        let (entered, go_on) = (Latch::new(), Latch::new());
        let (inside, held) = (Arc::clone(&entered), Arc::clone(&go_on));
        let handlers = on_reports(move |_| {
            inside.open();
            held.wait();
        });
        let bus = Publisher::connect(&memory(&[("max_pending", "1")]), handlers).unwrap();
        bus.publish_message(&refused("a", 0)).unwrap();
        entered.wait();
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..8).map(|tag| (scope.spawn(|| bus.publish("a", b"", 1)), tag)).collect();
            let waiter = scope.spawn(|| bus.publish_wait(&Message::new("a", b""), None));
            let closer = scope.spawn(|| bus.close(None));
            for (publisher, _) in waiting {
                assert_eq!(publisher.join().unwrap().unwrap_err().status(), Status::Closed);
            }
            assert_eq!(waiter.join().unwrap().unwrap_err().status(), Status::Closed);
            go_on.open();
            closer.join().unwrap().unwrap();
        });
        assert_eq!((bus.stats().accepted, bus.info().state), (1, State::Closed));
    });
}

#[test]
fn closes_wait_for_the_same_end_and_may_be_repeated() {
    within("many closes", || {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let bus = Publisher::connect(
            &memory(&[("report", "all")]),
            on_reports(move |reports| {
                count.fetch_add(reports.len() as u64, Ordering::Relaxed);
            }),
        )
        .unwrap();
        (0..1_000).for_each(|tag| assert!(bus.publish("a", b"", tag).is_ok()));
        thread::scope(|scope| {
            let closers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        bus.close(Some(LONG)).unwrap();
                        assert_eq!(told.load(Ordering::Relaxed), 1_000, "after a close no callback runs");
                    })
                })
                .collect();
            closers.into_iter().for_each(|closer| closer.join().unwrap());
        });
        for _ in 0..2 {
            bus.close(None).unwrap();
            bus.close(NOW).unwrap();
            bus.flush(None).unwrap();
            bus.flush(NOW).unwrap();
        }
        for error in [
            bus.publish("a", b"", 0).map(drop).unwrap_err(),
            bus.publish_wait(&Message::new("a", b""), None).map(drop).unwrap_err(),
            bus.submit(&Message::new("a", b"")).map(drop).unwrap_err(),
            bus.publish_batch([Ok(Message::new("a", b""))], drop).unwrap_err(),
            bus.wait_connected(None).unwrap_err(),
            bus.purge(ALL).map(drop).unwrap_err(),
        ] {
            assert_eq!((error.status(), error.is_fatal()), (Status::Closed, false), "{error}");
        }
        let stats = bus.stats();
        assert_eq!((stats.accepted, stats.published, stats.pending), (1_000, 1_000, 0));
    });
}

#[test]
fn close_at_its_time_settles_and_tells_the_rest() {
    within("close with 10,000 pending", || {
        let tally = Tally::new(10_000);
        let told = Arc::clone(&tally);
        let handlers = on_reports(move |reports| {
            assert!(reports.iter().all(|report| (report.status(), report.persistence()) == (Status::Closed, Persistence::NotPersisted)));
            assert!(reports.iter().all(|report| report.payload() == b"kept" && report.attempts() == 0));
            told.note(reports.iter().copied());
        });
        let silent = Silent::connect(&[], handlers);
        (0..10_000).for_each(|tag| assert!(silent.bus.publish("a", b"kept", tag).is_ok()));
        let begin = Instant::now();
        silent.bus.close(Some(Duration::from_millis(300))).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(300), "it waits for acks first: {:?}", begin.elapsed());
        tally.assert_each_once();
        let stats = silent.bus.stats();
        assert_eq!((stats.accepted, stats.publish_errors, stats.pending, silent.bus.pending_bytes()), (10_000, 10_000, 0, 0));
    });
}

#[test]
fn a_busy_callback_is_told_and_close_may_be_called_again() {
    within("close while a callback works", || {
        let (entered, go_on) = (Latch::new(), Latch::new());
        let returned = Arc::new(AtomicBool::new(false));
        let (inside, held, back) = (Arc::clone(&entered), Arc::clone(&go_on), Arc::clone(&returned));
        let handlers = on_reports(move |_| {
            inside.open();
            held.wait();
            back.store(true, Ordering::Relaxed);
        });
        let bus = Publisher::connect(&memory(&[]), handlers).unwrap();
        bus.publish_message(&refused("a", 0)).unwrap();
        entered.wait();
        let begin = Instant::now();
        let error = bus.close(NOW).unwrap_err();
        assert_eq!((error.status(), error.is_retriable()), (Status::CallbackBusy, true));
        assert!(begin.elapsed() >= Duration::from_secs(1), "a second for a callback that is about to return: {:?}", begin.elapsed());
        assert!(!returned.load(Ordering::Relaxed));
        go_on.open();
        bus.close(Some(LONG)).unwrap();
        assert!(returned.load(Ordering::Relaxed));
    });
}

#[test]
fn unpolled_reports_stay_after_close_and_after_the_publisher() {
    within("polling after close", || {
        let bus = Publisher::connect(&memory(&[]), polled()).unwrap();
        (0..5).for_each(|tag| assert!(bus.publish_message(&refused("a", tag)).is_ok()));
        bus.close(None).unwrap();
        let first = bus.poll(2, None).unwrap();
        let second = bus.poll(9, None).unwrap();
        assert_eq!(bus.poll(9, None).unwrap_err().status(), Status::Closed);
        let third = bus.poll(9, NOW).unwrap_err();
        assert_eq!(third.status(), Status::Closed);
        drop(bus);
        let tags: Vec<u64> = first.iter().chain(second.iter()).map(|report| report.tag()).collect();
        assert_eq!(tags, [0, 1, 2, 3, 4]);
    });
}

/// A sink that counts its calls and its end.
struct Counted {
    calls: AtomicUsize,
    ends: Arc<AtomicUsize>,
}

impl Sink for Counted {
    fn reports(&self, _: &[Report<'_>]) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
    fn event(&self, _: &Event) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two sinks, one for reports and one for events, that count their ends together.
fn counted() -> (Handlers, Arc<AtomicUsize>) {
    let ends = Arc::new(AtomicUsize::new(0));
    let sink = || -> Option<Arc<dyn Sink>> { Some(Arc::new(Counted { calls: AtomicUsize::new(0), ends: Arc::clone(&ends) })) };
    (Handlers { reports: sink(), events: sink() }, ends)
}

#[test]
fn finalizers_run_once_by_the_end_of_close() {
    within("finalizers", || {
        let (handlers, ends) = counted();
        let bus = Publisher::connect(&memory(&[]), handlers).unwrap();
        assert_eq!(ends.load(Ordering::Relaxed), 0);
        bus.close(None).unwrap();
        assert_eq!(ends.load(Ordering::Relaxed), 2);
        bus.close(None).unwrap();
        drop(bus);
        assert_eq!(ends.load(Ordering::Relaxed), 2);

        // A drop closes.
        let (handlers, ends) = counted();
        drop(Publisher::connect(&memory(&[]), handlers).unwrap());
        assert_eq!(ends.load(Ordering::Relaxed), 2);

        // Handlers that no publisher got.
        let (handlers, ends) = counted();
        drop(handlers);
        assert_eq!(ends.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn finalizers_run_when_connect_fails() {
    within("finalizers of a failed connect", || {
        let (handlers, ends) = counted();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Publisher::connect(&config(&format!("nats://{closed}"), &[("max_reconnects", "0")]), handlers).unwrap_err();
        assert_eq!((error.status(), ends.load(Ordering::Relaxed)), (Status::ConnectFailed, 2), "{error}");

        let (handlers, ends) = counted();
        let error = Publisher::connect(&memory(&[("user", "without a password")]), handlers).unwrap_err();
        assert_eq!((error.status(), ends.load(Ordering::Relaxed)), (Status::InvalidOption, 2), "{error}");

        let (handlers, ends) = counted();
        let error = Publisher::connect(&config("tls://127.0.0.1", &[("tls_ca_file", "/does/not/exist.pem")]), handlers).unwrap_err();
        assert_eq!((error.status(), ends.load(Ordering::Relaxed)), (Status::InvalidOption, 2), "{error}");
        assert!(error.message().contains("/does/not/exist.pem"), "{error}");
    });
}

#[test]
fn events_come_in_order_and_closed_is_the_last() {
    within("the last event", || {
        struct Kinds(Mutex<Vec<EventKind>>);
        impl Sink for Kinds {
            fn event(&self, event: &Event) {
                self.0.lock().unwrap().push(event.kind);
            }
        }
        let kinds = Arc::new(Kinds(Mutex::default()));
        let bus = Publisher::connect(&memory(&[]), Handlers { reports: None, events: Some(kinds.clone()) }).unwrap();
        bus.close(None).unwrap();
        assert_eq!(*kinds.0.lock().unwrap(), [EventKind::Connected, EventKind::Closed]);
        assert_eq!(Arc::strong_count(&kinds), 1, "the bus keeps no handler");
    });
}

#[test]
fn a_ticket_that_outlives_the_publisher_holds_up_nothing() {
    within("a late ticket", || {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let bus = Publisher::connect(
            &memory(&[("report", "all")]),
            on_reports(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            }),
        )
        .unwrap();
        let ticket = bus.submit(&Message::new("a", b"")).unwrap();
        bus.close(None).unwrap();
        drop(ticket);
        bus.flush(None).unwrap(); // no callback will ever run for it
        assert_eq!((told.load(Ordering::Relaxed), bus.pending_bytes()), (0, 0));
    });
}

#[test]
fn a_close_during_a_purge_and_a_flush_leaves_nobody_waiting() {
    within("close against flush and purge", || {
        for _ in 0..200 {
            let bus = Publisher::connect(&memory(&[]), polled()).unwrap();
            thread::scope(|scope| {
                let flush = scope.spawn(|| (0..20).map(|_| bus.flush(None)).all(|result| result.is_ok()));
                let purge =
                    scope.spawn(|| (0..20).map(|_| bus.purge(ALL)).all(|result| result.is_ok() || matches!(bus.info().state, State::Closing | State::Closed)));
                let publish =
                    scope.spawn(|| (0..20).all(|tag| bus.publish("a", b"", tag).is_ok() || bus.publish("a", b"", tag).unwrap_err().status() == Status::Closed));
                bus.close(None).unwrap();
                assert!(flush.join().unwrap() && purge.join().unwrap() && publish.join().unwrap());
            });
            let stats = bus.stats();
            assert_eq!((stats.accepted, stats.pending), (stats.published + stats.publish_errors, 0));
        }
    });
}

#[test]
fn a_publisher_that_never_connects_tells_of_it_once() {
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&kinds);
    // Nobody listens where a listener has just been closed.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let handlers = on_event(move |event| told.lock().unwrap().push(event.kind));
    let error = Publisher::connect(&config(&format!("nats://{address}"), &[]), handlers).unwrap_err();
    assert_eq!((error.status(), error.is_retriable(), error.is_fatal()), (Status::ConnectFailed, true, false), "another connect may succeed");
    assert_eq!(*kinds.lock().unwrap(), [EventKind::ConnectFailed, EventKind::Failed, EventKind::Closed]);
}

/// P6: a publish that wins against close has its message sent, since there is time.
#[test]
fn what_is_accepted_as_close_begins_is_sent() {
    within("publishing while closing", || {
        for _ in 0..500 {
            let bus = Publisher::connect(&memory(&[]), polled()).unwrap();
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| while bus.publish("a", b"", 0).is_ok() {});
                }
                bus.publish("a", b"", 0).unwrap();
                bus.close(Some(LONG)).unwrap();
            });
            let stats = bus.stats();
            assert_eq!((stats.published, stats.publish_errors), (stats.accepted, 0));
        }
    });
}
