//! The figures of one publisher. One table makes the counters, the public [`Stats`], its docs and `docs/STATISTICS.md`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows. Relaxed throughout: figures order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`, for a counter that one thread writes at a time: a load and a store, no locked instruction on the path of every message.
    #[inline]
    pub(crate) fn bump(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds `n`, for a counter that several threads write.
    #[inline]
    pub(crate) fn bump_shared(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Lifts it to `n` if it is lower; any thread. Stores only when there is a new maximum.
    #[inline]
    pub(crate) fn raise_to(&self, n: u64) {
        if self.0.load(Relaxed) < n {
            self.0.fetch_max(n, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The table. Three sources: `given` by the ledger and the event queue when a snapshot is taken, `counted` in [`Counters`], `measured` by the [`Histogram`].
macro_rules! statistics {
    (
        given { $($given:ident, $given_unit:literal, $given_doc:literal;)* }
        counted { $($counted:ident, $counted_unit:literal, $counted_doc:literal;)* }
        measured { $($measured:ident, $measured_unit:literal, $measured_doc:literal;)* }
    ) => {
        /// A snapshot of one publisher's figures, all since it connected. Each field is read once; together they are exact when nothing moves.
        ///
        /// At rest, for persistent messages: `accepted == published + publish_errors + pending`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $(#[doc = $given_doc] #[doc = ""] #[doc = concat!("Unit: ", $given_unit, ".")] pub $given: u64,)*
            $(#[doc = $counted_doc] #[doc = ""] #[doc = concat!("Unit: ", $counted_unit, ".")] pub $counted: u64,)*
            $(#[doc = $measured_doc] #[doc = ""] #[doc = concat!("Unit: ", $measured_unit, ".")] pub $measured: u64,)*
        }

        impl Stats {
            /// Name, unit and meaning of every field, in the order of the struct.
            pub const FIELDS: &'static [(&'static str, &'static str, &'static str)] = &[
                $((stringify!($given), $given_unit, $given_doc),)*
                $((stringify!($counted), $counted_unit, $counted_doc),)*
                $((stringify!($measured), $measured_unit, $measured_doc),)*
            ];

            /// The values, in the order of [`FIELDS`](Self::FIELDS).
            #[must_use]
            pub const fn values(&self) -> [u64; Self::FIELDS.len()] {
                [$(self.$given,)* $(self.$counted,)* $(self.$measured,)*]
            }
        }

        /// What others count and the publisher passes to [`Counters::snapshot`].
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Given { $(#[doc = $given_doc] pub(crate) $given: u64,)* }

        /// Quantiles of a [`Histogram`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Quantiles { $(#[doc = $measured_doc] pub(crate) $measured: u64,)* }

        /// What one lane counts.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(#[doc = $counted_doc] pub(crate) $counted: Counter,)*
            /// From acceptance to the ack, of every message that was acked; written by whoever settles.
            pub(crate) latency: Histogram,
        }

        impl Counters {
            /// The figures of now, of all lanes together.
            pub(crate) fn snapshot<'a>(lanes: impl Iterator<Item = &'a Counters> + Clone, given: Given) -> Stats {
                let quantiles = Histogram::quantiles(lanes.clone().map(|lane| &lane.latency));
                Stats {
                    $($given: given.$given,)*
                    $($counted: lanes.clone().map(|lane| lane.$counted.get()).sum(),)*
                    $($measured: quantiles.$measured,)*
                }
            }

            /// Messages that have their outcome, ephemeral ones too.
            pub(crate) fn settled(&self) -> u64 {
                self.published.get() + self.publish_errors.get() + self.ephemeral.get() + self.ephemeral_dropped.get()
            }
        }
    };
}

statistics! {
    given {
        accepted, "messages", "Persistent messages that `publish` took: each gets exactly one outcome.";
        pending, "messages", "Persistent messages accepted and not yet settled, now.";
        pending_bytes, "bytes", "What counts against `max_pending_bytes` now: pending messages, ephemeral ones not yet written, reports not yet returned.";
        events_dropped, "events", "Lifecycle events that made room for newer ones because nobody took them (`event_queue`).";
    }
    counted {
        published, "messages", "Persistent messages that the server acknowledged, duplicates included.";
        publish_errors, "messages", "Persistent messages that settled without an acknowledgement: refused, timed out, purged, closed.";
        pending_max, "messages", "The most that counted against `max_pending` at once: pending messages, ephemeral ones not yet written, reports not yet returned.";
        ack_timeouts, "attempts", "Attempts whose `ack_wait_ms` ran out. The message may have been sent again and acknowledged later.";
        duplicates, "messages", "Acknowledgements that found the id in the stream already: of a resend, or of an id used twice (only these are flagged in the report).";
        attempts, "attempts", "Sendings that were begun, first ones and repeated ones; ephemeral messages have one.";
        retries, "attempts", "Attempts after a message's first, whatever the reason.";
        resent, "attempts", "Attempts written whole of messages that had been written whole before.";
        late_acks, "replies", "Replies to messages that had settled, and refusals of attempts that were over. They change no report.";
        alien_replies, "replies", "Replies that are no acknowledgement: unreadable, to an attempt never made, or from another stream than the rule names.";
        queue_full, "calls", "Publishes that returned QUEUE_FULL, at once or after `stall_wait_ms`.";
        gates_held, "times", "How often a gate closed because its stream was missing, overloaded or without a leader.";
        ephemeral, "messages", "Ephemeral messages written. They are not acknowledged and in no figure of persistent messages.";
        ephemeral_dropped, "messages", "Ephemeral messages not written before their deadline, a purge or the close.";
        reports_delivered, "reports", "Reports handed to the callback, the poller or a ticket.";
        reconnects, "times", "Connections after the first.";
        bytes_out, "bytes", "Bytes of the protocol that the kernel took, before TLS.";
        wakeups, "times", "How often a publishing thread woke the I/O thread. Far below `accepted` under load.";
    }
    measured {
        latency_p50_ns, "ns", "Half of the acknowledged messages took no longer, from `publish` to the ack. At most 6.25 % (below 1 µs: 64 ns) too high.";
        latency_p99_ns, "ns", "99 % of the acknowledged messages took no longer. At most 6.25 % (below 1 µs: 64 ns) too high.";
        latency_max_ns, "ns", "The slowest acknowledgement, exactly.";
    }
}

impl Stats {
    /// The text of `docs/STATISTICS.md`.
    #[must_use]
    pub fn reference() -> String {
        let mut text = String::from(
            "# Statistics\n\n\
             Generated from the table in `src/stats.rs`; `ACKBUS_BLESS=1 cargo test stats` writes it anew.\n\n\
             A snapshot is a few dozen loads and may be taken from any thread at any time. All figures are unsigned 64-bit numbers, per publisher, since it\n\
             connected. `pending`, `pending_bytes` and the two quantiles rise and fall; the others only grow.\n\n\
             At rest, that is while no call and no ack is under way, persistent messages add up:\n\n\
             ```\naccepted == published + publish_errors + pending\n```\n\n\
             Purged, closed and timed-out messages are `publish_errors`. Ephemeral messages are in none of the four.\n\n\
             Known by other names: PublishedCount is `published`, PublishErrorCount is `publish_errors`, PendingAckCount is `pending`, AckTimeoutCount is\n\
             `ack_timeouts`.\n\n\
             | figure | unit | meaning |\n|---|---|---|\n",
        );
        for (name, unit, doc) in Self::FIELDS {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| `{name}` | {unit} | {doc} |");
        }
        text
    }
}

/// Sub-buckets per power of two: a bucket is at most 1/16 of its lower bound wide, the 6.25 % of the docs.
const SUB: u64 = 16;
/// Below 2^10 ns buckets are 64 ns wide; nothing on a network is faster.
const LOW_BITS: u32 = 10;
/// From 2^40 ns (18 minutes) everything falls into the last bucket.
const HIGH_BITS: u32 = 40;
const BUCKETS: usize = (SUB as usize) * (1 + (HIGH_BITS - LOW_BITS) as usize);

/// Counts durations in log-linear buckets: 4 KiB, no allocation, a few nanoseconds to record. One thread records at a time, any may read.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], max: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub(crate) fn record(&self, ns: u64) {
        let bucket = &self.buckets[Self::bucket(ns)];
        bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
        if ns > self.max.load(Relaxed) {
            self.max.store(ns, Relaxed);
        }
    }

    /// The quantiles of all that these recorded so far; zeros when there are none.
    pub(crate) fn quantiles<'a>(of: impl Iterator<Item = &'a Histogram> + Clone) -> Quantiles {
        // One copy first: the writers go on, and two quantiles of different moments could cross.
        let counts: [u64; BUCKETS] = std::array::from_fn(|index| of.clone().map(|histogram| histogram.buckets[index].load(Relaxed)).sum());
        let max = of.map(|histogram| histogram.max.load(Relaxed)).max().unwrap_or(0);
        let total: u64 = counts.iter().sum();
        let at = |percent: u64| {
            let rank = u64::try_from((u128::from(total) * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX);
            let mut seen = 0;
            let bucket = counts.iter().position(|&count| {
                seen += count;
                seen >= rank && rank > 0
            });
            // The bucket's last value, so that a latency is never told too low.
            bucket.map_or(0, |bucket| Self::last_of(bucket).min(max))
        };
        Quantiles { latency_p50_ns: at(50), latency_p99_ns: at(99), latency_max_ns: max }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "below BUCKETS")]
    fn bucket(ns: u64) -> usize {
        let ns = ns.min((1 << HIGH_BITS) - 1);
        // The power of two that `ns` lies in; all below 2^LOW_BITS share the first row.
        let bits = (u64::BITS - ns.leading_zeros()).max(LOW_BITS);
        let row = bits - LOW_BITS;
        // In row 0 a bucket is 2^(LOW_BITS-4) wide; row r > 0 spans 2^(LOW_BITS+r-1), cut into 16, counted from the leading bit.
        let shift = if row == 0 { LOW_BITS - 4 } else { bits - 5 };
        let column = (ns >> shift) & (SUB - 1);
        (u64::from(row) * SUB + column) as usize
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_docs_match_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/STATISTICS.md");
        let text = Stats::reference();
        if std::env::var_os("ACKBUS_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == text, "docs/STATISTICS.md is out of date; write it anew with ACKBUS_BLESS=1 cargo test stats");
    }

    #[test]
    fn the_table_has_what_the_design_promises_and_every_field_once() {
        let names: Vec<&str> = Stats::FIELDS.iter().map(|field| field.0).collect();
        for name in "accepted published publish_errors pending pending_bytes pending_max ack_timeouts duplicates retries resent late_acks alien_replies \
                     queue_full gates_held ephemeral ephemeral_dropped reconnects bytes_out events_dropped latency_p50_ns latency_p99_ns latency_max_ns \
                     attempts reports_delivered wakeups"
            .split_whitespace()
        {
            assert_eq!(names.iter().filter(|&&known| known == name).count(), 1, "{name}");
        }
        assert_eq!(names.len(), 25);
        assert_eq!(size_of::<Stats>(), 25 * size_of::<u64>(), "all fields are u64");
    }

    #[test]
    fn a_snapshot_puts_every_figure_in_its_place() {
        let counters = Counters::default();
        counters.published.bump(3);
        counters.published.bump(4);
        counters.queue_full.bump_shared(2);
        counters.pending_max.raise_to(9);
        counters.pending_max.raise_to(5);
        counters.latency.record(2_000);
        let stats = Counters::snapshot([&counters].into_iter(), Given { accepted: 12, pending: 5, pending_bytes: 640, events_dropped: 1 });
        assert_eq!((stats.accepted, stats.pending, stats.pending_bytes, stats.events_dropped), (12, 5, 640, 1));
        assert_eq!((stats.published, stats.queue_full, stats.pending_max), (7, 2, 9));
        assert_eq!((stats.latency_p50_ns, stats.latency_max_ns), (2_000, 2_000));
        let named = |name| Stats::FIELDS.iter().zip(stats.values()).find(|(field, _)| field.0 == name).map(|(_, value)| value);
        assert_eq!((named("accepted"), named("published"), named("latency_max_ns")), (Some(12), Some(7), Some(2_000)));
    }

    #[test]
    fn shared_counters_lose_nothing() {
        // By the clock, not by a number of steps: short loops run one after the other on a busy machine and prove nothing.
        let (counters, end) = (Counters::default(), Instant::now() + Duration::from_millis(200));
        let steps: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let counters = &counters;
                    scope.spawn(move || {
                        let mut step = 0_u64;
                        while !step.is_multiple_of(1_000) || Instant::now() < end {
                            step += 1;
                            counters.wakeups.bump_shared(1);
                            let value = 4 * counters.wakeups.get() + thread;
                            counters.pending_max.raise_to(value);
                            assert!(counters.pending_max.get() >= value, "a lower value replaced a higher one");
                        }
                        step
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(counters.wakeups.get(), steps.iter().sum::<u64>());
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
    fn durations(count: usize, mut seed: u64) -> Vec<u64> {
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
            let told = Histogram::quantiles([&histogram].into_iter());
            for (told, exact) in [(told.latency_p50_ns, exact(50)), (told.latency_p99_ns, exact(99))] {
                assert!(told >= exact, "{told} is below {exact} (of {count})");
                assert!(told - exact <= (exact / 16).max(64), "{told} is more than 6.25 % above {exact} (of {count})");
            }
            assert_eq!(told.latency_max_ns, data[count - 1]);
        }
    }

    #[test]
    fn lanes_add_up() {
        let data = durations(10_000, 8);
        let (lanes, together) = ([Counters::default(), Counters::default()], Histogram::default());
        for (index, &ns) in data.iter().enumerate() {
            lanes[index % 2].latency.record(ns);
            together.record(ns);
        }
        lanes[0].published.bump(3);
        lanes[1].published.bump(4);
        lanes[1].ephemeral.bump(5);
        let stats = Counters::snapshot(lanes.iter(), Given::default());
        assert_eq!((stats.published, stats.ephemeral), (7, 5));
        assert_eq!((lanes[0].settled(), lanes[1].settled()), (3, 9));
        let quantiles = Quantiles { latency_p50_ns: stats.latency_p50_ns, latency_p99_ns: stats.latency_p99_ns, latency_max_ns: stats.latency_max_ns };
        assert_eq!(quantiles, Histogram::quantiles([&together].into_iter()), "as if one had recorded them all");
    }

    #[test]
    fn the_ends_of_the_range() {
        let histogram = Histogram::default();
        assert_eq!(Histogram::quantiles([&histogram].into_iter()), Quantiles::default(), "nothing recorded");
        histogram.record(0);
        assert_eq!(Histogram::quantiles([&histogram].into_iter()), Quantiles::default(), "never above the maximum");
        for _ in 0..9 {
            histogram.record(u64::MAX);
        }
        assert_eq!(Histogram::quantiles([&histogram].into_iter()).latency_p50_ns, u64::MAX);
    }
}
