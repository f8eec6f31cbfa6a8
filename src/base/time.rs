//! Time: nanoseconds since a publisher's birth, and the clock that tells them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the publisher's birth.
pub(crate) type Nanos = u64;

/// The longest time that a message may stay pending: 30 days. Longer ones say "for ever", which no deadline means, and would overflow clocks.
pub(crate) const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of one publisher: nanoseconds since its birth, and what the wall clock says.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Real(Instant),
    /// The simulation's.
    #[cfg_attr(not(test), allow(dead_code, reason = "the simulation's clock"))]
    Virtual(Arc<VirtualTime>),
}

/// Two clocks that somebody sets: a machine that sleeps moves the second one alone.
#[derive(Debug, Default)]
pub(crate) struct VirtualTime {
    pub(crate) now: AtomicU64,
    /// How far the wall clock is ahead of it.
    pub(crate) ahead: AtomicU64,
}

impl Clock {
    pub(crate) fn now(&self) -> Nanos {
        match self {
            Clock::Real(birth) => nanos(birth.elapsed()),
            Clock::Virtual(time) => time.now.load(Ordering::Relaxed),
        }
    }

    /// The wall clock: nanoseconds since 1970. It runs while the machine sleeps, and may be set.
    pub(crate) fn wall(&self) -> Nanos {
        match self {
            Clock::Real(_) => nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Clock::Virtual(time) => time.now.load(Ordering::Relaxed) + time.ahead.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn unix_nanos(&self) -> i64 {
        i64::try_from(self.wall()).unwrap_or(i64::MAX)
    }
}
