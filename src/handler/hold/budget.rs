//! The budget of probes: all gates together send so many a second at most, however many topics are in trouble; one that is stored buys more, so the end of an outage is not slowed.

use crate::base::time::Nanos;

/// Probes (and questions about held gates) per second, of all gates together.
const RATE: u64 = 500;
/// What may go at once after a calm.
const BURST: u64 = 64;
/// What a stored probe buys.
const BONUS: u64 = 16;
const EACH: Nanos = 1_000_000_000 / RATE;

/// How many probes may go.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// In units of [`EACH`]: the time at which it would be full is `at`.
    spent_until: Nanos,
}

impl Budget {
    /// Takes one. Else: when there is one again.
    pub(super) fn take(&mut self, now: Nanos) -> Result<(), Nanos> {
        let base = self.spent_until.max(now);
        if base + EACH > now + BURST * EACH {
            return Err(base + EACH - BURST * EACH);
        }
        self.spent_until = base + EACH;
        Ok(())
    }

    /// A probe was stored.
    pub(super) fn refund(&mut self) {
        self.spent_until = self.spent_until.saturating_sub(BONUS * EACH);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn probes_are_few_and_a_stored_one_buys_more() {
        let mut budget = Budget::default();
        let start = 1_000_000_000;
        assert_eq!((0..1_000).filter(|_| budget.take(start).is_ok()).count() as u64, BURST);
        let again = budget.take(start).unwrap_err();
        assert_eq!(again, start + EACH);
        assert!(budget.take(again).is_ok());
        assert!(budget.take(again).is_err());
        let sent = (0..10_000).filter(|n| budget.take(again + n * 100_000).is_ok()).count() as u64;
        assert!(sent <= RATE + 1, "{sent} in a second");
        let mut budget = Budget::default();
        while budget.take(start).is_ok() {}
        budget.refund();
        assert_eq!((0..1_000).filter(|_| budget.take(start).is_ok()).count() as u64, BONUS);
    }
}
