//! Dispatch: from settled slots to the user, by callback thread or by poll.
//!
//! The desk is where settled slots wait. It is as large as the window, since a report holds its message's place (P3), so nothing here is ever dropped (P9).

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::base::error::{Error, Persistence, Result, Status};
use crate::base::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::base::sys::WakeFd;
use crate::base::wait::{self, Over};
use crate::config::settings::ReportMode;
use crate::desk::events::{Event, EventQueue};
use crate::desk::report::Report;
use crate::desk::sink::{Handlers, Sink};
use crate::ledger::slot::Slot;
use crate::stats::Counters;
use crate::window::admission::Window;
use crate::window::places::BATCH;
use crate::window::refused::Bell;

/// Where settled slots and events wait for the user.
#[derive(Debug)]
pub(crate) struct Desk {
    window: Arc<Window>,
    counters: Arc<Counters>,
    events: Arc<EventQueue>,
    mode: ReportMode,
    polled: bool,
    events_polled: bool,
    wake_fd: Option<WakeFd>,
    state: Mutex<State>,
    changed: Condvar,
    /// Why nothing is acknowledged now, in words: JetStream is not there.
    standing: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    reports: VecDeque<Box<Slot>>,
    /// Reports put on the desk, and taken through a callback, since the start.
    pushed: u64,
    delivered: u64,
    /// Reports in users' hands, by the thread that took them.
    hands: Vec<(ThreadId, usize)>,
    /// Reports that wait in tickets.
    in_tickets: usize,
    /// When something last came or went (poll mode).
    moved: Option<Instant>,
    /// Threads that wait for a change: while there is none, telling it would be a system call for nobody.
    asleep: usize,
    pollers: usize,
    room: bool,
    raised: bool,
    events_waiting: bool,
    /// No more reports come.
    ended: bool,
    /// Callback mode: no callback will run any more.
    deaf: bool,
    /// The report thread has left.
    gone: bool,
}

/// What a poll took from the desk.
pub(crate) struct Polled {
    pub(crate) slots: Vec<Box<Slot>>,
    /// There is room again after a `QueueFull`.
    pub(crate) room: bool,
    /// Who took it, and is expected to give it back.
    pub(crate) taker: ThreadId,
}

impl Desk {
    pub(crate) fn new(window: Arc<Window>, counters: Arc<Counters>, events: Arc<EventQueue>, mode: ReportMode, handlers: &Handlers) -> Result<Self> {
        let polled = handlers.reports.is_none();
        let events_polled = handlers.events.is_none();
        let wake_fd = if polled { Some(WakeFd::new().map_err(|error| Error::new(Status::Internal, format!("no event descriptor: {error}")))?) } else { None };
        Ok(Desk {
            window,
            counters,
            events,
            mode,
            polled,
            events_polled,
            wake_fd,
            state: Mutex::default(),
            changed: Condvar::new(),
            standing: Mutex::default(),
        })
    }

    /// What whoever waits in vain is told of it. `None`: nothing is wrong any more.
    /// True: that is new.
    pub(crate) fn set_standing(&self, trouble: Option<String>) -> bool {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *standing, trouble) != *standing
    }

    /// The end of a time-out's text: empty while nothing is wrong.
    pub(crate) fn standing(&self) -> String {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or_else(String::new, |trouble| format!("; {trouble}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a change, and wakes those who wait for one.
    fn tell(&self, state: MutexGuard<'_, State>) {
        let anyone = state.asleep > 0;
        drop(state);
        if anyone {
            self.changed.notify_all();
        }
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.polled
    }

    pub(crate) fn events_are_polled(&self) -> bool {
        self.events_polled
    }

    pub(crate) fn wake_fd(&self) -> Option<RawFd> {
        self.wake_fd.as_ref().map(|fd| fd.as_raw_fd())
    }

    /// Whether the user wants to see this outcome.
    pub(crate) fn wants(&self, slot: &Slot) -> bool {
        if slot.waiter.is_some() || slot.report_always {
            return true;
        }
        match self.mode {
            ReportMode::None => false,
            ReportMode::All => !slot.ephemeral,
            ReportMode::Failures => !slot.ephemeral && slot.outcome.persistence != Persistence::Persisted,
        }
    }

    /// Settled slots whose reports are wanted arrive.
    pub(crate) fn deliver(&self, slots: &mut Vec<Box<Slot>>) {
        if slots.is_empty() {
            return;
        }
        let mut unwanted = Vec::new();
        let mut state = self.state();
        for mut slot in slots.drain(..) {
            match slot.waiter.take() {
                None => Self::put(&mut state, slot),
                Some(waiter) => match waiter.complete(slot) {
                    None => state.in_tickets += 1,
                    // Nobody waits any more: the usual way, which `report` may have closed.
                    Some(slot) if self.wants(&slot) => Self::put(&mut state, slot),
                    Some(slot) => unwanted.push(slot),
                },
            }
        }
        self.end_delivery(state, unwanted);
    }

    /// A ticket was dropped with its report: that goes the usual way, if there is one left.
    pub(crate) fn take_from_ticket(&self, slot: Box<Slot>) {
        let mut unwanted = Vec::new();
        let mut state = self.state();
        state.in_tickets = state.in_tickets.saturating_sub(1);
        if self.wants(&slot) && (self.polled || !state.deaf) {
            Self::put(&mut state, slot);
        } else {
            unwanted.push(slot);
        }
        self.end_delivery(state, unwanted);
    }

    fn put(state: &mut State, slot: Box<Slot>) {
        state.pushed += 1;
        state.reports.push_back(slot);
    }

    fn end_delivery(&self, mut state: MutexGuard<'_, State>, mut unwanted: Vec<Box<Slot>>) {
        self.raise(&mut state);
        self.note_move(&mut state);
        self.tell(state);
        self.window.leave(&mut unwanted);
    }

    fn note_move(&self, state: &mut State) {
        if self.polled {
            state.moved = Some(Instant::now());
        }
    }

    /// An event for the user.
    pub(crate) fn event(&self, event: Event) {
        self.events.push(event);
        let mut state = self.state();
        state.events_waiting = true;
        if self.events_polled {
            self.raise(&mut state);
        }
        self.tell(state);
    }

    fn raise(&self, state: &mut State) {
        let news = !state.reports.is_empty() || state.room || (self.events_polled && state.events_waiting);
        if news
            && !state.raised
            && let Some(fd) = &self.wake_fd
        {
            state.raised = true;
            fd.raise();
        }
    }

    fn lower(&self, state: &mut State) {
        let news = !state.reports.is_empty() || state.room || (self.events_polled && state.events_waiting);
        if !news
            && state.raised
            && let Some(fd) = &self.wake_fd
        {
            state.raised = false;
            fd.clear();
        }
    }

    /// P5: since when every place has held a report that nobody but the calling thread could give back: it waits to be polled or in a ticket, or the thread
    /// has it in hand. `None`: another thread polls or has some, or a message is not settled.
    pub(crate) fn stuck_since(&self, used: usize) -> Option<Instant> {
        let state = self.state();
        let me = thread::current().id();
        let mine: usize = state.hands.iter().filter(|(thread, _)| *thread == me).map(|(_, count)| count).sum();
        let others = state.hands.iter().any(|(thread, _)| *thread != me);
        let stuck = state.reports.len() + state.in_tickets + mine >= used && !others && state.pollers == 0;
        state.moved.filter(|_| stuck)
    }

    fn hand_out(state: &mut State, count: usize) -> ThreadId {
        let me = thread::current().id();
        if count > 0 {
            match state.hands.iter_mut().find(|(thread, _)| *thread == me) {
                Some((_, held)) => *held += count,
                None => state.hands.push((me, count)),
            }
        }
        me
    }

    /// A ticket's report was taken. Returns who took it.
    pub(crate) fn hand_out_ticket(&self) -> ThreadId {
        self.counters.reports_delivered.bump_shared(1);
        let mut state = self.state();
        state.in_tickets = state.in_tickets.saturating_sub(1);
        Self::hand_out(&mut state, 1)
    }

    /// The user is done with these.
    pub(crate) fn hand_back(&self, slots: &mut Vec<Box<Slot>>, taker: ThreadId) {
        let count = slots.len();
        self.window.leave(slots);
        self.no_longer_in_hand(count, taker);
    }

    /// The places of these reports become the calling thread's own, as in a callback (P3).
    pub(crate) fn lend(&self, slots: &[Box<Slot>]) {
        self.window.lend(slots);
    }

    /// Lent places that were not used go back to the window.
    pub(crate) fn end_loan(&self) {
        self.window.settle_loan(&mut Vec::new());
    }

    /// The user is done with reports whose places were lent.
    pub(crate) fn hand_back_lent(&self, slots: &mut Vec<Box<Slot>>, taker: ThreadId) {
        let count = slots.len();
        self.window.take_back(slots);
        self.no_longer_in_hand(count, taker);
    }

    fn no_longer_in_hand(&self, count: usize, taker: ThreadId) {
        let mut state = self.state();
        if let Some(at) = state.hands.iter().position(|(thread, _)| *thread == taker)
            && let Some((_, held)) = state.hands.get_mut(at)
        {
            *held = held.saturating_sub(count);
            if *held == 0 {
                state.hands.swap_remove(at);
            }
        }
        self.note_move(&mut state);
    }

    /// Takes reports in poll mode.
    pub(crate) fn poll(&self, max: usize, timeout: Option<Duration>) -> Result<Polled> {
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut state = self.state();
        state.pollers += 1;
        let result = loop {
            if !state.reports.is_empty() || state.room {
                let count = state.reports.len().min(max.max(1));
                let slots: Vec<_> = state.reports.drain(..count).collect();
                let room = std::mem::take(&mut state.room);
                let taker = Self::hand_out(&mut state, count);
                state.delivered += count as u64;
                self.counters.reports_delivered.bump_shared(count as u64);
                break Ok(Polled { slots, room, taker });
            }
            if state.ended {
                break Err(Error::new(Status::Closed, "the publisher is closed and every report was polled"));
            }
            match self.wait(state, until) {
                Ok(s) => state = s,
                Err((s, over)) => {
                    state = s;
                    break match over {
                        Over::TimeUp => Ok(Polled { slots: Vec::new(), room: false, taker: thread::current().id() }),
                        Over::Interrupted => Err(wait::interrupted()),
                    };
                }
            }
        };
        state.pollers -= 1;
        self.note_move(&mut state);
        self.lower(&mut state);
        drop(state);
        result
    }

    /// Takes events in poll mode.
    pub(crate) fn poll_events(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Event>> {
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut state = self.state();
        loop {
            let events = self.events.take(max.max(1));
            if self.events.is_empty() {
                state.events_waiting = false;
                self.lower(&mut state);
            }
            if !events.is_empty() {
                return Ok(events);
            }
            if state.ended {
                return Err(Error::new(Status::Closed, "the publisher is closed and every event was polled"));
            }
            match self.wait(state, until) {
                Ok(s) => state = s,
                Err((_, Over::TimeUp)) => return Ok(events),
                Err((_, Over::Interrupted)) => return Err(wait::interrupted()),
            }
        }
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, until: Option<Instant>) -> Result<MutexGuard<'a, State>, (MutexGuard<'a, State>, Over)> {
        state.asleep += 1;
        let mut result = wait::once(&self.state, &self.changed, state, until);
        let (Ok(state) | Err((state, _))) = &mut result;
        state.asleep -= 1;
        result
    }

    /// How many reports were put on the desk so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.state().pushed
    }

    /// Waits until the callbacks of that many reports returned.
    pub(crate) fn wait_delivered(&self, count: u64, until: Option<Instant>) -> Result<(), Over> {
        let mut state = self.state();
        while state.delivered < count {
            state = self.wait(state, until).map_err(|(_, over)| over)?;
        }
        Ok(())
    }

    /// No more reports will come.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        self.tell(state);
    }

    /// Waits until the report thread has left. It does not while it is in a callback.
    pub(crate) fn wait_gone(&self, until: Instant) -> Result<(), Over> {
        let mut state = self.state();
        while !state.gone {
            state = self.wait(state, Some(until)).map_err(|(_, over)| over)?;
        }
        Ok(())
    }

    /// One step of the report thread. False: everything is told, and no more comes.
    pub(crate) fn serve_once(&self, handlers: &Handlers, batch: &mut Vec<Box<Slot>>) -> bool {
        let mut state = self.state();
        loop {
            if handlers.events.is_some() && state.events_waiting {
                state.events_waiting = false;
                drop(state);
                for event in self.events.take(usize::MAX) {
                    if let Some(sink) = &handlers.events {
                        guarded("event", || sink.event(&event));
                    }
                }
                return true;
            }
            if !self.polled && !state.reports.is_empty() {
                self.begin_call(state, batch);
                if let Some(sink) = &handlers.reports {
                    guarded("report", || show(&**sink, batch));
                }
                self.end_call(batch);
                return true;
            }
            if state.ended {
                state.deaf = true;
                return false;
            }
            state = match self.wait(state, None) {
                Ok(state) | Err((state, _)) => state,
            };
        }
    }

    /// A batch leaves for the callback, with its places (P3).
    fn begin_call(&self, mut state: MutexGuard<'_, State>, batch: &mut Vec<Box<Slot>>) {
        let count = state.reports.len().min(BATCH);
        batch.extend(state.reports.drain(..count));
        drop(state);
        self.window.lend(batch);
    }

    /// The callback returned.
    pub(crate) fn end_call(&self, batch: &mut Vec<Box<Slot>>) {
        let count = batch.len() as u64;
        self.counters.reports_delivered.bump_shared(count);
        self.window.settle_loan(batch);
        let mut state = self.state();
        state.delivered += count;
        self.tell(state);
    }

    /// The simulation's report thread: a callback begins, if there is something to tell.
    #[cfg(test)]
    pub(crate) fn try_begin_call(&self, batch: &mut Vec<Box<Slot>>) -> bool {
        let state = self.state();
        if state.reports.is_empty() {
            return false;
        }
        self.begin_call(state, batch);
        true
    }

    /// The report thread: until everything is told. Drops the handlers, and so runs the finalizers, as its last act.
    pub(crate) fn serve(&self, handlers: Handlers) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.serve_once(&handlers, &mut batch) {}
        guarded("finalizer", || drop(handlers));
        let mut state = self.state();
        state.gone = true;
        self.tell(state);
    }

    /// There is no report thread.
    pub(crate) fn nobody_serves(&self) {
        self.state().gone = true;
    }
}

impl Bell for Desk {
    /// A publish that got `QueueFull` would be let in now.
    fn ring(&self) {
        let mut state = self.state();
        state.room = true;
        self.raise(&mut state);
        self.tell(state);
    }
}

/// Calls the sink with a batch. The views stand on the stack: a batch allocates nothing.
fn show(sink: &dyn Sink, batch: &[Box<Slot>]) {
    let Some(first) = batch.first() else { return };
    let mut views = [Report::new(first); BATCH];
    for (view, slot) in views.iter_mut().zip(batch) {
        *view = Report::new(slot);
    }
    sink.reports(views.get(..batch.len()).unwrap_or_default());
}

/// Runs user code. Its panics end here (P1: the other reports must go on).
fn guarded(what: &str, run: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
        crate::trace::scoped(|| tracing::error!(target: "ackbus::dispatch", "a {what} callback panicked"));
    }
}
