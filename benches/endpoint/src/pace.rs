//! An open loop: each message is due at a time of its own, and its latency counts from then, whenever it was really sent.
//!
//! All clients of the benchmark keep the pace in the same way: they sleep until the next message is due, but wake at most every [`TICK`], and then send all that
//! is due by then.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use crate::Error;
use crate::load::Load;

/// Nobody wakes more often than this, in nanoseconds.
pub const TICK: u64 = 50_000;

const SECOND: u64 = 1_000_000_000;

/// The pace of one run, and the latencies that came out of it. Without a rate all is due at once and nothing is kept.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    start: AtomicU64,
    latencies: Vec<AtomicU64>,
}

impl Pace {
    /// For the messages of a load. The pages of the latencies are there when it returns.
    ///
    /// # Errors
    /// N does not fit into memory.
    pub fn new(load: &Load) -> Result<Pace, Error> {
        let rate = load.pace.as_ref().map(|(rate, _)| *rate);
        let places = if rate.is_some() { usize::try_from(load.count)? } else { 0 };
        Ok(Pace { rate, start: AtomicU64::new(0), latencies: (0..places).map(|_| AtomicU64::new(u64::MAX)).collect() })
    }

    /// On the thread that publishes, right before the first message.
    ///
    /// # Errors
    /// The system has no such clock, or no such setting.
    pub fn start(&self) -> Result<Ticks, Error> {
        if self.rate.is_some() {
            set_timerslack(1_000)?;
        }
        let now = now()?;
        self.start.store(now, Ordering::Relaxed);
        Ok(Ticks { start: now, now, wake: now, next: now, rate: self.rate })
    }

    /// Message `index` is acked. Any thread.
    pub fn acked(&self, index: u64) {
        if let (Some(rate), Some(place)) = (self.rate, usize::try_from(index).ok().and_then(|index| self.latencies.get(index))) {
            let due = self.start.load(Ordering::Relaxed) + due(rate, index);
            place.store(now().map_or(u64::MAX, |now| now.saturating_sub(due)), Ordering::Relaxed);
        }
    }

    /// Writes the latencies where the load wants them: nanoseconds, 8 bytes each, in the machine's order.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, load: &Load) -> Result<(), Error> {
        let Some((_, path)) = &load.pace else { return Ok(()) };
        let bytes: Vec<u8> = self.latencies.iter().flat_map(|latency| latency.load(Ordering::Relaxed).to_ne_bytes()).collect();
        fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }
}

/// The publishing thread's side.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    start: u64,
    now: u64,
    /// The last wake, by plan: if it were the time at which it came, each would be later than the one before.
    wake: u64,
    next: u64,
    rate: Option<u64>,
}

impl Ticks {
    /// How long until message `index` is to be sent, and no shorter than a tick after the last wait; `None`: it is due.
    ///
    /// # Errors
    /// The system has no such clock.
    pub fn until(&mut self, index: u64) -> Result<Option<Duration>, Error> {
        let Some(rate) = self.rate else { return Ok(None) };
        let due = self.start + due(rate, index);
        if due <= self.now {
            return Ok(None);
        }
        self.now = now()?;
        if due <= self.now {
            return Ok(None);
        }
        self.next = due.max(self.wake + TICK);
        Ok(Some(Duration::from_nanos(self.next.saturating_sub(self.now))))
    }

    /// To be told after a wait that [`Ticks::until`] wanted: what is due now?
    ///
    /// # Errors
    /// The system has no such clock.
    pub fn woke(&mut self) -> Result<(), Error> {
        self.now = now()?;
        self.wake = self.next;
        Ok(())
    }

    /// Sleeps until message `index` is to be sent.
    ///
    /// # Errors
    /// The system has no such clock.
    pub fn sleep(&mut self, index: u64) -> Result<(), Error> {
        if self.until(index)?.is_none() {
            return Ok(());
        }
        let until = TimeSpec::from_duration(Duration::from_nanos(self.next));
        loop {
            match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until) {
                Ok(_) => return self.woke(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn now() -> Result<u64, Error> {
    Ok(u64::try_from(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?).as_nanos())?)
}

/// When message `index` is due, in nanoseconds after the start.
fn due(rate: u64, index: u64) -> u64 {
    index / rate * SECOND + index % rate * SECOND / rate
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{SECOND, TICK, Ticks, due};
    use std::time::Duration;

    #[test]
    fn messages_are_due_at_their_rate_without_drift() {
        assert_eq!([0, 1, 3, 20_000].map(|index| due(20_000, index)), [0, 50_000, 150_000, SECOND]);
        assert_eq!([1, 2, 3, 3_000_000_001].map(|index| due(3, index)), [333_333_333, 666_666_666, SECOND, 1_000_000_000 * SECOND + 333_333_333]);
    }

    #[test]
    fn what_is_late_goes_at_once_and_nobody_wakes_more_often_than_a_tick() {
        let hour = 3_600 * SECOND;
        let start = super::now().unwrap() + hour;
        let mut ticks = Ticks { start, now: start + 10, wake: 0, next: 0, rate: Some(SECOND) };
        assert_eq!([0, 10].map(|index| ticks.until(index).unwrap()), [None, None], "due by what is known of the time");

        ticks.now = 0;
        let wait = ticks.until(7).unwrap().unwrap();
        assert_eq!(ticks.next, start + 7, "when it is due");
        assert_eq!(wait, Duration::from_nanos(start + 7 - ticks.now));

        ticks.wake = start - TICK / 2;
        ticks.until(7).unwrap().unwrap();
        assert_eq!(ticks.next, start + TICK / 2, "a tick after the last wake");
        ticks.woke().unwrap();
        assert_eq!(ticks.wake, start + TICK / 2, "wakes that come late make the next ones no later");

        assert_eq!(Ticks { rate: None, ..ticks }.until(u64::MAX).unwrap(), None, "no pace");
    }

    #[test]
    fn a_sleep_ends_when_the_message_is_due() {
        let start = super::now().unwrap();
        let mut ticks = Ticks { start, now: start, wake: start, next: start, rate: Some(1_000) };
        ticks.sleep(5).unwrap();
        assert!(super::now().unwrap() >= start + 5 * SECOND / 1_000);
        assert_eq!(ticks.until(5).unwrap(), None);
    }
}
