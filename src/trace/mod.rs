//! Logging. The core writes `tracing` events under targets `ackbus::…`; here they find their way to the host's log sink.
//!
//! A Rust host that sets no sink gets them through its own `tracing` subscriber, and nothing here is in the way. With a sink, a subscriber of our own stands in
//! on our threads ([`enter_thread`]) and around our records on the host's threads ([`scoped`]); it is never made global (T24). It only formats and queues; one
//! thread, `ackbus-log`, hands the records to the sink, so a slow sink, or one that takes a lock of the host (T6), stops nobody who publishes.
//!
//! This module is the `log` of the public interface.

mod queue;

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, span};

use self::queue::Log;
pub use self::queue::LogSink;
use crate::base::error::{Error, Result, Status};
use crate::base::level::Level;
use crate::base::sys;

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

#[cfg(test)]
mod tests;
