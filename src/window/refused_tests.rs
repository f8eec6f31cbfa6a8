//! Who was refused hears of room: by every way in which it would be let in, once for each note, and not otherwise.

use super::admission::*;
use super::places::*;
use super::refused::*;
use super::tests::wait_for_waiters;
use crate::base::calls::{Credit, leave_callback_thread, set_credit};
use crate::base::error::{Error, Status};
use crate::ledger::slot::Slot;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Instant;

#[derive(Default)]
struct Rings(AtomicU32);

impl Bell for Rings {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rings {
    fn of(window: &Window) -> Arc<Rings> {
        let rings = Arc::new(Rings::default());
        let bell: Weak<Rings> = Arc::downgrade(&rings);
        window.tell_room_to(bell);
        rings
    }

    /// How often it rang since the last look.
    fn fresh(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn request(rule: u32, bytes: usize) -> Request<'static> {
    Request { bytes, rule, topic: ["a", "b", "c"][rule as usize] }
}

fn enter(window: &Window, rule: u32, bytes: usize) -> Box<Slot> {
    window.enter(request(rule, bytes), Patience::Fail, None).unwrap()
}

/// What stands in the way of a publish.
fn refused(window: &Window, rule: u32, bytes: usize) -> u64 {
    let error = window.enter(request(rule, bytes), Patience::Try, None).unwrap_err();
    assert_eq!(error.status(), Status::QueueFull);
    error.held_by()
}

fn leave(window: &Window, slot: Box<Slot>) {
    window.leave(&mut vec![slot]);
}

#[test]
fn one_place_is_told_once() {
    let window = Window::new(1, 100, 1 << 20, 75);
    let rings = Rings::of(&window);
    let mut held: Vec<_> = (0..100).map(|_| enter(&window, 0, 1)).collect();
    leave(&window, held.pop().unwrap());
    assert_eq!(rings.fresh(), 0, "nobody was refused");
    held.push(enter(&window, 0, 1));
    assert_eq!(refused(&window, 0, 1), 0);
    assert_eq!(refused(&window, 0, 1), 0);
    assert_eq!(rings.fresh(), 0);
    leave(&window, held.pop().unwrap());
    assert_eq!(rings.fresh(), 1);
    leave(&window, held.pop().unwrap());
    assert_eq!(rings.fresh(), 0, "told once");
    held.extend([enter(&window, 0, 1), enter(&window, 0, 1)]);
    assert_eq!(refused(&window, 0, 1), 0);
    leave(&window, held.pop().unwrap());
    assert_eq!(rings.fresh(), 1, "and again for who was refused again");
}

#[test]
fn places_without_bytes_are_no_room() {
    let window = Window::new(1, 100, 100, 75);
    let rings = Rings::of(&window);
    let mut held: Vec<_> = (0..10).map(|_| enter(&window, 0, 10)).collect();
    assert_eq!((refused(&window, 0, 50), refused(&window, 0, 30)), (0, 0));
    for _ in 0..2 {
        leave(&window, held.pop().unwrap());
        assert_eq!(rings.fresh(), 0);
    }
    leave(&window, held.pop().unwrap());
    assert_eq!(rings.fresh(), 1, "the smaller one fits");
    let small = enter(&window, 0, 30);
    assert_eq!(refused(&window, 0, 50), 0, "the larger one says again that it waits");
    leave(&window, small);
    assert_eq!(rings.fresh(), 0);
    for _ in 0..2 {
        leave(&window, held.pop().unwrap());
    }
    assert_eq!(rings.fresh(), 1);
}

#[test]
fn a_share_that_is_used_up_is_waited_for_by_itself() {
    let window = Window::new(1, 8, 1 << 20, 50);
    let rings = Rings::of(&window);
    window.close_rule(1, 1, true);
    let mut behind: Vec<_> = (0..4).map(|_| enter(&window, 1, 1)).collect();
    let mut others: Vec<_> = (0..2).map(|_| enter(&window, 0, 1)).collect();
    let number = refused(&window, 1, 1);
    assert!(number != 0 && refused(&window, 1, 9) == number, "the share has a number");
    leave(&window, others.pop().unwrap());
    assert_eq!(rings.fresh(), 0, "places of others do not help it");
    leave(&window, behind.pop().unwrap());
    assert_eq!(rings.fresh(), 1, "one of its own does");
    behind.push(enter(&window, 1, 1));

    assert_eq!(refused(&window, 1, 1), number);
    window.close_rule(1, 2, true);
    window.close_rule(1, 1, false);
    assert_eq!(rings.fresh(), 0, "closed in another lane");
    window.close_rule(1, 2, false);
    assert_eq!(rings.fresh(), 1, "its gate opens");

    // Both stand in the way: the share and the window.
    window.close_rule(1, 1, true);
    others.extend((0..3).map(|_| enter(&window, 0, 1)));
    assert_eq!((window.usage().0, refused(&window, 1, 1), refused(&window, 0, 1)), (8, number, 0));
    window.close_rule(1, 1, false);
    assert_eq!(rings.fresh(), 0, "the window is full");
    leave(&window, others.pop().unwrap());
    assert_eq!(rings.fresh(), 1);
    drop(behind);
}

#[test]
fn topics_without_a_rules_gate_have_shares_too() {
    let window = Window::new(1, 8, 1 << 20, 50);
    let rings = Rings::of(&window);
    window.close_topic("a", true);
    window.close_topic("b", true);
    let numbers = [refused(&window, 0, 1), refused(&window, 1, 1)];
    assert!(numbers[0] != numbers[1] && !numbers.contains(&0), "{numbers:?}");
    window.close_topic("c", true);
    window.close_topic("c", false);
    assert_eq!(rings.fresh(), 0);
    // Told of the second lane's trouble with it, it is still noted.
    window.close_topic("a", true);
    window.close_topic("a", false);
    assert_eq!(rings.fresh(), 1);
    window.close_topic("b", false);
    assert_eq!(rings.fresh(), 1);
}

#[test]
fn a_callback_makes_room_at_both_ends() {
    let window = Window::new(1, 2, 100, 50);
    let rings = Rings::of(&window);
    window.close_rule(1, 1, true);
    let mut batch = vec![enter(&window, 1, 1)];
    assert_ne!(refused(&window, 1, 1), 0);
    window.lend(&batch);
    assert_eq!(rings.fresh(), 1, "the report's place is the callback's now, and none of the share");
    leave_callback_thread();
    let other = enter(&window, 1, 1);
    assert_eq!(refused(&window, 0, 1), 0);
    set_credit(Some(Credit { window: 1, messages: 1, bytes: 1 }));
    window.settle_loan(&mut batch);
    leave_callback_thread();
    assert_eq!(rings.fresh(), 1);
    drop(other);
}

#[test]
fn the_end_and_new_rules_are_told() {
    let window = Window::new(1, 1, 100, 50);
    let rings = Rings::of(&window);
    window.close_rule(1, 1, true);
    let held = enter(&window, 1, 1);
    assert_ne!(refused(&window, 1, 1), 0);
    window.rules_changed();
    assert_eq!(rings.fresh(), 1, "its topic may have another rule now");
    window.rules_changed();
    assert_eq!(rings.fresh(), 0);
    assert_eq!(refused(&window, 0, 1), 0);
    window.shut(Error::new(Status::Closed, "closed"));
    assert_eq!(rings.fresh(), 1, "it would hear of the end");
    window.shut(Error::new(Status::Closed, "closed"));
    assert_eq!(rings.fresh(), 0);
    drop(held);
}

#[test]
fn who_gave_way_to_a_waiter_hears_when_that_is_gone() {
    let window = &Window::new(1, 10, 100, 10);
    let rings = Rings::of(window);
    let held = enter(window, 0, 60);
    let later = Instant::now() + std::time::Duration::from_millis(200);
    std::thread::scope(|scope| {
        let large = scope.spawn(|| window.enter(request(1, 80), Patience::Until(later), None).map(drop));
        wait_for_waiters(window, 1);
        assert_eq!(refused(window, 0, 10), 0);
        assert_eq!(large.join().unwrap().unwrap_err().status(), Status::QueueFull);
        assert_eq!(rings.fresh(), 1, "it gave up");

        let own = enter(window, 1, 1);
        let long = Instant::now() + std::time::Duration::from_secs(60);
        let large = scope.spawn(move || window.enter(request(1, 80), Patience::Until(long), None).unwrap());
        wait_for_waiters(window, 1);
        assert_eq!(refused(window, 0, 10), 0);
        // Held by its gate, it holds up nobody.
        window.close_rule(1, 1, true);
        assert_eq!(rings.fresh(), 1);
        let other = enter(window, 0, 10);
        window.close_rule(1, 1, false);
        assert_eq!(refused(window, 0, 10), 0, "it waits for bytes again");
        [own, other].into_iter().for_each(|slot| leave(window, slot));
        assert_eq!(rings.fresh(), 0);
        leave(window, held);
        leave(window, large.join().unwrap());
        assert!(rings.fresh() >= 1, "it went in");
    });
}
