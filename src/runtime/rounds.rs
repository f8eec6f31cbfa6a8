//! Rounds: when the I/O thread works, when it sleeps, and what time it is. The in-memory backend needs no more than that.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use crate::base::error::Result;
use crate::base::time::Clock;
use crate::base::time::{Nanos, nanos};
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::handler::Handler;
use crate::trace;
use crate::wire::memory::MemoryWire;

/// The least that the machine's clocks must differ to be called a jump.
const JUMP: Nanos = 1_000_000_000;

/// An I/O thread's work.
pub(crate) trait Drive {
    /// Works until the publisher is closed, or cannot go on.
    fn run(&mut self) -> impl Future<Output = Result<()>>;
    /// What is left to settle.
    fn into_handler(self) -> Handler;
}

/// Two clocks: the monotonic one, which stops while the machine is suspended, and the wall clock, which may be set. P4 counts whichever ran further.
pub(super) struct Ages {
    last: Nanos,
    wall: SystemTime,
    age: Nanos,
}

impl Ages {
    pub(super) fn new() -> Self {
        Ages { last: 0, wall: SystemTime::now(), age: 0 }
    }

    pub(super) fn tell(&mut self, handler: &mut Handler) {
        let now = handler.shared().clock.now();
        // The wall clock is asked now and then: a suspend is longer than that.
        if now - self.last > 10_000_000 || self.last == 0 {
            let wall = SystemTime::now();
            let passed = nanos(wall.duration_since(self.wall).unwrap_or_default());
            let monotonic = now - self.last;
            if passed > monotonic + JUMP && self.last > 0 && handler.lane().is_first() {
                let seconds = (passed - monotonic) / 1_000_000_000;
                handler.clock_jumped(seconds);
            }
            self.age += passed.max(monotonic);
            self.wall = wall;
            self.last = now;
        }
        handler.set_time(now, self.age + (now - self.last));
    }
}

/// What a round of work left to do.
pub(super) enum Round {
    /// Something moved: go on.
    Busy,
    /// Nothing moves before this time or a wake-up.
    Idle(Nanos),
    Done(Result<()>),
}

/// Runs rounds until done, asleep between them.
pub(super) async fn rounds(clock: &Clock, lane: &Lane, mut round: impl FnMut(&mut Context<'_>) -> Round) -> Result<()> {
    let mut notified = Box::pin(lane.queue.notify().notified());
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let birth = match clock {
        Clock::Real(birth) => *birth,
        Clock::Virtual(_) => Instant::now(),
    };
    poll_fn(move |cx| {
        loop {
            lane.queue.rise();
            trace::refresh();
            let next = match round(cx) {
                Round::Busy => continue,
                Round::Done(result) => return Poll::Ready(result),
                Round::Idle(next) => next,
            };
            if !lane.queue.fall_idle() {
                continue;
            }
            if notified.as_mut().poll(cx).is_ready() {
                notified.set(lane.queue.notify().notified());
                continue;
            }
            let at = birth.checked_add(Duration::from_nanos(next)).unwrap_or_else(|| birth + Duration::from_secs(365 * 24 * 3600));
            let at = tokio::time::Instant::from_std(at.min(Instant::now() + Duration::from_secs(3600)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_ready() {
                continue;
            }
            return Poll::Pending;
        }
    })
    .await
}

/// The in-memory backend's thread.
pub(crate) struct MemoryDriver {
    handler: Handler,
    wire: MemoryWire,
}

impl MemoryDriver {
    pub(crate) fn new(shared: &Arc<Shared>, random: u64) -> Self {
        MemoryDriver { handler: Handler::new(Arc::clone(shared), Arc::clone(shared.lanes.first()), random), wire: MemoryWire::new(Arc::clone(&shared.rules)) }
    }
}

impl Drive for MemoryDriver {
    async fn run(&mut self) -> Result<()> {
        let (shared, lane) = (Arc::clone(self.handler.shared()), Arc::clone(self.handler.lane()));
        let mut ages = Ages::new();
        let (handler, wire) = (&mut self.handler, &mut self.wire);
        rounds(&shared.clock, &lane, move |_| {
            ages.tell(handler);
            let any = wire.deliver(handler);
            let next = handler.turn(wire);
            if handler.may_end() {
                return Round::Done(Ok(()));
            }
            if any || next <= handler.now() { Round::Busy } else { Round::Idle(next) }
        })
        .await
    }

    fn into_handler(self) -> Handler {
        self.handler
    }
}
