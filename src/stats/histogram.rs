//! How long acknowledgements take: log-linear buckets, their sum and the longest.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Sub-buckets per power of two: a bucket is at most 1/16 of its lower bound wide, the 6.25 % of the docs.
const SUB: u64 = 16;
/// Below 2^10 ns buckets are 64 ns wide; nothing on a network is faster.
const LOW_BITS: u32 = 10;
/// From 2^40 ns (18 minutes) everything falls into the last bucket.
const HIGH_BITS: u32 = 40;
const BUCKETS: usize = (SUB as usize) * (1 + (HIGH_BITS - LOW_BITS) as usize);

/// Quantiles of what was recorded, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) latency_p50_ns: u64,
    pub(crate) latency_p99_ns: u64,
    pub(crate) latency_max_ns: u64,
}

/// Counts durations in log-linear buckets: 4 KiB, no allocation, a few nanoseconds to record. One thread records at a time, any may read.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
    sum: Sum,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], max: AtomicU64::new(0), sum: Sum::default() }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub(crate) fn record(&self, ns: u64) {
        let bucket = &self.buckets[Self::bucket(ns)];
        bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
        self.sum.add(ns);
        if ns > self.max.load(Relaxed) {
            self.max.store(ns, Relaxed);
        }
    }

    /// What these recorded so far, together.
    pub(crate) fn read<'a>(of: impl Iterator<Item = &'a Histogram> + Clone) -> Latencies {
        Latencies {
            sum_ns: of.clone().map(|histogram| histogram.sum.get()).sum(),
            // One copy: the writers go on, and two quantiles of different moments could cross.
            counts: std::array::from_fn(|index| of.clone().map(|histogram| histogram.buckets[index].load(Relaxed)).sum()),
            max_ns: of.map(|histogram| histogram.max.load(Relaxed)).max().unwrap_or(0),
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "below BUCKETS")]
    const fn bucket(ns: u64) -> usize {
        let ns = if ns < 1 << HIGH_BITS { ns } else { (1 << HIGH_BITS) - 1 };
        // The power of two that `ns` lies in; all below 2^LOW_BITS share the first row.
        let bits = u64::BITS - ns.leading_zeros();
        let bits = if bits > LOW_BITS { bits } else { LOW_BITS };
        let row = bits - LOW_BITS;
        // In row 0 a bucket is 2^(LOW_BITS-4) wide; row r > 0 spans 2^(LOW_BITS+r-1), cut into 16, counted from the leading bit.
        let shift = if row == 0 { LOW_BITS - 4 } else { bits - 5 };
        let column = (ns >> shift) & (SUB - 1);
        (row as u64 * SUB + column) as usize
    }

    fn last_of(bucket: usize) -> u64 {
        let (row, column) = (bucket as u64 / SUB, bucket as u64 % SUB);
        if bucket == BUCKETS - 1 {
            u64::MAX
        } else if row == 0 {
            ((column + 1) << (LOW_BITS - 4)) - 1
        } else {
            ((SUB + column + 1) << (u64::from(LOW_BITS) + row - 5)) - 1
        }
    }
}

/// A sum of nanoseconds that does not wrap: with a full window of 10,000 messages 64 bits would last three weeks. One thread adds at a time, any may read.
#[derive(Debug, Default)]
struct Sum {
    /// The sum modulo 2^64.
    low: AtomicU64,
    /// How often the highest bit of `low` changed; so its last bit should be that bit, and a reader who comes between the two stores finds out.
    turns: AtomicU64,
}

impl Sum {
    #[inline]
    fn add(&self, ns: u64) {
        let before = self.low.load(Relaxed);
        let after = before.wrapping_add(ns);
        self.low.store(after, Relaxed);
        if (before ^ after) >> 63 != 0 {
            self.turns.store(self.turns.load(Relaxed) + 1, Release);
        }
    }

    fn get(&self) -> u128 {
        // This first: whoever sees a turn sees the low half after it.
        let turns = self.turns.load(Acquire);
        let low = self.low.load(Relaxed);
        let turns = turns + ((turns ^ (low >> 63)) & 1);
        (u128::from(turns) << 63) | u128::from(low & (u64::MAX >> 1))
    }
}

/// What histograms had recorded at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: [u64; BUCKETS],
    pub(crate) sum_ns: u128,
    pub(crate) max_ns: u64,
}

impl Latencies {
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many were shorter than a power of two of nanoseconds, exactly: it is the edge of a bucket. At least 2^6, below 2^40.
    pub(crate) fn below_power(&self, power: u32) -> u64 {
        self.counts.iter().take(Histogram::bucket(1 << power)).sum()
    }

    /// Zeros when nothing was recorded.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let total = self.count();
        let at = |percent: u64| {
            let rank = u64::try_from((u128::from(total) * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX);
            let mut seen = 0;
            let bucket = self.counts.iter().position(|&count| {
                seen += count;
                seen >= rank && rank > 0
            });
            // The bucket's last value, so that a latency is never told too low.
            bucket.map_or(0, |bucket| Histogram::last_of(bucket).min(self.max_ns))
        };
        Quantiles { latency_p50_ns: at(50), latency_p99_ns: at(99), latency_max_ns: self.max_ns }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn quantiles(of: &Histogram) -> Quantiles {
        Histogram::read([of].into_iter()).quantiles()
    }

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        for bucket in 1..BUCKETS {
            let first = Histogram::last_of(bucket - 1) + 1;
            assert_eq!(Histogram::bucket(first), bucket, "{first} begins bucket {bucket}");
            assert_eq!(Histogram::bucket(first - 1), bucket - 1, "{} ends the one before", first - 1);
            if bucket < BUCKETS - 1 && first >= 1 << LOW_BITS {
                let width = Histogram::last_of(bucket) - first + 1;
                assert!(width * SUB <= first, "bucket {bucket} from {first} is {width} wide");
            }
        }
        assert_eq!(Histogram::bucket(0), 0);
        assert_eq!(Histogram::bucket(u64::MAX), BUCKETS - 1);
    }

    /// Random durations over all powers of two from 2^9 to 2^39 ns.
    pub(in crate::stats) fn durations(count: usize, mut seed: u64) -> Vec<u64> {
        (0..count)
            .map(|_| {
                // splitmix64
                seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = seed;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^= z >> 31;
                let power = 9 + z % 30;
                (1 << power) + (z >> 8) % (1 << power)
            })
            .collect()
    }

    #[test]
    fn quantiles_agree_with_sorted_data() {
        for (seed, count) in [(1, 1), (2, 2), (3, 99), (4, 100), (5, 101), (6, 1_000), (7, 50_000)] {
            let mut data = durations(count, seed);
            let histogram = Histogram::default();
            data.iter().for_each(|&ns| histogram.record(ns));
            data.sort_unstable();
            let exact = |percent: usize| data[(count * percent).div_ceil(100) - 1];
            let told = quantiles(&histogram);
            for (told, exact) in [(told.latency_p50_ns, exact(50)), (told.latency_p99_ns, exact(99))] {
                assert!(told >= exact, "{told} is below {exact} (of {count})");
                assert!(told - exact <= (exact / 16).max(64), "{told} is more than 6.25 % above {exact} (of {count})");
            }
            assert_eq!(told.latency_max_ns, data[count - 1]);
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let histogram = Histogram::default();
        assert_eq!(quantiles(&histogram), Quantiles::default(), "nothing recorded");
        histogram.record(0);
        assert_eq!(quantiles(&histogram), Quantiles::default(), "never above the maximum");
        for _ in 0..9 {
            histogram.record(u64::MAX);
        }
        assert_eq!(quantiles(&histogram).latency_p50_ns, u64::MAX);
    }

    #[test]
    fn powers_of_two_are_edges() {
        let mut data = durations(50_000, 9);
        data.extend((6..40).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]));
        let histogram = Histogram::default();
        data.iter().for_each(|&ns| histogram.record(ns));
        let read = Histogram::read([&histogram].into_iter());
        for power in 6..40 {
            let exact = data.iter().filter(|&&ns| ns < 1 << power).count();
            assert_eq!(read.below_power(power), exact as u64, "below 2^{power}");
        }
        assert_eq!((read.count(), read.sum_ns), (data.len() as u64, data.iter().map(|&ns| u128::from(ns)).sum()));
    }

    /// 64 bits of nanoseconds are three weeks of 10,000 pending messages.
    #[test]
    fn a_sum_goes_on_beyond_its_words() {
        let (sum, mut exact) = (Sum::default(), 0_u128);
        for ns in [1, u64::MAX / 2, 1, u64::MAX / 2, u64::MAX / 4, 17, u64::MAX / 2, u64::MAX / 2, 3] {
            let before = (sum.low.load(Relaxed), sum.turns.load(Relaxed));
            sum.add(ns);
            exact += u128::from(ns);
            assert_eq!(sum.get(), exact);
            // A reader between the two stores.
            let half = Sum { low: AtomicU64::new(sum.low.load(Relaxed)), turns: AtomicU64::new(before.1) };
            assert_eq!(half.get(), exact, "{before:?} and {ns}");
        }
        assert!(exact >> 64 > 0);
    }
}
