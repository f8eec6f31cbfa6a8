//! P3: the window is never exceeded, gives every thread its turn, and belongs to the callback first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ackbus::{Message, Publisher, Purge, StallWait, Status};

use super::bus::{LONG, Latch, Silent, Tally, memory, on_reports, polled, refused, within};

const THREADS: u64 = 8;

/// Eight threads publish `each` messages through a window of `max_pending`.
fn crowd(max_pending: u64, each: u64) {
    within("a crowd of publishers", move || {
        let total = THREADS * each;
        let tally = Tally::new(total);
        let told = Arc::clone(&tally);
        let options = [("max_pending", &*max_pending.to_string()), ("report", "all")];
        let bus = Publisher::connect(&memory(&options), on_reports(move |reports| told.note(reports.iter().copied()))).unwrap();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let bus = &bus;
                scope.spawn(move || (0..each).for_each(|i| assert!(bus.publish("a.b", b"x", thread * each + i).is_ok())));
            }
        });
        bus.flush(Some(LONG)).unwrap();
        let stats = bus.stats();
        assert!((1..=max_pending).contains(&stats.pending_max), "{} of {max_pending}", stats.pending_max);
        assert_eq!((stats.accepted, stats.published, stats.publish_errors, stats.pending, stats.queue_full), (total, total, 0, 0, 0));
        assert_eq!((bus.pending(), bus.pending_bytes(), stats.reports_delivered), (0, 0, total));
        tally.assert_each_once();
    });
}

#[test]
fn eight_threads_through_a_window_of_one() {
    crowd(1, 5_000);
}

#[test]
fn eight_threads_through_a_window_of_64() {
    crowd(64, 50_000);
}

/// Every message of eight threads is refused, and the callback publishes each again, for good. No publish of the callback may fail, whatever the others take.
fn dead_letters(max_pending: u64, each: u64) {
    within("dead-lettering", move || {
        let total = THREADS * each;
        let tally = Tally::new(total);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let bus: Arc<OnceLock<Publisher>> = Arc::default();
        let (told, failed, own) = (Arc::clone(&tally), Arc::clone(&errors), Arc::clone(&bus));
        let handlers = on_reports(move |reports| {
            told.note(reports.iter().copied());
            for report in reports {
                assert_eq!((report.status(), report.payload()), (Status::WrongExpectation, &b"payload"[..]));
                if let Err(error) = own.wait().publish("dead", report.payload(), report.tag()) {
                    failed.lock().unwrap().push(error);
                }
            }
        });
        bus.set(Publisher::connect(&memory(&[("max_pending", &max_pending.to_string())]), handlers).unwrap()).unwrap();
        let bus = bus.get().unwrap();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || (0..each).for_each(|i| assert!(bus.publish_message(&refused("in", thread * each + i)).is_ok())));
            }
        });
        bus.flush(Some(LONG)).unwrap(); // the refused ones are told, their dead letters accepted
        bus.flush(Some(LONG)).unwrap();
        assert!(errors.lock().unwrap().is_empty(), "{:?}", errors.lock().unwrap());
        let stats = bus.stats();
        assert_eq!((stats.accepted, stats.published, stats.publish_errors, stats.queue_full), (2 * total, total, total, 0));
        assert!(stats.pending_max <= max_pending, "{} of {max_pending}", stats.pending_max);
        tally.assert_each_once();
        bus.close(None).unwrap();
    });
}

#[test]
fn every_failure_is_dead_lettered_through_a_window_of_one() {
    dead_letters(1, 1_000);
}

#[test]
fn every_failure_is_dead_lettered_while_eight_threads_keep_64_full() {
    dead_letters(64, 10_000);
}

#[test]
fn a_callback_has_as_many_publishes_as_reports_and_no_more() {
    within("a callback's own admissions", || {
        const WINDOW: u64 = 8;
        // Tags from here on are the callback's own messages: refused as well, so that none of them leaves the window while the callback runs.
        const OWN: u64 = 1_000;
        let (entered, go_on) = (Latch::new(), Latch::new());
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let bus: Arc<OnceLock<Publisher>> = Arc::default();
        let (inside, held, noted, own) = (Arc::clone(&entered), Arc::clone(&go_on), Arc::clone(&outcomes), Arc::clone(&bus));
        let handlers = on_reports(move |reports| {
            let first = reports.iter().any(|report| report.tag() == 0);
            if first {
                inside.open();
                held.wait();
            }
            // The first and the second batch use all that is theirs; so the window stays full, and others wait for it.
            if noted.lock().unwrap().len() < 2 {
                let publish = || own.wait().publish_message(&refused("own", OWN));
                let granted = (0..reports.len()).filter(|_| publish().is_ok()).count();
                let beyond = publish().map_err(|error| (error.status(), error.message().to_owned()));
                noted.lock().unwrap().push((reports.len(), granted, beyond));
            }
        });
        bus.set(Publisher::connect(&memory(&[("max_pending", "8")]), handlers).unwrap()).unwrap();
        let bus = bus.get().unwrap();
        bus.publish_message(&refused("in", 0)).unwrap();
        entered.wait();
        (1..WINDOW).for_each(|tag| assert!(bus.publish_message(&refused("in", tag)).is_ok()));
        let full = Message { stall_wait: StallWait::AtMost(Duration::ZERO), ..refused("in", 99) };
        assert_eq!(bus.publish_message(&full).unwrap_err().status(), Status::QueueFull);
        thread::scope(|scope| {
            for tag in 0..THREADS {
                scope.spawn(move || bus.publish_message(&refused("in", 100 + tag)).unwrap());
            }
            go_on.open();
        });
        bus.flush(Some(LONG)).unwrap();
        let outcomes = outcomes.lock().unwrap();
        assert_eq!(outcomes.len(), 2);
        assert_eq!(outcomes[0].0, 1, "the first batch was the first report alone");
        for (reports, granted, beyond) in outcomes.iter() {
            assert_eq!(granted, reports);
            let (status, text) = beyond.as_ref().unwrap_err();
            assert_eq!(*status, Status::QueueFull);
            assert_eq!(text, "max_pending=8 messages are pending; a callback never waits");
        }
        assert_eq!(bus.stats().pending_max, WINDOW);
        bus.close(None).unwrap();
    });
}

#[test]
fn a_callback_has_the_bytes_of_its_reports() {
    within("a callback's own bytes", || {
        let payload = vec![b'x'; 700]; // a second one does not fit into 1,024 bytes
        let bus: Arc<OnceLock<Publisher>> = Arc::default();
        let own = Arc::clone(&bus);
        let result = Arc::new(Mutex::new(Vec::new()));
        let results = Arc::clone(&result);
        let handlers = on_reports(move |reports| {
            for report in reports {
                results.lock().unwrap().push(own.wait().publish("dead", report.payload(), 0).is_ok());
            }
        });
        bus.set(Publisher::connect(&memory(&[("max_pending_bytes", "1024")]), handlers).unwrap()).unwrap();
        let bus = bus.get().unwrap();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let payload = &payload;
                scope.spawn(move || {
                    for _ in 0..200 {
                        bus.publish_message(&Message { expected_last_seq: Some(u64::MAX), ..Message::new("dead", payload) }).unwrap();
                    }
                });
            }
        });
        bus.flush(Some(LONG)).unwrap();
        assert_eq!(result.lock().unwrap().iter().filter(|ok| **ok).count(), 1_600);
        assert_eq!(bus.stats().pending_max, 1, "two never fit");
        bus.close(None).unwrap();
    });
}

#[test]
fn bytes_are_never_exceeded() {
    within("a window of bytes", || {
        const LIMIT: u64 = 8_192;
        let bus = Publisher::connect(&memory(&[("max_pending_bytes", &LIMIT.to_string()), ("report", "none")]), on_reports(|_| ())).unwrap();
        let done = AtomicBool::new(false);
        let most = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(bus.pending_bytes(), Ordering::Relaxed);
                }
            });
            let publishers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let bus = &bus;
                    scope.spawn(move || {
                        let payload = vec![0; 8_000];
                        (0..3_000).for_each(|i| assert!(bus.publish("a", &payload[..(i * 131 + thread as usize * 977) % 8_000], 0).is_ok()));
                    })
                })
                .collect();
            publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        bus.flush(Some(LONG)).unwrap();
        assert_eq!((bus.stats().published, bus.pending_bytes()), (THREADS * 3_000, 0));
        assert!(most.load(Ordering::Relaxed) <= LIMIT, "{} of {LIMIT}", most.load(Ordering::Relaxed));
    });
}

#[test]
fn a_full_window_fails_at_once_or_after_the_stall_time() {
    let at_once = Silent::connect(&[("max_pending", "2"), ("on_full", "fail")], polled());
    at_once.bus.publish("a", b"", 0).unwrap();
    at_once.bus.publish("a", b"", 0).unwrap();
    let error = at_once.bus.publish("a", b"", 0).unwrap_err();
    assert_eq!((error.status(), error.message()), (Status::QueueFull, "max_pending=2 messages are pending"));
    assert!(error.is_retriable() && !error.is_fatal());

    let later = Silent::connect(&[("max_pending", "1"), ("stall_wait_ms", "150")], polled());
    later.bus.publish("a", b"", 0).unwrap();
    let begin = Instant::now();
    assert_eq!(later.bus.publish("a", b"", 0).unwrap_err().status(), Status::QueueFull);
    assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());

    // The message's own word counts more than the options'.
    let begin = Instant::now();
    let patient = Message { stall_wait: StallWait::AtMost(Duration::from_millis(100)), ..Message::new("a", b"") };
    assert_eq!(at_once.bus.publish_message(&patient).unwrap_err().status(), Status::QueueFull);
    assert!(begin.elapsed() >= Duration::from_millis(100), "{:?}", begin.elapsed());
    let hurried = Message { stall_wait: StallWait::AtMost(Duration::ZERO), ..Message::new("a", b"") };
    assert_eq!(later.bus.publish_message(&hurried).unwrap_err().status(), Status::QueueFull);
    assert_eq!((at_once.bus.stats().queue_full, later.bus.stats().queue_full), (2, 2));

    for silent in [&at_once.bus, &later.bus] {
        silent.close(Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn a_batch_waits_up_to_the_stall_time_in_all_and_tells_how_far_it_came() {
    within("a batch at a full window", || {
        let silent = Silent::connect(&[("max_pending", "3"), ("stall_wait_ms", "100")], polled());
        let mut ids = Vec::new();
        let begin = Instant::now();
        let error = silent.bus.publish_batch((0..9).map(|tag| Ok(Message { tag, ..Message::new("a", b"") })), |id| ids.push(id)).unwrap_err();
        assert_eq!((error.status(), ids), (Status::QueueFull, vec![1, 2, 3]));
        assert!(begin.elapsed() >= Duration::from_millis(100));
        // A fault in the middle: the prefix is accepted, the rest is not looked at.
        silent.bus.purge(Purge { unsent: true, in_flight: true }).unwrap();
        silent.bus.poll(9, Some(LONG)).unwrap();
        let topics = ["a", "b c", "never looked at"];
        let mut ids = Vec::new();
        let error = silent.bus.publish_batch(topics.iter().map(|topic| Ok(Message::new(topic, b""))), |id| ids.push(id)).unwrap_err();
        assert_eq!((error.status(), ids), (Status::InvalidTopic, vec![4]));
        silent.bus.close(Some(Duration::ZERO)).unwrap();
    });
}

#[test]
fn a_large_message_is_not_starved_by_small_ones() {
    within("a large message among small ones", || {
        // The small ones alone keep the window full: a large one needs nearly all of it.
        let bus = Publisher::connect(&memory(&[("max_pending_bytes", "65536"), ("report", "all")]), on_reports(|_| ())).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let payload = vec![0; 1_000];
                    while !done.load(Ordering::Relaxed) {
                        bus.publish("small", &payload, 0).unwrap();
                    }
                });
            }
            let payload = vec![0; 64_000];
            (0..200).for_each(|_| assert!(bus.publish("large", &payload, 1).is_ok()));
            done.store(true, Ordering::Relaxed);
        });
        bus.flush(Some(LONG)).unwrap();
        assert_eq!(bus.stats().publish_errors, 0);
    });
}

#[test]
fn a_try_that_finds_no_room_is_no_error_and_is_not_counted() {
    let silent = Silent::connect(&[("max_pending", "1"), ("close_timeout_ms", "100")], polled());
    let message = Message::new("a", b"1");
    assert_eq!(silent.bus.try_publish(&message).unwrap(), Some(1));
    assert_eq!(silent.bus.try_publish(&message).unwrap(), None);
    assert_eq!((silent.bus.stats().queue_full, silent.bus.pending()), (0, 1));
    assert_eq!(silent.bus.try_publish(&Message::new("a b", b"1")).unwrap_err().status(), Status::InvalidTopic);
    silent.bus.purge(Purge { unsent: true, in_flight: true }).unwrap();
    assert_eq!(silent.bus.poll(1, Some(LONG)).unwrap().len(), 1);
    assert_eq!(silent.bus.try_publish(&message).unwrap(), Some(2));
}
