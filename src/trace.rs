//! Logging. The core writes `tracing` events under targets `ackbus::…`; here they find their way to the host's log sink.
//!
//! A Rust host that sets no sink gets them through its own `tracing` subscriber, and nothing here is in the way. With a sink, a subscriber of our own stands in
//! on our threads ([`enter_thread`]) and around our records on the host's threads ([`scoped`]); it is never made global (T24). It only formats and queues; one
//! thread, `ackbus-log`, hands the records to the sink, so a slow sink, or one that takes a lock of the host (T6), stops nobody who publishes.
//!
//! This module is the `log` of the public interface.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, span};

use crate::error::{Error, Result, Status};
use crate::sys;

/// How much is logged: a level and all that are graver. The numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Level {
    /// Nothing.
    Off = 0,
    /// The publisher cannot go on, or messages were lost to it.
    Error = 1,
    /// Something needs an operator's eye: a lost connection, a held gate, too much pending.
    Warn = 2,
    /// What happens to the publisher in ordinary life.
    Info = 3,
    /// Why the bus decided as it did.
    Debug = 4,
    /// Single frames and acks.
    Trace = 5,
}

impl Level {
    /// Every level, in the order of their numbers.
    pub const ALL: [Level; 6] = [Level::Off, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    /// The name, as the option `log_level` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// The level of this name, in lower case, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Level> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The level with this number, if there is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Level> {
        Self::ALL.into_iter().find(|&level| level as i32 == code)
    }

    fn of(level: tracing::Level) -> Level {
        match level {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        }
    }

    fn filter(code: i32) -> LevelFilter {
        match code {
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            5 => LevelFilter::TRACE,
            _ => LevelFilter::OFF,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes records: their level, their target (`ackbus::…`) and their text. See [`set`].
pub type LogSink = Box<dyn Fn(Level, &str, &str) + Send + 'static>;

/// Records that may wait. A sink that falls behind loses the newest ones.
const CAPACITY: usize = 1024;
/// Sinks that may wait to take over, while the one before does not return.
const CHANGES: usize = 64;
/// Bytes of one record's text: a server's words can be long, and 1024 records may wait (P9).
const TEXT_LIMIT: usize = 4096;

/// Sets where this process' log records go and down to which level; replaces what was set before. `set(Level::Off, None)` removes the sink.
///
/// * **Threads.** Call it from any thread at any time, from callbacks and from the sink too; it waits for nothing. The sink runs on one thread, `ackbus-log`,
///   one record at a time, in the order they were queued. A panic in it is caught, and the next record comes all the same.
/// * **Ownership.** The sink before gets what was queued before this call, and is dropped on `ackbus-log` after its last record: no call of it begins after its
///   drop. If this call fails, the new sink is dropped here and the old one stays.
/// * **Limits.** At most 1,024 records wait for a slow sink; newer ones are dropped, and the next that finds room says how many. A text is cut at 4,096
///   bytes. What the sink itself makes ackbus log is not logged: it would never end.
/// * **Forks.** A child has no `ackbus-log` thread: it logs nothing until it sets a sink of its own.
///
/// # Errors
/// `INVALID_ARGUMENT` for a level without a sink, `FORKED` in a child of a connected process, `QUEUE_FULL` when 64 changes wait for a sink that does not
/// return, `INTERNAL` when the system refuses the thread.
pub fn set(max: Level, sink: Option<LogSink>) -> Result<()> {
    if sys::forked() {
        return Err(Error::new(Status::Forked, "a child of a connected process cannot log"));
    }
    if sink.is_none() && max != Level::Off {
        return Err(Error::new(Status::InvalidArgument, format!("level {max} needs a sink; without one only level off is allowed, and removes the sink")));
    }
    sys::watch_forks().map_err(|error| Error::new(Status::Internal, format!("the fork handler could not be registered: {error}")))?;
    open().change(max, sink)?;
    refresh_callsites();
    Ok(())
}

/// Waits until the sink has seen the records, and [`set`] has made the changes, that were queued before this call: for a host about to exit, or about to free
/// what its sink uses.
///
/// Returns false if `limit` ended first. From the sink it returns false at once, for it would wait for itself. Any thread may call it; from a callback it waits
/// for the sink, so do not if the sink waits for the callback. In a forked child there is nothing to wait for.
#[must_use]
pub fn flush(limit: Duration) -> bool {
    current().is_none_or(|log| log.flush(limit))
}

/// Whether the sink wants records of this level. One relaxed load. Without a sink the host's `tracing` subscriber decides, not this.
#[inline]
pub(crate) fn enabled(level: Level) -> bool {
    level != Level::Off && level as i32 <= MAX.load(Relaxed)
}

/// Runs `f`, which writes records, on a thread of the host: they go to the sink if one is set. Nothing but ours may run in it.
pub(crate) fn scoped<T>(f: impl FnOnce() -> T) -> T {
    if active() { dispatcher::with_default(&OURS[0], f) } else { f() }
}

thread_local! {
    static ON_LOG_THREAD: Cell<bool> = const { Cell::new(false) };
    static ENTERED: RefCell<Option<Entered>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Entered(Option<DefaultGuard>);

/// Keeps a thread's records on their way to the sink; see [`enter_thread`].
#[must_use = "dropping it takes the thread out again"]
pub(crate) struct Guard(PhantomData<Rc<()>>);

/// Sends the records of this thread of ours to the sink while the guard lives. For threads that run no user code (I/O): the host's own `tracing` events would
/// end here. The report thread writes its few records in [`scoped`].
///
/// A sink may be set or removed while the thread runs: the thread calls [`refresh`] once per turn of its loop.
pub(crate) fn enter_thread() -> Guard {
    ENTERED.set(Some(Entered::default()));
    refresh();
    Guard(PhantomData)
}

/// Follows a sink that was set or removed since; some nanoseconds. Does nothing on threads that have not entered.
pub(crate) fn refresh() {
    let wanted = active();
    // The old guard is dropped outside the borrow: tracing's own drop code may come back here through a subscriber.
    let _old = ENTERED.with_borrow_mut(|entered| {
        let Entered(installed) = entered.as_mut()?;
        match (wanted, installed.is_some()) {
            (true, false) => installed.replace(dispatcher::set_default(&OURS[0])),
            (false, true) => installed.take(),
            _ => None,
        }
    });
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _old = ENTERED.take();
    }
}

// ---- process-wide state --------------------------------------------------------------------------------------------------------------------------------

/// The sink's level, 0 without a sink. Written under the lock of the log it belongs to.
static MAX: AtomicI32 = AtomicI32::new(0);
/// The log of this process. Lock-free to read and to replace: a child must never wait for a lock that a thread of its parent held (P8).
static LOG: ArcSwapOption<Log> = ArcSwapOption::const_empty();
/// How often the level changed, see [`refresh_callsites`].
static SETS: AtomicU64 = AtomicU64::new(0);

/// Our subscriber, twice: with a single one registered, tracing would ask the *calling thread's* subscriber about a new callsite, and a first hit on a host's
/// thread would turn it off for ours too. Not tracing's `NoSubscriber` as the second: it gives no level, which counts as TRACE for the whole process.
static OURS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [Dispatch::new(ToSink), Dispatch::new(ToSink)]);

fn current() -> Option<Arc<Log>> {
    LOG.load_full().filter(|log| log.is_ours())
}

/// Whether records go to a sink of this process. `MAX` alone is inherited by children, the thread is not.
fn active() -> bool {
    MAX.load(Relaxed) > 0 && !sys::forked() && LOG.load().as_ref().is_some_and(|log| log.is_ours())
}

/// The log of this process, a new one if there is none or it is an ancestor's. The ancestor's keeps its sink, whose drop could touch what no longer exists.
fn open() -> Arc<Log> {
    loop {
        if let Some(log) = current() {
            return log;
        }
        LOG.rcu(|log| match log {
            Some(log) if log.is_ours() => Arc::clone(log),
            _ => Arc::new(Log::new(&MAX)),
        });
    }
}

/// Tells tracing that the level changed. Two threads that change it at once may finish in any order; each goes on until it has told the last level.
/// No lock: tracing calls the host's subscribers from here.
fn refresh_callsites() {
    LazyLock::force(&OURS);
    let mut told = SETS.fetch_add(1, SeqCst) + 1;
    loop {
        tracing::callsite::rebuild_interest_cache();
        let now = SETS.load(SeqCst);
        if now == told {
            return;
        }
        told = now;
    }
}

// ---- from tracing to the queue -------------------------------------------------------------------------------------------------------------------------

/// Takes the events of ackbus and nothing else.
struct ToSink;

fn is_ours(target: &str) -> bool {
    target.strip_prefix("ackbus").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl Subscriber for ToSink {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // With two subscribers that disagree tracing asks each at every event: what the host's callsites pay once a sink was set.
        if metadata.is_event() && is_ours(metadata.target()) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Level::filter(MAX.load(SeqCst)))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && is_ours(metadata.target()) && enabled(Level::of(*metadata.level()))
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        if let Some(log) = current() {
            let mut text = Text::default();
            event.record(&mut text);
            log.push(Level::of(*metadata.level()), metadata.target(), text.finish());
        }
    }

    // The core has no spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The message, then the other fields as ` name=value`, bounded.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        cut(self.message, TEXT_LIMIT)
    }
}

impl Visit for Text {
    // Writing to a String fails only if a value's own Debug does; then the text ends there.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" { write!(self.message, "{value:?}") } else { write!(self.fields, " {}={value:?}", field.name()) };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = if field.name() == "message" { self.message.write_str(value) } else { write!(self.fields, " {}={value}", field.name()) };
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mut end = limit - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

// ---- from the queue to the sink ------------------------------------------------------------------------------------------------------------------------

/// One process' queue and the thread that empties it. The thread lives while there is a sink or something to deliver.
struct Log {
    /// [`sys::forks`] at birth: in a forked child the lock may be held for ever, so it is not touched there.
    born: u32,
    level: &'static AtomicI32,
    state: Mutex<State>,
    filled: Condvar,
    delivered: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    records: usize,
    changes: usize,
    /// Records lost since the last one that found room.
    lost: u64,
    /// Items queued and delivered so far, for [`Log::flush`].
    queued: u64,
    done: u64,
    running: bool,
}

/// Changes of the sink travel in the queue, so that each record reaches the sink it was written for.
enum Item {
    Record(Level, &'static str, String),
    Change(Option<LogSink>),
}

impl Log {
    fn new(level: &'static AtomicI32) -> Self {
        Log { born: sys::forks(), level, state: Mutex::default(), filled: Condvar::new(), delivered: Condvar::new() }
    }

    fn is_ours(&self) -> bool {
        self.born == sys::forks()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(self: &Arc<Self>, max: Level, sink: Option<LogSink>) -> Result<()> {
        let mut state = self.lock();
        if state.changes >= CHANGES {
            // The lock goes first: dropping the sink that was refused runs code of the host.
            drop(state);
            return Err(Error::new(Status::QueueFull, format!("{CHANGES} changes of the log sink wait already: the sink before does not return")));
        }
        if !state.running && sink.is_some() {
            let log = Arc::clone(self);
            let born = sys::spawn("ackbus-log", sys::block_all_signals_but_synchronous, move || log.run());
            if let Err(error) = born {
                drop(state);
                return Err(Error::new(Status::Internal, format!("the thread ackbus-log could not be started: {error}")));
            }
            state.running = true;
        }
        self.level.store(max as i32, SeqCst);
        if state.running {
            state.changes += 1;
            state.queued += 1;
            state.queue.push_back(Item::Change(sink));
            self.filled.notify_one();
        }
        Ok(())
    }

    fn push(&self, level: Level, target: &'static str, mut text: String) {
        if ON_LOG_THREAD.get() || !self.is_ours() {
            return;
        }
        let mut state = self.lock();
        // Once more under the lock: since the caller looked, another sink, with another level, may have been queued.
        // And a child's new log inherits the level of its parent, though nobody listens yet.
        if level as i32 > self.level.load(Relaxed) || !state.running {
            return;
        }
        if state.records >= CAPACITY {
            state.lost += 1;
            return;
        }
        if state.lost > 0 {
            let _ = write!(text, " ({} records before this one were dropped: the log sink is too slow)", state.lost);
            state.lost = 0;
        }
        state.records += 1;
        state.queued += 1;
        state.queue.push_back(Item::Record(level, target, text));
        self.filled.notify_one();
    }

    fn flush(&self, limit: Duration) -> bool {
        if ON_LOG_THREAD.get() || !self.is_ours() {
            return false;
        }
        let end = Instant::now().checked_add(limit);
        let mut state = self.lock();
        let goal = state.queued;
        while state.done < goal {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.delivered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn run(&self) {
        ON_LOG_THREAD.set(true);
        let mut sink: Option<LogSink> = None;
        while let Some(item) = self.next(sink.is_some()) {
            // The host's code: its panics stay here, and no lock is held (P5).
            let caught = catch_unwind(AssertUnwindSafe(|| match item {
                Item::Record(level, target, text) => {
                    if let Some(sink) = &sink {
                        sink(level, target, &text);
                    }
                }
                Item::Change(new) => drop(std::mem::replace(&mut sink, new)),
            }));
            // Not dropped: a payload's own drop may panic again.
            let _ = caught.map_err(std::mem::forget);
            self.lock().done += 1;
            self.delivered.notify_all();
        }
    }

    /// The next item; `None` ends the thread, when there is nothing to deliver and nobody to deliver to.
    fn next(&self, has_sink: bool) -> Option<Item> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.queue.pop_front() {
                match item {
                    Item::Record(..) => state.records -= 1,
                    Item::Change(_) => state.changes -= 1,
                }
                return Some(item);
            }
            if !has_sink {
                state.running = false;
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use nix::sys::signal::{SigSet, Signal};

    use super::*;
    use crate::sys::{alone, in_child};

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
}
