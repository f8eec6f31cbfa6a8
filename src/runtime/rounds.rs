//! Rounds: when an I/O thread works, and when it sleeps. Every backend has a driver of its own, and all of them work in rounds.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::base::error::Result;
use crate::base::time::{Clock, Nanos};
use crate::bus::lane::Lane;
use crate::handler::Handler;
use crate::trace;

/// A backend's work on an I/O thread. Each has its own: how many connections there are and what they say is not the same in any two.
pub(crate) trait Drive {
    /// Works until the publisher is closed, or cannot go on.
    fn run(&mut self) -> impl Future<Output = Result<()>>;
    /// What is left to settle.
    fn into_handler(self) -> Handler;
}

/// What a round of work left to do.
pub(crate) enum Round {
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
