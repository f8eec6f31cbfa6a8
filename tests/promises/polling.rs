//! P5 in poll mode: nobody waits for what only he could do; the descriptor is a level.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ackbus::{EventKind, Message, Publisher, Purge, State, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::bus::{LONG, Silent, Tally, memory, on_event, on_reports, polled, refused, within};

const NOW: Option<Duration> = Some(Duration::ZERO);

/// What poll(2) says of the wake fd, now or within `limit`.
#[allow(unsafe_code, reason = "a descriptor is a number in this interface, as its users' event loops want it")]
pub(crate) fn readable(bus: &Publisher, limit: PollTimeout) -> bool {
    // SAFETY: the descriptor lives as long as the publisher, which is borrowed for longer than this.
    let fd = unsafe { BorrowedFd::borrow_raw(bus.wake_fd().unwrap()) };
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], limit).unwrap() == 1
}

fn is_raised(bus: &Publisher) -> bool {
    readable(bus, PollTimeout::ZERO)
}

/// One thread publishes and polls only when it is told to.
fn alone(max_pending: u64, count: u64) -> u64 {
    within("one thread that publishes and polls", move || {
        let options = [("max_pending", &*max_pending.to_string()), ("report", "all")];
        let bus = Publisher::connect(&memory(&options), polled()).unwrap();
        let (tally, mut told) = (Tally::new(count), 0);
        for tag in 0..count {
            while let Err(error) = bus.publish("a", b"", tag) {
                assert_eq!(error.status(), Status::QueueFull, "{error}");
                assert!(error.message().contains("poll first"), "{error}");
                told += 1;
                let reports = bus.poll(usize::MAX, NOW).unwrap();
                assert_eq!(reports.len() as u64, max_pending, "it returned when every place held a report");
                tally.note(reports.iter());
            }
        }
        bus.flush(Some(LONG)).unwrap();
        tally.note(bus.poll(usize::MAX, NOW).unwrap().iter());
        tally.assert_each_once();
        assert_eq!((bus.stats().pending_max, bus.stats().queue_full), (max_pending, told));
        told
    })
}

#[test]
fn one_thread_publishes_and_polls_through_64() {
    assert_eq!(alone(64, 10_000), (10_000 - 64_u64).div_ceil(64));
}

#[test]
fn one_thread_publishes_and_polls_through_one() {
    // Each QUEUE_FULL takes its 100 ms; the loop of 10,000 that never meets one is below.
    assert_eq!(alone(1, 50), 49);
}

#[test]
fn one_thread_polls_after_each_publish_through_one() {
    within("publish, poll, publish", || {
        let bus = Publisher::connect(&memory(&[("max_pending", "1"), ("report", "all")]), polled()).unwrap();
        for tag in 0..10_000 {
            bus.publish("a", b"", tag).unwrap();
            let reports = bus.poll(9, Some(LONG)).unwrap();
            assert_eq!((reports.len(), reports.get(0).unwrap().tag(), reports.get(1).is_none()), (1, tag, true));
        }
        assert_eq!((bus.stats().queue_full, bus.stats().pending_max, bus.stats().reports_delivered), (0, 1, 10_000));
    });
}

#[test]
fn dead_letters_from_an_own_batch_are_refused_and_not_waited_for() {
    within("a publish by who holds the batch", || {
        let bus = Publisher::connect(&memory(&[("max_pending", "2")]), polled()).unwrap();
        (0..2).for_each(|tag| assert!(bus.publish_message(&refused("a", tag)).is_ok()));
        bus.flush(Some(LONG)).unwrap();
        let batch = bus.poll(9, Some(LONG)).unwrap();
        assert_eq!(batch.len(), 2);
        // Its places are this thread's to give back: it would wait for itself.
        let error = bus.publish("dead", batch.get(0).unwrap().payload(), 0).unwrap_err();
        assert_eq!(error.status(), Status::QueueFull);
        drop(batch);
        bus.publish("dead", b"payload", 0).unwrap();
    });
}

#[test]
fn a_report_in_a_ticket_is_not_waited_for() {
    within("a publish by who holds the ticket", || {
        let bus = Publisher::connect(&memory(&[("max_pending", "1")]), polled()).unwrap();
        let ticket = bus.submit(&Message::new("a", b"")).unwrap();
        assert_eq!(bus.publish("b", b"", 0).unwrap_err().status(), Status::QueueFull);
        drop(ticket.wait(Some(LONG)).unwrap());
        bus.publish("b", b"", 0).unwrap();
    });
}

#[test]
fn a_batch_in_another_threads_hands_is_waited_for() {
    within("a publish while another thread works", || {
        let bus = Publisher::connect(&memory(&[("max_pending", "1"), ("report", "all")]), polled()).unwrap();
        bus.publish("a", b"", 0).unwrap();
        thread::scope(|scope| {
            let batch = scope.spawn(|| bus.poll(1, Some(LONG)).unwrap()).join().unwrap();
            let publisher = scope.spawn(|| bus.publish("b", b"", 1));
            // Longer than the 100 ms after which a publisher asks whether waiting makes sense. Too short a pause could only hide a fault.
            thread::sleep(Duration::from_millis(250));
            drop(batch);
            assert_eq!(publisher.join().unwrap().unwrap(), 2);
        });
    });
}

#[test]
fn eight_publishers_and_two_pollers_meet_no_full_queue() {
    within("publishers and pollers", || {
        const EACH: u64 = 5_000;
        let bus = Publisher::connect(&memory(&[("max_pending", "16"), ("report", "all")]), polled()).unwrap();
        let tally = Tally::new(8 * EACH);
        let told = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..8 {
                let bus = &bus;
                scope.spawn(move || (0..EACH).for_each(|i| assert!(bus.publish("a", b"", thread * EACH + i).is_ok())));
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while told.load(Ordering::Relaxed) < 8 * EACH {
                        let reports = bus.poll(5, Some(Duration::from_millis(20))).unwrap();
                        assert!(reports.len() <= 5);
                        tally.note(reports.iter());
                        told.fetch_add(reports.len() as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        tally.assert_each_once();
        assert_eq!((bus.stats().queue_full, bus.pending_bytes()), (0, 0));
        assert!(bus.stats().pending_max <= 16);
    });
}

#[test]
fn the_wake_fd_is_up_while_something_waits() {
    within("the wake fd", || {
        let bus = Publisher::connect(&memory(&[("report", "all")]), polled()).unwrap();
        assert!(is_raised(&bus), "CONNECTED waits");
        assert_eq!(bus.poll(9, NOW).unwrap().len(), 0);
        assert!(is_raised(&bus), "poll takes no events");
        assert_eq!(bus.poll_events(9, NOW).unwrap()[0].kind, EventKind::Connected);
        assert!(!is_raised(&bus));

        (0..3).for_each(|tag| assert!(bus.publish("a", b"", tag).is_ok()));
        assert!(readable(&bus, PollTimeout::NONE), "it wakes who waits for it");
        bus.flush(Some(LONG)).unwrap();
        assert_eq!(bus.poll(2, NOW).unwrap().len(), 2);
        assert!(is_raised(&bus), "one is left");
        assert!(bus.poll_events(9, NOW).unwrap().is_empty());
        assert!(is_raised(&bus), "poll_events takes no reports");
        assert_eq!(bus.poll(2, NOW).unwrap().len(), 1);
        assert!(!is_raised(&bus));

        bus.close(None).unwrap();
        assert!(is_raised(&bus), "CLOSED waits");
        assert_eq!(bus.poll_events(9, NOW).unwrap()[0].kind, EventKind::Closed);
        assert!(!is_raised(&bus));
        assert_eq!(bus.poll_events(9, NOW).unwrap_err().status(), Status::Closed);
        assert_eq!(bus.poll(9, NOW).unwrap_err().status(), Status::Closed);
    });
}

#[test]
fn room_after_a_full_queue_raises_the_wake_fd_once() {
    within("room after a full queue", || {
        let silent = Silent::connect(&[("max_pending", "4"), ("on_full", "fail"), ("report", "none")], on_event(|_| ()));
        let bus = &silent.bus;
        let purge = || bus.purge(Purge { unsent: true, in_flight: true }).unwrap();
        (0..4).for_each(|tag| assert!(bus.publish("a", b"", tag).is_ok()));
        assert_eq!(purge(), 4);
        assert!(!is_raised(bus), "nobody was refused");

        (0..4).for_each(|tag| assert!(bus.publish("a", b"", tag).is_ok()));
        assert_eq!(bus.publish("a", b"", 4).unwrap_err().status(), Status::QueueFull);
        assert!(!is_raised(bus), "no room yet");
        assert_eq!(purge(), 4);
        assert!(is_raised(bus));
        let reports = bus.poll(9, NOW).unwrap();
        assert_eq!((reports.len(), reports.room()), (0, true));
        assert!(!is_raised(bus));
        assert!(!bus.poll(9, NOW).unwrap().room(), "told once");
        bus.publish("a", b"", 5).unwrap();
        bus.close(NOW).unwrap();
    });
}

#[test]
fn a_poll_that_waits_wakes_for_reports_room_and_the_end() {
    within("a waiting poll", || {
        let silent = Silent::connect(&[("max_pending", "1"), ("on_full", "fail"), ("report", "failures")], polled());
        let bus = &silent.bus;
        thread::scope(|scope| {
            let poller = scope.spawn(|| bus.poll(9, None).map(|reports| reports.iter().map(|report| (report.tag(), report.status())).collect::<Vec<_>>()));
            bus.publish("a", b"", 7).unwrap();
            bus.purge(Purge { unsent: true, in_flight: true }).unwrap();
            assert_eq!(poller.join().unwrap().unwrap(), [(7, Status::Purged)]);
        });
        thread::scope(|scope| {
            let pollers: Vec<_> = (0..3).map(|_| scope.spawn(|| bus.poll(9, None).map(drop))).collect();
            let events = scope.spawn(|| while bus.poll_events(9, None).is_ok() {});
            bus.close(NOW).unwrap();
            for poller in pollers {
                assert_eq!(poller.join().unwrap().unwrap_err().status(), Status::Closed);
            }
            events.join().unwrap();
        });
    });
}

#[test]
fn an_empty_poll_ends_in_time() {
    let bus = Publisher::connect(&memory(&[]), polled()).unwrap();
    let begin = Instant::now();
    assert!(bus.poll(9, Some(Duration::from_millis(80))).unwrap().is_empty());
    assert!(begin.elapsed() >= Duration::from_millis(80));
}

#[test]
fn polling_and_callbacks_exclude_each_other() {
    let called = Publisher::connect(&memory(&[]), on_reports(|_| ())).unwrap();
    assert_eq!(called.poll(1, NOW).unwrap_err().status(), Status::InvalidState);
    assert_eq!(called.wake_fd(), None);
    assert_eq!(called.poll_events(1, Some(LONG)).unwrap()[0].kind, EventKind::Connected, "events have no handler here");
    let told = Publisher::connect(&memory(&[]), on_event(|_| ())).unwrap();
    assert_eq!(told.poll_events(1, NOW).unwrap_err().status(), Status::InvalidState);
    assert!(told.poll(1, NOW).unwrap().is_empty());
}

#[test]
fn events_drop_the_oldest_and_count_it() {
    within("a full event queue", || {
        let bus = Publisher::connect(&memory(&[("event_queue", "1")]), polled()).unwrap();
        bus.close(None).unwrap();
        let events = bus.poll_events(9, NOW).unwrap();
        assert_eq!((events.len(), events[0].kind, bus.stats().events_dropped), (1, EventKind::Closed, 1));
    });
}

#[test]
fn views_stay_where_they_are() {
    let bus = Publisher::connect(&memory(&[("report", "all")]), polled()).unwrap();
    bus.publish("a.topic", b"a payload", 1).unwrap();
    let batch = bus.poll(1, Some(LONG)).unwrap();
    let report = batch.get(0).unwrap();
    let before = (report.topic().as_ptr() as usize, report.payload().as_ptr() as usize);
    let moved = Box::new(batch);
    // Other messages come and go meanwhile, through other slots; the publisher closes and goes.
    for tag in 0..1_000 {
        bus.publish("b", b"another payload", tag).unwrap();
        drop(bus.poll(1, Some(LONG)).unwrap());
    }
    drop(bus);
    let report = moved.get(0).unwrap();
    assert_eq!((report.topic().as_ptr() as usize, report.payload().as_ptr() as usize), before);
    assert_eq!((report.topic(), report.payload()), ("a.topic", &b"a payload"[..]));
}

#[test]
fn stop_is_seen_by_a_publisher_that_waits_for_a_poller() {
    within("a close under a waiting publisher in poll mode", || {
        let bus = Arc::new(Publisher::connect(&memory(&[("max_pending", "1"), ("report", "all")]), polled()).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        bus.publish("a", b"", 0).unwrap();
        bus.flush(Some(LONG)).unwrap();
        let batch = bus.poll(1, Some(LONG)).unwrap();
        let publisher = {
            let (bus, stop) = (Arc::clone(&bus), Arc::clone(&stop));
            thread::spawn(move || {
                stop.store(true, Ordering::Release);
                bus.publish("b", b"", 1).map_err(|error| error.status())
            })
        };
        ackbus_test_support::wait_for("the publisher", LONG, || stop.load(Ordering::Acquire).then_some(()));
        bus.close(None).unwrap();
        assert_eq!(publisher.join().unwrap(), Err(Status::Closed));
        assert_eq!(batch.get(0).unwrap().tag(), 0);
    });
}

#[test]
fn an_event_and_the_state_that_it_tells_of_appear_together() {
    // Whoever sees one finds the other. Only a quick reader can hit the moment between them: hence the many tries.
    within("the event of the connection", || {
        for _ in 0..500 {
            let bus = Publisher::connect(&memory(&[("retry_on_connect", "true")]), polled()).unwrap();
            let event = loop {
                if let Some(event) = bus.poll_events(1, NOW).unwrap().pop() {
                    break event;
                }
            };
            assert_eq!((event.kind, bus.info().state), (EventKind::Connected, State::Connected));
            let other = Publisher::connect(&memory(&[("retry_on_connect", "true")]), polled()).unwrap();
            other.wait_connected(Some(LONG)).unwrap();
            assert_eq!(other.poll_events(1, NOW).unwrap().len(), 1);
        }
    });
}

/// P3 for programs with handlers of their own: the places of a polled batch belong to the thread that handles it.
#[test]
fn a_handler_has_the_places_of_its_reports() {
    within("a handler at a full window", || {
        let silent = Silent::connect(&[("max_pending", "4"), ("on_full", "fail")], polled());
        let bus = &silent.bus;
        let refused = |topic: &str| bus.publish(topic, b"", 0).unwrap_err().status();
        for tag in 0..4 {
            bus.publish("a", b"", tag).unwrap();
        }
        assert_eq!(bus.purge(Purge { unsent: true, in_flight: true }).unwrap(), 4);
        let mut batch = bus.poll(9, Some(LONG)).unwrap();
        assert_eq!((batch.len(), refused("a")), (4, Status::QueueFull));

        batch.enter_callback().unwrap();
        assert!(ackbus::in_callback());
        assert_eq!(ackbus::enter_callback().unwrap_err().status(), Status::InvalidState);
        assert_eq!(bus.flush(NOW).unwrap_err().status(), Status::WrongThread);
        thread::scope(|scope| assert_eq!(scope.spawn(|| refused("a")).join().unwrap(), Status::QueueFull, "another thread has none of them"));
        for tag in 0..3 {
            bus.publish("dead", b"", tag).unwrap();
        }
        assert_eq!(batch.get(3).unwrap().topic(), "a", "its views are still there");
        ackbus::leave_callback();
        assert!(!ackbus::in_callback());

        bus.publish("a", b"", 9).unwrap();
        assert_eq!(refused("a"), Status::QueueFull, "one place was left over");
        assert_eq!(batch.enter_callback().unwrap_err().status(), Status::InvalidState, "once for each batch");
        drop(batch);
        assert_eq!((refused("a"), bus.stats().pending_max), (Status::QueueFull, 4));

        ackbus::enter_callback().unwrap();
        assert_eq!(bus.publish("a", b"", 0).unwrap_err().status(), Status::QueueFull);
        ackbus::leave_callback();
        ackbus::leave_callback();
        assert!(!ackbus::in_callback());
    });
}
