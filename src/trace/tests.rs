//! The log: order, drops, panics, levels, forks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};

use super::queue::*;
use super::*;
use crate::base::sys::{alone, in_child};

const SOON: Duration = Duration::from_secs(10);

/// A log of its own, apart from the process' one.
fn private() -> Arc<Log> {
    Arc::new(Log::new(Box::leak(Box::default())))
}

fn to(sender: Sender<String>) -> Option<LogSink> {
    Some(Box::new(move |level, target, text| drop(sender.send(format!("{level} {target} {text}")))))
}

fn all(receiver: &Receiver<String>) -> Vec<String> {
    receiver.try_iter().collect()
}

/// Tells which thread dropped it.
struct Finalizer(Sender<Option<String>>);

impl Drop for Finalizer {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().map(str::to_owned));
    }
}

#[test]
fn levels_have_names_and_numbers() {
    for level in Level::ALL {
        assert_eq!((Level::from_name(level.name()), Level::from_code(level as i32)), (Some(level), Some(level)));
    }
    assert_eq!((Level::from_name("WARN"), Level::from_name(""), Level::from_code(6), Level::from_code(-1)), (None, None, None, None));
    assert!(Level::Error < Level::Trace);
}

#[test]
fn records_come_in_order_and_by_level() {
    let (log, (sender, receiver)) = (private(), channel());
    log.push(Level::Error, "ackbus", "nobody listens yet".into());
    log.change(Level::Info, to(sender)).unwrap();
    for number in 0..500 {
        log.push(Level::Info, "ackbus::io", number.to_string());
        log.push(Level::Debug, "ackbus::io", "too fine".into());
    }
    assert!(log.flush(SOON));
    assert_eq!(all(&receiver), (0..500).map(|number| format!("info ackbus::io {number}")).collect::<Vec<_>>());
    log.change(Level::Off, None).unwrap();
}

#[test]
fn a_slow_sink_loses_the_newest_and_hears_how_many() {
    let (log, (sender, receiver), (busy, is_busy), (release, gate)) = (private(), channel(), channel(), channel::<()>());
    let sink: LogSink = Box::new(move |_, _, text| {
        busy.send(()).unwrap();
        gate.recv().unwrap();
        sender.send(text.to_owned()).unwrap();
    });
    log.change(Level::Info, Some(sink)).unwrap();
    log.push(Level::Info, "ackbus", "held".into());
    is_busy.recv_timeout(SOON).unwrap();
    for number in 0..CAPACITY + 7 {
        log.push(Level::Info, "ackbus", number.to_string());
    }
    assert!(!log.flush(Duration::from_millis(20)), "the sink does not move");
    for _ in 0..=CAPACITY {
        release.send(()).unwrap();
    }
    assert!(log.flush(SOON));
    log.push(Level::Info, "ackbus", "next".into());
    log.push(Level::Info, "ackbus", "last".into());
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert!(log.flush(SOON));
    let got = all(&receiver);
    assert_eq!(got.len(), 1 + CAPACITY + 2);
    assert_eq!((got[1].as_str(), got[CAPACITY].parse()), ("0", Ok(CAPACITY - 1)), "the oldest were kept");
    assert_eq!(got[CAPACITY + 1], "next (7 records before this one were dropped: the log sink is too slow)");
    assert_eq!(got[CAPACITY + 2], "last", "told once");
    log.change(Level::Off, None).unwrap();
}

#[test]
fn a_sink_that_panics_gets_the_next_record() {
    let (log, (sender, receiver)) = (private(), channel());
    let sink: LogSink = Box::new(move |_, _, text| {
        assert_ne!(text, "bad", "the sink panics, as it should here");
        sender.send(text.to_owned()).unwrap();
    });
    log.change(Level::Info, Some(sink)).unwrap();
    for text in ["one", "bad", "two"] {
        log.push(Level::Info, "ackbus", text.into());
    }
    assert!(log.flush(SOON));
    assert_eq!(all(&receiver), ["one", "two"]);
    log.change(Level::Off, None).unwrap();
}

#[test]
fn a_sink_may_log_flush_and_replace_itself() {
    let (log, (sender, receiver), (to_second, second)) = (private(), channel(), channel());
    let inner = Arc::clone(&log);
    let to_second = Mutex::new(Some(to_second));
    let sink: LogSink = Box::new(move |_, _, text| {
        inner.push(Level::Error, "ackbus", format!("echo of {text}"));
        let waited = inner.flush(SOON);
        if let Some(to_second) = to_second.lock().unwrap().take() {
            inner.change(Level::Info, to(to_second)).unwrap();
        }
        sender.send(format!("{text} {waited}")).unwrap();
    });
    log.change(Level::Info, Some(sink)).unwrap();
    log.push(Level::Info, "ackbus", "one".into());
    assert_eq!(receiver.recv_timeout(SOON).unwrap(), "one false");
    log.push(Level::Info, "ackbus", "two".into());
    assert!(log.flush(SOON));
    assert_eq!((all(&receiver), all(&second)), (vec![], vec!["info ackbus two".to_owned()]), "no echo, and the new sink took over");
    log.change(Level::Off, None).unwrap();
}

#[test]
fn a_sink_gets_its_own_records_and_is_dropped_after_them_on_the_log_thread() {
    let (log, (sender, receiver), (dropped, drops)) = (private(), channel(), channel());
    for turn in 0..3 {
        let (sender, finalizer) = (sender.clone(), Finalizer(dropped.clone()));
        let sink: LogSink = Box::new(move |_, _, text| {
            let _lives = &finalizer;
            thread::sleep(Duration::from_millis(1));
            sender.send(format!("sink {turn} {text}")).unwrap();
        });
        log.change(Level::Info, Some(sink)).unwrap();
        (0..5).for_each(|number| log.push(Level::Info, "ackbus", format!("record {turn}.{number}")));
    }
    log.change(Level::Off, None).unwrap();
    log.push(Level::Error, "ackbus", "after the end".into());
    assert!(log.flush(SOON));
    let expected: Vec<String> = (0..15).map(|n| format!("sink {0} record {0}.{1}", n / 5, n % 5)).collect();
    assert_eq!(all(&receiver), expected);
    assert_eq!(drops.try_iter().collect::<Vec<_>>(), vec![Some("ackbus-log".to_owned()); 3]);

    let end = Instant::now() + SOON;
    while log.lock().running {
        assert!(Instant::now() < end, "the thread outlives its last sink");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn changes_that_wait_are_bounded_too() {
    let (log, (dropped, drops), (busy, is_busy), (release, gate)) = (private(), channel(), channel(), channel::<()>());
    let sink: LogSink = Box::new(move |_, _, _| {
        busy.send(()).unwrap();
        gate.recv().unwrap();
    });
    log.change(Level::Info, Some(sink)).unwrap();
    log.push(Level::Info, "ackbus", "held".into());
    is_busy.recv_timeout(SOON).unwrap();
    let change = || {
        let finalizer = Finalizer(dropped.clone());
        log.change(
            Level::Info,
            Some(Box::new(move |_, _, _| {
                let _lives = &finalizer;
            })),
        )
    };
    (0..CHANGES).for_each(|_| change().unwrap());
    assert_eq!(change().unwrap_err().status(), Status::QueueFull);
    assert_eq!(drops.try_iter().count(), 1, "the refused one, at once");
    release.send(()).unwrap();
    assert!(log.flush(SOON));
    log.change(Level::Off, None).unwrap();
    assert!(log.flush(SOON));
    assert_eq!(drops.try_iter().count(), CHANGES, "the others, once each");
}

#[test]
fn long_texts_are_cut_between_characters() {
    for length in TEXT_LIMIT - 3..TEXT_LIMIT + 3 {
        let cut = cut("ü".repeat(length), TEXT_LIMIT);
        assert!(cut.len() <= TEXT_LIMIT && cut.len() > TEXT_LIMIT - 8 && cut.ends_with("ü…"), "{}", cut.len());
    }
    assert_eq!(cut("short".into(), TEXT_LIMIT), "short");
}

fn note(number: u32) {
    tracing::info!(target: "ackbus::test", number, server = "127.0.0.1", "noted");
}

fn noted(number: u32) -> String {
    format!("info ackbus::test noted number={number} server=127.0.0.1")
}

#[test]
fn events_of_ackbus_reach_the_sink_and_no_others_do() {
    if !alone(module_path!(), "events_of_ackbus_reach_the_sink_and_no_others_do") {
        return;
    }
    assert_eq!(set(Level::Warn, None).unwrap_err().status(), Status::InvalidArgument);
    let (sender, receiver) = channel();
    let guard = enter_thread();
    note(1); // no sink yet
    set(Level::Info, to(sender)).unwrap();
    assert!(enabled(Level::Info) && !enabled(Level::Debug) && !enabled(Level::Off));

    // A callsite that a host's thread hits first, under no subscriber, must not be off for ours (see OURS).
    let first_hit = || tracing::warn!(target: "ackbus", "first hit elsewhere");
    thread::spawn(first_hit).join().unwrap();
    refresh();
    first_hit();
    note(2);
    tracing::info!(target: "ackbusy", "another crate");
    tracing::info!(target: "host", "the host");
    tracing::debug!(target: "ackbus", "too fine");
    thread::spawn(|| {
        note(3); // a thread that has not entered
        scoped(|| note(4));
        note(5);
    })
    .join()
    .unwrap();
    drop(guard);
    note(6);
    assert!(flush(SOON));
    assert_eq!(all(&receiver), ["warn ackbus first hit elsewhere".to_owned(), noted(2), noted(4)]);

    let _guard = enter_thread();
    set(Level::Off, None).unwrap();
    note(7);
    refresh();
    note(8);
    assert!(flush(SOON));
    assert_eq!(all(&receiver), Vec::<String>::new());
    assert_eq!(LevelFilter::current(), LevelFilter::OFF, "nobody listens: a callsite costs one load");
}

#[test]
fn the_last_of_many_levels_is_the_one_that_tracing_keeps() {
    /// A host's subscriber that lets two rebuilds overtake each other, after they have asked ours.
    struct Slow(AtomicUsize);
    impl Subscriber for Slow {
        fn max_level_hint(&self) -> Option<LevelFilter> {
            let millis = [4, 0, 2, 0][self.0.fetch_add(1, SeqCst) % 4];
            thread::sleep(Duration::from_millis(millis));
            Some(LevelFilter::OFF)
        }
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            false
        }
        fn event(&self, _: &tracing::Event<'_>) {}
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }
    if !alone(module_path!(), "the_last_of_many_levels_is_the_one_that_tracing_keeps") {
        return;
    }
    let nowhere = || -> Option<LogSink> { Some(Box::new(|_, _, _| ())) };
    set(Level::Off, None).unwrap();
    let _slow = Dispatch::new(Slow(AtomicUsize::new(0)));
    for _ in 0..30 {
        thread::scope(|scope| {
            for level in [Level::Error, Level::Info, Level::Trace] {
                scope.spawn(move || set(level, nowhere()).unwrap());
            }
        });
        assert_eq!(LevelFilter::current(), Level::filter(MAX.load(SeqCst)));
        assert!(flush(SOON));
    }
}

#[test]
fn without_a_sink_the_hosts_subscriber_is_untouched() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct Host;
    impl Subscriber for Host {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, _: &tracing::Event<'_>) {
            SEEN.fetch_add(1, SeqCst);
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }
    if !alone(module_path!(), "without_a_sink_the_hosts_subscriber_is_untouched") {
        return;
    }
    let _guard = enter_thread();
    tracing::subscriber::set_global_default(Host).unwrap();
    note(1);
    scoped(|| note(2));
    assert_eq!(SEEN.load(SeqCst), 2, "no sink: all go to the host");
    let (sender, receiver) = channel();
    set(Level::Info, to(sender)).unwrap();
    refresh();
    note(3);
    scoped(|| note(4));
    assert_eq!(SEEN.load(SeqCst), 2, "a sink: ours go to it");
    thread::spawn(|| tracing::trace!(target: "host", "the host's own")).join().unwrap();
    assert_eq!(SEEN.load(SeqCst), 3, "the host's own go to the host");
    tracing::info!(target: "host", "a library on a thread of ours: not for the sink");
    assert!(flush(SOON));
    assert_eq!(all(&receiver).len(), 2);
    set(Level::Off, None).unwrap();
    refresh();
    note(5);
    assert_eq!(SEEN.load(SeqCst), 4, "removed: all go to the host again");
}

#[test]
fn the_log_thread_leaves_signals_to_the_host() {
    if !alone(module_path!(), "the_log_thread_leaves_signals_to_the_host") {
        return;
    }
    let (sender, receiver) = channel();
    set(Level::Info, Some(Box::new(move |_, _, _| sender.send(SigSet::thread_get_mask().unwrap()).unwrap()))).unwrap();
    scoped(|| note(1));
    let mask = receiver.recv_timeout(SOON).unwrap();
    assert!(mask.contains(Signal::SIGTERM) && mask.contains(Signal::SIGPIPE) && !mask.contains(Signal::SIGSEGV));
}

#[test]
fn a_forked_child_never_hangs_and_logs_to_a_sink_of_its_own() {
    if !alone(module_path!(), "a_forked_child_never_hangs_and_logs_to_a_sink_of_its_own") {
        return;
    }
    let (sender, receiver) = channel();
    set(Level::Info, to(sender.clone())).unwrap();
    scoped(|| note(1));
    assert!(flush(SOON));
    let log = current().unwrap();
    let fork_with_the_lock_held = |child: &dyn Fn() -> u8| {
        let _held = log.lock(); // for ever, seen from the child
        in_child(child)
    };
    let unconnected = fork_with_the_lock_held(&|| {
        scoped(|| note(2)); // to nobody
        assert!(flush(SOON) && current().is_none());
        let (sender, receiver) = channel();
        set(Level::Info, to(sender)).unwrap();
        scoped(|| note(3));
        assert!(flush(SOON));
        u8::from(all(&receiver) == [noted(3)])
    });
    assert_eq!(unconnected, Some(1));

    sys::arm_fork_guard().unwrap();
    let connected = fork_with_the_lock_held(&|| {
        scoped(|| note(4));
        let _guard = enter_thread();
        note(5);
        u8::from(flush(SOON)) + 2 * u8::from(set(Level::Off, None).unwrap_err().status() == Status::Forked)
    });
    assert_eq!(connected, Some(3));

    scoped(|| note(6));
    assert!(flush(SOON));
    assert_eq!(all(&receiver), [noted(1), noted(6)], "the parent goes on");
    drop(sender);
}
