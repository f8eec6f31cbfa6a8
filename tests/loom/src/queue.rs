//! The send queue between publishing threads and the I/O thread, and the slots that go round through it.

use loom::sync::Arc;
use loom::thread;

use crate::window::admission::Window;
use crate::window::places::{Patience, Request};
use crate::ledger::queue::SendQueue;
use crate::ledger::slot::Slot;
use crate::ledger::table::Table;

/// What `runtime/rounds` does: work while there is some, sleep when there is none. Gives the messages in the order in which they came.
fn io(queue: &SendQueue, count: usize, mut settle: impl FnMut(Box<Slot>)) -> Vec<(u64, u32)> {
    let (mut seen, mut line) = (Vec::new(), Vec::new());
    while seen.len() < count {
        queue.rise();
        queue.take(&mut line);
        for slot in line.drain(..) {
            seen.push((slot.id, slot.index));
            settle(slot);
        }
        if seen.len() < count && queue.fall_idle() {
            queue.notify().wait();
        }
    }
    seen
}

/// Two threads publish, the third sleeps between: it misses nothing, and ids are in the order of the line (P10).
pub fn the_sleeper_misses_nothing() {
    loom::model(|| {
        let queue = Arc::new(SendQueue::new(1, 1));
        let publishers = [0, 1].map(|index| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(Box::new(Slot::new(index)), |_| {}).unwrap())
        });
        let seen = io(&queue, 2, drop);
        let mut ids = publishers.map(|thread| thread.join().unwrap());
        ids.sort_unstable();
        assert_eq!((ids, [seen[0].0, seen[1].0]), ([1, 2], [1, 2]), "P10: ids are in wire order");
        assert_eq!(queue.last_id(), 2);
    });
}

/// A message meets the end of the queue: it comes out, or its caller gets it back. It is never lost (P1).
pub fn the_end_loses_nothing() {
    loom::model(|| {
        let queue = Arc::new(SendQueue::new(1, 1));
        let publishers = [0, 1].map(|index| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(Box::new(Slot::new(index)), |_| {}).is_ok())
        });
        let mut out = Vec::new();
        if !queue.shut_if_empty() {
            queue.take(&mut out);
        }
        out.extend(queue.shut());
        let accepted = publishers.map(|thread| thread.join().unwrap()).into_iter().filter(|&accepted| accepted).count();
        assert_eq!(out.len(), accepted, "P1: what was accepted comes out, and nothing else");
    });
}

/// Messages go round: place, slot, line, table, and back. A slot that is used again carries another id, so an old reply cannot be meant for it (R2), and no two
/// messages have one slot at a time.
pub fn slots_go_round() {
    loom::model(|| {
        let window = Arc::new(Window::new(1, 1, 100, 50));
        let queue = Arc::new(SendQueue::new(1, 1));
        let publishers = [(); 2].map(|()| {
            let (window, queue) = (Arc::clone(&window), Arc::clone(&queue));
            thread::spawn(move || {
                let slot = window.enter(Request { bytes: 1, rule: 0, topic: "a" }, Patience::NoLimit, None).unwrap();
                queue.push(slot, |_| {}).unwrap()
            })
        });
        let mut table = Table::default();
        let seen = io(&queue, 2, |slot| {
            let index = slot.index;
            assert!(table.get(index).is_none(), "two messages have slot {index}");
            table.insert(slot);
            assert_eq!(table.len(), 1, "P3: the limit is 1");
            window.leave(&mut table.take(index).into_iter().collect());
        });
        for thread in publishers {
            thread.join().unwrap();
        }
        assert!(seen[0] != seen[1] && seen[0].0 < seen[1].0, "{seen:?}");
        assert_eq!((window.usage(), table.len()), ((0, 0), 0));
    });
}
