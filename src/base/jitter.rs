//! Jitter: chance for pauses, the same for the same seed.

use crate::base::time::Nanos;

/// While a connection is waited for, the pause between two tries is this part of the time waited so far: its end is noticed at most a hundredth late, and the number
/// of tries grows with the logarithm of the time.
pub(crate) const RECONNECT_PART: u64 = 100;
/// The same for a stream that takes nothing. Each try is a message, so half as often.
pub(crate) const PROBE_PART: u64 = 50;

/// A small generator of chance for pauses (SplitMix64): not for secrets, and the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A pause between half of `full` and all of it, so that those who wait for the same thing do not come in step.
    pub(crate) fn pause(&mut self, full: Nanos) -> Nanos {
        let full = full.max(1);
        full / 2 + self.below(full / 2 + 1)
    }

    /// A number below `limit`; 0 if that is 0. The bias of the remainder does not matter for pauses.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }
}
