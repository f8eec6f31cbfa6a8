//! The window: limits, waiting, the callback's places (P3), and the end.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use crate::window::admission::Window;
use crate::window::places::{Patience, Request};
use crate::window::refused::Bell;
use crate::base::error::{Error, Result, Status};
use crate::ledger::slot::Slot;
use crate::base::sync::Notify;

fn request(bytes: usize) -> Request<'static> {
    Request { bytes, rule: 0, topic: "a" }
}

fn window(messages: usize, bytes: usize) -> Arc<Window> {
    Arc::new(Window::new(1, messages, bytes, 50))
}

fn enter(window: &Window, bytes: usize) -> Result<Box<Slot>> {
    window.enter(request(bytes), Patience::NoLimit, None)
}

fn leave(window: &Window, slots: impl IntoIterator<Item = Box<Slot>>) {
    window.leave(&mut slots.into_iter().collect());
}

/// What polls: it sleeps until the bell rings.
#[derive(Default)]
struct Poller(Notify);

impl Bell for Poller {
    fn ring(&self) {
        self.0.notify_one();
    }
}

impl Poller {
    fn of(window: &Window) -> std::sync::Arc<Poller> {
        let poller = std::sync::Arc::new(Poller::default());
        let bell: std::sync::Weak<Poller> = std::sync::Arc::downgrade(&poller);
        window.tell_room_to(bell);
        poller
    }

    /// Tries, and tries again whenever the bell rings.
    fn enter(&self, window: &Window, request: Request<'_>) -> Box<Slot> {
        loop {
            if let Ok(slot) = window.enter(request, Patience::Try, None) {
                return slot;
            }
            self.0.wait();
        }
    }
}

/// A thread that polls: it enters and leaves.
fn polling_visitor(window: &Arc<Window>, poller: &std::sync::Arc<Poller>, request: Request<'static>) -> JoinHandle<()> {
    let (window, poller) = (Arc::clone(window), std::sync::Arc::clone(poller));
    thread::spawn(move || {
        let slot = poller.enter(&window, request);
        leave(&window, [slot]);
    })
}

/// A thread that enters, waiting if it must, and leaves.
fn visitor(window: &Arc<Window>, bytes: usize) -> JoinHandle<()> {
    let window = Arc::clone(window);
    thread::spawn(move || {
        let slot = enter(&window, bytes).unwrap();
        leave(&window, [slot]);
    })
}

fn is_empty(window: &Window) {
    assert_eq!(window.usage(), (0, 0), "P3: all places are given back, and counted");
}

/// Three threads through one place: never two inside, everybody gets in, and nobody is given a slot that another has.
pub fn one_place() {
    loom::model(|| {
        let window = window(1, 100);
        let inside = Arc::new(AtomicUsize::new(0));
        let pass = |window: Arc<Window>, inside: Arc<AtomicUsize>| {
            let slot = enter(&window, 10).unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "P3: the limit is 1");
            inside.fetch_sub(1, Ordering::SeqCst);
            leave(&window, [slot]);
        };
        let others = [(); 2].map(|()| {
            let (window, inside) = (Arc::clone(&window), Arc::clone(&inside));
            thread::spawn(move || pass(window, inside))
        });
        pass(Arc::clone(&window), inside);
        for thread in others {
            thread.join().unwrap();
        }
        assert_eq!(window.high_water(), 1);
        is_empty(&window);
    });
}

/// Two wait, and two places come back together: both are woken.
pub fn two_places_come_back_together() {
    loom::model(|| {
        let window = window(2, 100);
        let held = [enter(&window, 1).unwrap(), enter(&window, 1).unwrap()];
        // They stay: nobody's leaving wakes the other.
        let waiting = [(); 2].map(|()| {
            let window = Arc::clone(&window);
            thread::spawn(move || enter(&window, 1).unwrap())
        });
        leave(&window, held);
        let inside = waiting.map(|thread| thread.join().unwrap());
        leave(&window, inside);
        is_empty(&window);
    });
}

/// A large message and a small one wait for bytes. When there is room for both, both come in and stay, whoever was woken first; there are never too many bytes.
pub fn waiting_for_bytes() {
    loom::model(|| {
        let window = window(3, 10);
        let held = enter(&window, 6).unwrap();
        let waiting = [5, 4].map(|bytes| {
            let window = Arc::clone(&window);
            thread::spawn(move || enter(&window, bytes).unwrap())
        });
        assert!(window.usage().1 <= 10, "P3: the limit is 10 bytes");
        leave(&window, [held]);
        let inside = waiting.map(|thread| thread.join().unwrap());
        assert_eq!(window.usage(), (2, 9));
        leave(&window, inside);
        is_empty(&window);
    });
}

/// Two wait, and the window is shut: both go home with the reason, unless they came in before.
pub fn closing_wakes_all() {
    loom::model(|| {
        let window = window(1, 100);
        let held = enter(&window, 1).unwrap();
        let waiting = [(); 2].map(|()| {
            let window = Arc::clone(&window);
            thread::spawn(move || enter(&window, 1).map(drop).unwrap_err().status())
        });
        window.shut(Error::new(Status::Closed, "closed"));
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Status::Closed);
        }
        leave(&window, [held]);
        is_empty(&window);
    });
}

/// A callback publishes while another thread waits for the place: the place is the callback's (P3), and the other gets in afterwards.
pub fn a_callback_keeps_its_places() {
    loom::model(|| {
        let window = window(1, 10);
        let mut batch = vec![enter(&window, 10).unwrap()];
        let waiting = visitor(&window, 10);
        window.lend(&batch);
        let own = enter(&window, 10).expect("P3: the callback's first publish is admitted");
        assert_eq!(enter(&window, 1).unwrap_err().status(), Status::QueueFull, "P5: and a callback never waits");
        window.settle_loan(&mut batch);
        assert_eq!(window.usage(), (1, 10));
        leave(&window, [own]);
        waiting.join().unwrap();
        is_empty(&window);
    });
}

/// A callback that publishes nothing: its place is free when it returns, and whoever waits is woken.
pub fn a_callback_gives_its_places_back() {
    loom::model(|| {
        let window = window(1, 10);
        let mut batch = vec![enter(&window, 10).unwrap()];
        let waiting = [visitor(&window, 10), visitor(&window, 1)];
        window.lend(&batch);
        window.settle_loan(&mut batch);
        for thread in waiting {
            thread.join().unwrap();
        }
        is_empty(&window);
    });
}

/// One waits behind a closed gate, another for a place: when the gate opens and a place comes back, both get in.
pub fn a_gate_opens() {
    loom::model(|| {
        let window = Arc::new(Window::new(1, 2, 100, 50));
        window.close_rule(0, 1, true);
        let first = enter(&window, 1).unwrap();
        let behind = visitor(&window, 1);
        let other = {
            let window = Arc::clone(&window);
            thread::spawn(move || {
                let slot = window.enter(Request { bytes: 1, rule: 1, topic: "b" }, Patience::NoLimit, None).unwrap();
                leave(&window, [slot]);
            })
        };
        window.close_rule(0, 1, false);
        behind.join().unwrap();
        other.join().unwrap();
        leave(&window, [first]);
        is_empty(&window);
    });
}

/// A waiter is woken for a place, and before it looks its gate closes: the place is for the other, who sleeps.
pub fn a_place_is_passed_on() {
    loom::model(|| {
        let window = Arc::new(Window::new(1, 2, 100, 50));
        let [stays, goes] = [(); 2].map(|()| enter(&window, 1).unwrap());
        let behind = visitor(&window, 1);
        let other = {
            let window = Arc::clone(&window);
            thread::spawn(move || window.enter(Request { bytes: 1, rule: 1, topic: "b" }, Patience::NoLimit, None).unwrap())
        };
        leave(&window, [goes]);
        window.close_rule(0, 1, true);
        let other = other.join().unwrap();
        window.close_rule(0, 1, false);
        leave(&window, [stays, other]);
        behind.join().unwrap();
        is_empty(&window);
    });
}

/// A waiter that is short of bytes goes before others, but not while its gate holds it: one that its own gate lets in gets in, whatever comes first.
pub fn who_is_held_is_passed() {
    loom::model(|| {
        let window = Arc::new(Window::new(1, 3, 10, 34));
        let stays = enter(&window, 6).unwrap();
        let large = visitor(&window, 5);
        let small = {
            let window = Arc::clone(&window);
            thread::spawn(move || window.enter(Request { bytes: 4, rule: 1, topic: "b" }, Patience::NoLimit, None).unwrap())
        };
        window.close_rule(0, 1, true);
        let small = small.join().unwrap();
        window.close_rule(0, 1, false);
        leave(&window, [stays, small]);
        large.join().unwrap();
        is_empty(&window);
    });
}

/// A report's place becomes the callback's own, so its gate's share is free: who waits for that gets in while the callback runs.
pub fn a_loan_frees_the_share() {
    loom::model(|| {
        let window = Arc::new(Window::new(1, 2, 100, 50));
        window.close_rule(0, 1, true);
        let mut batch = vec![enter(&window, 1).unwrap()];
        let behind = {
            let window = Arc::clone(&window);
            thread::spawn(move || enter(&window, 1).unwrap())
        };
        window.lend(&batch);
        let behind = behind.join().unwrap();
        window.settle_loan(&mut batch);
        leave(&window, [behind]);
        is_empty(&window);
    });
}

/// A poller was refused: it hears of room, also when another takes the place first and leaves again.
pub fn who_was_refused_hears_of_room() {
    loom::model(|| {
        let window = window(1, 100);
        let poller = Poller::of(&window);
        let held = enter(&window, 1).unwrap();
        let visitor = polling_visitor(&window, &poller, request(1));
        let other = self::visitor(&window, 1);
        leave(&window, [held]);
        visitor.join().unwrap();
        other.join().unwrap();
        is_empty(&window);
    });
}

/// One place of eight is room, though seven stay.
pub fn one_place_is_room() {
    loom::model(|| {
        let window = window(8, 100);
        let poller = Poller::of(&window);
        let mut held: Vec<_> = (0..8).map(|_| enter(&window, 1).unwrap()).collect();
        let visitor = polling_visitor(&window, &poller, request(1));
        leave(&window, held.pop());
        visitor.join().unwrap();
        leave(&window, held);
        is_empty(&window);
    });
}

/// A poller was refused by a gate whose share is used up, at a full window: it hears of both, in either order.
pub fn who_was_refused_by_a_gate_hears_of_it() {
    loom::model(|| {
        let window = Arc::new(Window::new(1, 2, 100, 50));
        let poller = Poller::of(&window);
        window.close_rule(0, 1, true);
        let stays = enter(&window, 1).unwrap();
        let goes = window.enter(Request { bytes: 1, rule: 1, topic: "b" }, Patience::Try, None).unwrap();
        let visitor = polling_visitor(&window, &poller, request(1));
        let other = {
            let window = Arc::clone(&window);
            thread::spawn(move || leave(&window, [goes]))
        };
        window.close_rule(0, 1, false);
        visitor.join().unwrap();
        other.join().unwrap();
        leave(&window, [stays]);
        is_empty(&window);
    });
}
