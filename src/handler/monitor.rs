//! The pending monitor: says now and then how many messages are pending, and warns, with hysteresis, when they are many.

use crate::base::time::{Nanos, nanos};
use crate::config::settings::Settings;

/// What to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Log,
    /// At or above `pending_warn`.
    High,
    /// Below half of it again.
    Normal,
}

#[derive(Debug)]
pub(crate) struct Monitor {
    every: Nanos,
    warn_at: u64,
    next: Nanos,
    high: bool,
    /// Something was pending the last time: the end of it is worth a line, silence is not (finding 36).
    busy: bool,
}

impl Monitor {
    /// One lane of a publisher watches for all of them.
    pub(crate) fn new(settings: &Settings, watches: bool) -> Self {
        // Zero: off.
        let every = if settings.monitor_interval.is_zero() || !watches { Nanos::MAX } else { nanos(settings.monitor_interval) };
        Monitor { every, warn_at: settings.pending_warn as u64, next: every, high: false, busy: false }
    }

    pub(crate) fn next(&self) -> Nanos {
        self.next
    }

    pub(crate) fn look(&mut self, now: Nanos, pending: u64) -> Option<Note> {
        if now < self.next {
            return None;
        }
        self.next = now.saturating_add(self.every);
        let was_busy = std::mem::replace(&mut self.busy, pending > 0);
        if !self.high && pending >= self.warn_at.max(1) {
            self.high = true;
            return Some(Note::High);
        }
        if self.high && pending < self.warn_at.div_ceil(2) {
            self.high = false;
            return Some(Note::Normal);
        }
        (pending > 0 || was_busy).then_some(Note::Log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_with_hysteresis_and_keeps_quiet_when_idle() {
        let mut monitor = Monitor { every: 10, warn_at: 100, next: 10, high: false, busy: false };
        assert_eq!(monitor.look(9, 500), None);
        assert_eq!(monitor.look(10, 0), None);
        assert_eq!(monitor.look(20, 99), Some(Note::Log));
        assert_eq!(monitor.look(30, 100), Some(Note::High));
        assert_eq!(monitor.look(40, 100), Some(Note::Log));
        assert_eq!(monitor.look(50, 50), Some(Note::Log));
        assert_eq!(monitor.look(60, 49), Some(Note::Normal));
        assert_eq!(monitor.look(70, 0), Some(Note::Log));
        assert_eq!(monitor.look(80, 0), None);
    }
}
