//! The figures of one publisher. One table makes the counters, the public [`Stats`], their names as metrics, the docs and `docs/STATISTICS.md`.

pub(crate) mod failures;
pub(crate) mod histogram;

use self::failures::Failures;
use self::histogram::{Histogram, Latencies};
use crate::base::counter::Counter;

/// What kind of metric a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Rises and falls, or is a maximum.
    Gauge,
    /// Told as one of several samples of a histogram.
    Histogram,
    /// Texts, as labels.
    Info,
    /// One sample for each state, 1 for the state that holds.
    StateSet,
}

impl MetricKind {
    /// As `# TYPE` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::Info => "info",
            MetricKind::StateSet => "stateset",
        }
    }
}

/// A field of [`Stats`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Figure {
    /// The field's name, the same in every language.
    pub name: &'static str,
    /// The unit of its value.
    pub unit: &'static str,
    /// The metric's name in [`Publisher::metrics`](crate::Publisher::metrics): of its sample, with `_total` behind counters. Times are in seconds there.
    pub metric: &'static str,
    /// The kind of that metric.
    pub kind: MetricKind,
    /// What it counts.
    pub meaning: &'static str,
}

/// The table. Three sources: `given` by the ledger and the event queue when a snapshot is taken, `counted` in [`Counters`], `measured` by the [`Histogram`].
macro_rules! statistics {
    (
        given { $($given:ident, $given_unit:literal, $given_kind:ident $given_metric:literal, $given_doc:literal;)* }
        counted { $($counted:ident, $counted_unit:literal, $counted_kind:ident $counted_metric:literal, $counted_doc:literal;)* }
        measured { $($measured:ident, $measured_unit:literal, $measured_kind:ident $measured_metric:literal, $measured_doc:literal;)* }
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
            /// Every field, in the order of the struct.
            pub const FIELDS: &'static [Figure] = &[
                $(figure(stringify!($given), $given_unit, MetricKind::$given_kind, $given_metric, $given_doc),)*
                $(figure(stringify!($counted), $counted_unit, MetricKind::$counted_kind, $counted_metric, $counted_doc),)*
                $(figure(stringify!($measured), $measured_unit, MetricKind::$measured_kind, $measured_metric, $measured_doc),)*
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

        /// What one lane counts.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(#[doc = $counted_doc] pub(crate) $counted: Counter,)*
            /// From acceptance to the ack, of every message that was acked; written by whoever settles.
            pub(crate) latency: Histogram,
            /// What became of `publish_errors`, by status; written by whoever settles.
            pub(crate) failures: Failures,
        }

        impl Counters {
            /// The figures of now, of all lanes together.
            pub(crate) fn snapshot<'a>(lanes: impl Iterator<Item = &'a Counters> + Clone, given: Given) -> Stats {
                let quantiles = Self::latencies(lanes.clone()).quantiles();
                Stats {
                    $($given: given.$given,)*
                    $($counted: lanes.clone().map(|lane| lane.$counted.get()).sum(),)*
                    $($measured: quantiles.$measured,)*
                }
            }

            /// The latencies of all lanes together.
            pub(crate) fn latencies<'a>(lanes: impl Iterator<Item = &'a Counters> + Clone) -> Latencies {
                Histogram::read(lanes.map(|lane| &lane.latency))
            }

            /// Messages that have their outcome, ephemeral ones too.
            pub(crate) fn settled(&self) -> u64 {
                self.published.get() + self.publish_errors.get() + self.ephemeral.get() + self.ephemeral_dropped.get()
            }
        }
    };
}

const fn figure(name: &'static str, unit: &'static str, kind: MetricKind, metric: &'static str, meaning: &'static str) -> Figure {
    Figure { name, unit, metric, kind, meaning }
}

statistics! {
    given {
        accepted, "messages", Counter "ackbus_accepted_messages_total", "Persistent messages that `publish` took: each gets exactly one outcome.";
        pending, "messages", Gauge "ackbus_pending_messages", "Persistent messages accepted and not yet settled, now.";
        pending_bytes, "bytes", Gauge "ackbus_pending_bytes", "What counts against `max_pending_bytes` now: pending messages, ephemeral ones not yet written, reports not yet returned.";
        events_dropped, "events", Counter "ackbus_dropped_events_total", "Lifecycle events that made room for newer ones because nobody took them (`event_queue`).";
    }
    counted {
        published, "messages", Counter "ackbus_published_messages_total", "Persistent messages that the server acknowledged, duplicates included.";
        publish_errors, "messages", Counter "ackbus_publish_error_messages_total", "Persistent messages that settled without an acknowledgement: refused, timed out, purged, closed.";
        pending_max, "messages", Gauge "ackbus_pending_max_messages", "The most that counted against `max_pending` at once: pending messages, ephemeral ones not yet written, reports not yet returned.";
        ack_timeouts, "attempts", Counter "ackbus_ack_timeout_attempts_total", "Attempts whose `ack_wait_ms` ran out. The message may have been sent again and acknowledged later.";
        duplicates, "messages", Counter "ackbus_duplicate_messages_total", "Acknowledgements that found the id in the stream already: of a resend, or of an id used twice (only these are flagged in the report).";
        attempts, "attempts", Counter "ackbus_attempts_total", "Sendings that were begun, first ones and repeated ones; ephemeral messages have one.";
        retries, "attempts", Counter "ackbus_retry_attempts_total", "Attempts after a message's first, whatever the reason.";
        resent, "attempts", Counter "ackbus_resent_attempts_total", "Attempts written whole of messages that had been written whole before.";
        late_acks, "replies", Counter "ackbus_late_ack_replies_total", "Replies to messages that had settled, and refusals of attempts that were over. They change no report.";
        alien_replies, "replies", Counter "ackbus_alien_replies_total", "Replies that are no acknowledgement: unreadable, to an attempt never made, or from another stream than the rule names.";
        queue_full, "calls", Counter "ackbus_queue_full_calls_total", "Publishes that returned QUEUE_FULL, at once or after `stall_wait_ms`.";
        gates_held, "times", Counter "ackbus_gates_held_total", "How often a gate closed because its stream was missing, overloaded or without a leader.";
        ephemeral, "messages", Counter "ackbus_ephemeral_messages_total", "Ephemeral messages written. They are not acknowledged and in no figure of persistent messages.";
        ephemeral_dropped, "messages", Counter "ackbus_ephemeral_dropped_messages_total", "Ephemeral messages not written before their deadline, a purge or the close.";
        reports_delivered, "reports", Counter "ackbus_delivered_reports_total", "Reports handed to the callback, the poller or a ticket.";
        reconnects, "times", Counter "ackbus_reconnects_total", "Connections after the first.";
        bytes_out, "bytes", Counter "ackbus_out_bytes_total", "Bytes of the protocol that the kernel took, before TLS.";
        wakeups, "times", Counter "ackbus_wakeups_total", "How often a publishing thread woke the I/O thread. Far below `accepted` under load.";
    }
    measured {
        latency_p50_ns, "ns", Histogram "ackbus_ack_latency_seconds", "Half of the acknowledged messages took no longer, from `publish` to the ack. At most 6.25 % (below 1 µs: 64 ns) too high.";
        latency_p99_ns, "ns", Histogram "ackbus_ack_latency_seconds", "99 % of the acknowledged messages took no longer. At most 6.25 % (below 1 µs: 64 ns) too high.";
        latency_max_ns, "ns", Gauge "ackbus_ack_latency_max_seconds", "The slowest acknowledgement, exactly.";
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_table_has_what_the_design_promises_and_every_field_once() {
        let names: Vec<&str> = Stats::FIELDS.iter().map(|field| field.name).collect();
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
        let named = |name| Stats::FIELDS.iter().zip(stats.values()).find(|(field, _)| field.name == name).map(|(_, value)| value);
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
    fn lanes_add_up() {
        let data = histogram::tests::durations(10_000, 8);
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
        let quantiles =
            histogram::Quantiles { latency_p50_ns: stats.latency_p50_ns, latency_p99_ns: stats.latency_p99_ns, latency_max_ns: stats.latency_max_ns };
        assert_eq!(quantiles, Histogram::read([&together].into_iter()).quantiles(), "as if one had recorded them all");
    }
}
