//! The window: limits, waiting, the callback's places (P3), and the end.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use crate::admission::{Patience, Request, Window};
use crate::error::{Error, Result, Status};
use crate::ledger::Slot;

fn request(bytes: usize) -> Request<'static> {
    Request { bytes, rule: 0, topic: "a" }
}

fn window(messages: usize, bytes: usize) -> Arc<Window> {
    Arc::new(Window::new(1, messages, bytes, 50))
}

fn enter(window: &Window, bytes: usize) -> Result<Box<Slot>> {
    window.enter(request(bytes), Patience::NoLimit, None)
}

fn leave(window: &Window, slots: impl IntoIterator<Item = Box<Slot>>) -> bool {
    window.leave(&mut slots.into_iter().collect())
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

/// A poller was refused: it hears of room, or there was room. Nobody else does.
pub fn who_was_refused_hears_of_room() {
    loom::model(|| {
        let window = window(1, 100);
        let held = enter(&window, 1).unwrap();
        let refused = {
            let window = Arc::clone(&window);
            thread::spawn(move || window.enter(request(1), Patience::Try, None).map(|slot| leave(&window, [slot])).is_err())
        };
        let told = leave(&window, [held]);
        assert_eq!(refused.join().unwrap(), told);
        is_empty(&window);
    });
}
