//! Everything at once: publishers, readers of figures, rule changes, purges and flushes. At rest the figures add up and every message was told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ackbus::{Message, Persistence, Publisher, Purge, Status};

use super::bus::{LONG, Tally, memory, on_reports, refused, within};

const THREADS: u64 = 4;
const EACH: u64 = 50_000;
const TOTAL: u64 = THREADS * EACH;
const WINDOW: u64 = 500;

/// Calls `run` until the publishers are done.
fn meanwhile(done: &AtomicBool, mut run: impl FnMut(u64)) {
    (0..).take_while(|_| !done.load(Ordering::Relaxed)).for_each(|round| {
        run(round);
        thread::yield_now();
    });
}

#[test]
fn everything_at_once_adds_up() {
    within("everything at once", || {
        let tally = Tally::new(TOTAL);
        let outcomes: Arc<[AtomicU64; 3]> = Arc::default();
        let (told, kinds) = (Arc::clone(&tally), Arc::clone(&outcomes));
        let handlers = on_reports(move |reports| {
            for report in reports {
                let kind = match (report.status(), report.persistence()) {
                    (Status::Ok, Persistence::Persisted) => 0,
                    (Status::WrongExpectation, Persistence::NotPersisted) => 1,
                    (Status::Purged, Persistence::NotPersisted | Persistence::PossiblyPersisted) => 2,
                    _ => panic!("{report:?}"),
                };
                kinds[kind].fetch_add(1, Ordering::Relaxed);
            }
            told.note(reports.iter().copied());
        });
        let bus = Publisher::connect(&memory(&[("max_pending", &WINDOW.to_string()), ("report", "all")]), handlers).unwrap();
        let done = AtomicBool::new(false);
        let purged = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                meanwhile(&done, |_| {
                    let stats = bus.stats();
                    assert!(stats.pending_max <= WINDOW && stats.pending_bytes <= 1 << 20, "{stats:?}");
                    assert_eq!(stats.accepted, stats.published + stats.publish_errors + stats.pending, "{stats:?}");
                });
            });
            // New rules while their topics are in use: never one that another message could have met.
            scope.spawn(|| {
                meanwhile(&done, |round| {
                    let pattern = format!("s.{}", round % 64);
                    bus.set_topic(&pattern, "in_flight", &(1 + round % 20).to_string()).unwrap();
                });
            });
            scope.spawn(|| {
                meanwhile(&done, |round| {
                    let count = bus.purge(Purge { unsent: true, in_flight: round % 2 == 0 }).unwrap();
                    purged.fetch_add(count, Ordering::Relaxed);
                });
            });
            scope.spawn(|| meanwhile(&done, |_| bus.flush(Some(LONG)).unwrap()));
            let publishers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let bus = &bus;
                    scope.spawn(move || {
                        for tag in thread * EACH..(thread + 1) * EACH {
                            let topic = format!("s.{}", tag % 97);
                            let message = if tag % 5 == 0 { refused(&topic, tag) } else { Message { tag, ..Message::new(&topic, b"payload") } };
                            bus.publish_message(&message).unwrap();
                        }
                    })
                })
                .collect();
            let ended: Vec<_> = publishers.into_iter().map(|publisher| publisher.join()).collect();
            done.store(true, Ordering::Relaxed);
            ended.into_iter().for_each(|publisher| publisher.unwrap());
        });
        bus.flush(Some(LONG)).unwrap();
        let stats = bus.stats();
        let [stored, refused, gone] = [0, 1, 2].map(|kind: usize| outcomes[kind].load(Ordering::Relaxed));
        assert_eq!((stats.accepted, stats.pending, bus.pending(), bus.pending_bytes()), (TOTAL, 0, 0, 0));
        assert_eq!((stats.published, stats.publish_errors), (stored, refused + gone));
        assert_eq!((stored + refused + gone, gone), (TOTAL, purged.load(Ordering::Relaxed)), "a purge tells how many it settled");
        assert!(stats.pending_max <= WINDOW);
        tally.assert_each_once();
        bus.close(None).unwrap();
    });
}
