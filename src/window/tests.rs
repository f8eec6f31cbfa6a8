//! The window by itself.

use super::admission::*;
use super::places::*;
use crate::base::calls::{in_callback, leave_callback_thread, set_credit};
use crate::base::error::{Error, Status};
use crate::ledger::content::Parts;
use crate::ledger::slot::KEPT_CONTENT;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

fn request(bytes: usize) -> Request<'static> {
    Request { bytes, rule: 0, topic: "a" }
}

/// Until so many threads wait for room.
pub(super) fn wait_for_waiters(window: &Window, count: usize) {
    ackbus_test_support::wait_for("a waiter", Duration::from_secs(60), || (window.state().waiting == count).then_some(()));
}

#[test]
fn limits_hold_and_places_come_back() {
    let window = Window::new(1, 2, 100, 75);
    let a = window.enter(request(60), Patience::Fail, None).unwrap();
    assert_eq!(window.enter(request(41), Patience::Fail, None).unwrap_err().status(), Status::QueueFull);
    let b = window.enter(request(40), Patience::Fail, None).unwrap();
    assert_eq!(window.enter(request(0), Patience::Fail, None).unwrap_err().status(), Status::QueueFull);
    assert_eq!(window.enter(request(101), Patience::NoLimit, None).unwrap_err().status(), Status::TooLarge);
    window.leave(&mut vec![a, b]);
    assert_eq!(window.usage(), (0, 0));
    assert_eq!(window.high_water(), 2);
}

#[test]
fn a_callback_has_the_places_of_its_reports() {
    let window = Window::new(7, 1, 100, 75);
    let mut batch = vec![window.enter(request(60), Patience::Fail, None).unwrap()];
    window.lend(&batch);
    assert!(in_callback());
    let again = window.enter(request(60), Patience::NoLimit, None).unwrap();
    assert_ne!(again.index, batch[0].index, "the report's memory is still in use");
    assert_eq!(window.enter(request(1), Patience::NoLimit, None).unwrap_err().status(), Status::QueueFull, "and never waits");
    window.settle_loan(&mut batch);
    assert_eq!(window.usage(), (1, 60));
    window.leave(&mut vec![again]);
    assert_eq!(window.usage(), (0, 0));
    set_credit(None);
}

#[test]
fn many_threads_through_one_place() {
    let window = Arc::new(Window::new(1, 1, 1 << 20, 75));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let window = Arc::clone(&window);
            std::thread::spawn(move || {
                for _ in 0..500 {
                    let slot = window.enter(request(10), Patience::NoLimit, None).unwrap();
                    window.leave(&mut vec![slot]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((window.high_water(), window.usage()), (1, (0, 0)));
}

#[test]
fn whoever_waits_for_bytes_is_not_overtaken() {
    let window = Arc::new(Window::new(1, 10, 100, 75));
    let mut first = vec![window.enter(request(50), Patience::Fail, None).unwrap()];
    let mut second = vec![window.enter(request(40), Patience::Fail, None).unwrap()];
    let order = Arc::new(Mutex::new(Vec::new()));
    let enter = |bytes: usize, waiting: usize| {
        let (window, order) = (Arc::clone(&window), Arc::clone(&order));
        let entered = Arc::clone(&window);
        let thread = std::thread::spawn(move || {
            let slot = entered.enter(request(bytes), Patience::NoLimit, None).unwrap();
            order.lock().unwrap().push(bytes);
            slot
        });
        wait_for_waiters(&window, waiting);
        thread
    };
    let large = enter(80, 1);
    let small = enter(20, 2);
    assert!(window.enter(request(1), Patience::Fail, None).is_err(), "newcomers neither");
    window.leave(&mut second);
    // There is room for 20 bytes now, and not for the 80 that came before. The pause can hide a fault, never make one.
    std::thread::sleep(Duration::from_millis(50));
    assert!(order.lock().unwrap().is_empty());
    window.leave(&mut first);
    window.leave(&mut vec![large.join().unwrap(), small.join().unwrap()]);
    assert_eq!(window.usage(), (0, 0));
}

#[test]
fn a_waiter_that_gives_up_lets_those_behind_it_pass() {
    let window = Arc::new(Window::new(1, 10, 100, 75));
    let held = window.enter(request(60), Patience::Fail, None).unwrap();
    let behind = Arc::clone(&window);
    let give_up = Instant::now() + Duration::from_millis(200);
    std::thread::scope(|scope| {
        let large = scope.spawn(|| window.enter(request(80), Patience::Until(give_up), None).map(drop));
        wait_for_waiters(&window, 1);
        let small = scope.spawn(move || behind.enter(request(10), Patience::NoLimit, None).map(drop));
        assert_eq!(large.join().unwrap().unwrap_err().status(), Status::QueueFull);
        small.join().unwrap().unwrap();
    });
    drop(held);
}

#[test]
fn a_window_full_of_reports_is_told_after_100_ms_of_it() {
    let window = Window::new(1, 1, 100, 75);
    let _held = window.enter(request(1), Patience::Fail, None).unwrap();
    let begin = Instant::now();
    // Somebody polls for 150 ms, the last time then.
    let since = begin + Duration::from_millis(150);
    let stuck = |used: usize| (used == 1 && Instant::now() >= since).then_some(since);
    let error = window.enter(request(1), Patience::NoLimit, Some(&stuck)).unwrap_err();
    assert_eq!(error.status(), Status::QueueFull);
    assert!(begin.elapsed() >= Duration::from_millis(250), "{:?}", begin.elapsed());
}

#[test]
fn a_held_gate_leaves_room_for_others() {
    let window = Window::new(1, 4, 1 << 20, 50);
    window.close_rule(1, 1, true);
    let held: Vec<_> = (0..2).map(|_| window.enter(Request { bytes: 1, rule: 1, topic: "x" }, Patience::Fail, None).unwrap()).collect();
    assert!(window.enter(Request { bytes: 1, rule: 1, topic: "x" }, Patience::Fail, None).is_err());
    assert!(window.enter(Request { bytes: 1, rule: 0, topic: "y" }, Patience::Fail, None).is_ok());
    // Closed in a second lane, too: open in one is not enough.
    window.close_rule(1, 2, true);
    window.close_rule(1, 1, false);
    assert!(window.enter(Request { bytes: 1, rule: 1, topic: "x" }, Patience::Fail, None).is_err());
    window.close_rule(1, 2, false);
    assert!(window.enter(Request { bytes: 1, rule: 1, topic: "x" }, Patience::Fail, None).is_ok());
    drop(held);
}

#[test]
fn freed_slots_keep_little_memory() {
    let window = Window::new(1, 10, 1 << 30, 75);
    let mut slot = window.enter(request(1), Patience::Fail, None).unwrap();
    slot.content.fill(&Parts { topic: b"t", payload: &[0; 1 << 20], ..Parts::default() }, |_| {});
    window.leave(&mut vec![slot]);
    let slot = window.enter(request(1), Patience::Fail, None).unwrap();
    assert!(slot.content.held() <= KEPT_CONTENT);
}

#[test]
fn many_enter_as_far_as_there_is_room_and_as_one_by_one() {
    let window = Window::new(1, 3, 1000, 50);
    let mut slots = Vec::new();
    window.enter_many([request(1), request(2), request(3), request(4)].into_iter(), &mut slots);
    assert_eq!(slots.iter().map(|slot| slot.bytes).collect::<Vec<_>>(), [1, 2, 3], "max_pending");
    assert_eq!(window.usage(), (3, 6));
    window.leave(&mut slots);
    window.enter_many([request(999), request(2), request(1)].into_iter(), &mut slots);
    assert_eq!((slots.len(), window.usage()), (1, (1, 999)), "max_pending_bytes, and nobody passes the one that does not fit");
    let report = slots;
    window.lend(&report);
    let mut own = Vec::new();
    window.enter_many([request(1)].into_iter(), &mut own);
    assert!(own.is_empty(), "a callback's places are counted one by one");
    window.settle_loan(&mut { report });
    leave_callback_thread();
    assert_eq!(window.usage(), (0, 0));
    window.shut(Error::new(Status::Closed, "closed"));
    window.enter_many([request(1)].into_iter(), &mut own);
    assert!(own.is_empty());
}
