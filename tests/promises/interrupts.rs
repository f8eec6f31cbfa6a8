//! A host that wants its thread back gets it from every waiting call, and what the call had begun goes on (T27).

use std::cell::Cell;
use std::time::Duration;

use ackbus::{Message, Publisher, Status, interruptible};

use super::bus::{LONG, Silent, config, polled, within};

thread_local! {
    static QUESTIONS: Cell<u32> = const { Cell::new(0) };
}

/// Yes to the second question.
fn second() -> bool {
    QUESTIONS.with(|asked| asked.replace(asked.get() + 1) == 1)
}

#[track_caller]
fn interrupted<T: std::fmt::Debug>(call: impl FnOnce() -> ackbus::Result<T>) {
    QUESTIONS.set(0);
    assert_eq!(interruptible(second, call).unwrap_err().status(), Status::Interrupted);
    assert_eq!(QUESTIONS.get(), 2);
}

#[test]
fn every_waiting_call_gives_the_thread_back() {
    within("interrupted calls", || {
        let silent = Silent::connect(&[("max_pending", "2"), ("close_timeout_ms", "100")], polled());
        let bus = &silent.bus;
        interrupted(|| bus.wait_connected(None));
        interrupted(|| bus.publish_wait(&Message::new("a", b"1"), None));
        assert_eq!(bus.pending(), 1, "it was accepted and stays");
        let ticket = bus.submit(&Message::new("a", b"2")).unwrap();
        interrupted(|| ticket.wait(None));
        interrupted(|| bus.publish("a", b"3", 0));
        assert_eq!((bus.pending(), bus.stats().queue_full), (2, 0), "nobody was told that the window is full");
        interrupted(|| bus.flush(None));
        interrupted(|| bus.poll(1, None));
        interrupted(|| bus.close(Some(LONG)));
        assert_eq!(bus.publish("a", b"4", 0).unwrap_err().status(), Status::Closed, "the close goes on");
        let nobody = config("nats://127.0.0.1:9", &[("connect_timeout_ms", "60000"), ("retry_on_connect", "true"), ("close_timeout_ms", "100")]);
        interrupted(|| Publisher::connect(&nobody, polled())?.wait_connected(Some(LONG)));
    });
}

#[test]
fn an_interrupted_close_may_be_called_again() {
    within("a second close", || {
        let silent = Silent::connect(&[], polled());
        silent.bus.publish("a", b"1", 7).unwrap();
        interrupted(|| silent.bus.close(Some(Duration::from_secs(1))));
        silent.bus.close(None).unwrap();
        assert_eq!(silent.bus.poll(9, Some(Duration::ZERO)).unwrap().get(0).map(|report| (report.tag(), report.status())), Some((7, Status::Closed)));
    });
}
