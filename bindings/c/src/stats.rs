//! `ackbus_stats`: a publisher's figures.

use std::mem::offset_of;
use std::ptr;

use ackbus::Stats;

use crate::error::ackbus_status;
use crate::guard::guard;
use crate::handle::Call;
use crate::layout::{Growing, Plain, Versioned};
use crate::publisher::{ackbus_publisher, not_forked};

/// A publisher's figures, all since it connected. Start with `ACKBUS_STATS_INIT`. Each is read once; together they are exact when nothing moves.
///
/// At rest, for persistent messages: `accepted == published + publish_errors + pending`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_stats {
    /// `sizeof(ackbus_stats)`, set by `ACKBUS_STATS_INIT`.
    pub struct_size: usize,
    /// Persistent messages that `publish` took: each gets exactly one outcome. Unit: messages.
    pub accepted: u64,
    /// Persistent messages accepted and not yet settled, now. Unit: messages.
    pub pending: u64,
    /// What counts against `max_pending_bytes` now: pending messages, ephemeral ones not yet written, reports not yet returned. Unit: bytes.
    pub pending_bytes: u64,
    /// Lifecycle events that made room for newer ones because nobody took them (`event_queue`). Unit: events.
    pub events_dropped: u64,
    /// Persistent messages that the server acknowledged, duplicates included. Unit: messages.
    pub published: u64,
    /// Persistent messages that settled without an acknowledgement: refused, timed out, purged, closed. Unit: messages.
    pub publish_errors: u64,
    /// The most that counted against `max_pending` at once: pending messages, ephemeral ones not yet written, reports not yet returned. Unit: messages.
    pub pending_max: u64,
    /// Attempts whose `ack_wait_ms` ran out. The message may have been sent again and acknowledged later. Unit: attempts.
    pub ack_timeouts: u64,
    /// Acknowledgements that found the id in the stream already: of a resend, or of an id used twice (only these are flagged in the report). Unit: messages.
    pub duplicates: u64,
    /// Sendings that were begun, first ones and repeated ones; ephemeral messages have one. Unit: attempts.
    pub attempts: u64,
    /// Attempts after a message's first, whatever the reason. Unit: attempts.
    pub retries: u64,
    /// Attempts written whole of messages that had been written whole before. Unit: attempts.
    pub resent: u64,
    /// Replies to messages that had settled, and refusals of attempts that were over. They change no report. Unit: replies.
    pub late_acks: u64,
    /// Replies that are no acknowledgement: unreadable, to an attempt never made, or from another stream than the rule names. Unit: replies.
    pub alien_replies: u64,
    /// Publishes that returned QUEUE_FULL, at once or after `stall_wait_ms`. Unit: calls.
    pub queue_full: u64,
    /// How often a gate closed because its stream was missing, overloaded or without a leader. Unit: times.
    pub gates_held: u64,
    /// Ephemeral messages written. They are not acknowledged and in no figure of persistent messages. Unit: messages.
    pub ephemeral: u64,
    /// Ephemeral messages not written before their deadline, a purge or the close. Unit: messages.
    pub ephemeral_dropped: u64,
    /// Reports handed to the callback, the poller or a ticket. Unit: reports.
    pub reports_delivered: u64,
    /// Connections after the first. Unit: times.
    pub reconnects: u64,
    /// Bytes of the protocol that the kernel took, before TLS. Unit: bytes.
    pub bytes_out: u64,
    /// How often a publishing thread woke the I/O thread. Far below `accepted` under load. Unit: times.
    pub wakeups: u64,
    /// Half of the acknowledged messages took no longer, from `publish` to the ack. At most 6.25 % (below 1 µs: 64 ns) too high. Unit: ns.
    pub latency_p50_ns: u64,
    /// 99 % of the acknowledged messages took no longer. At most 6.25 % (below 1 µs: 64 ns) too high. Unit: ns.
    pub latency_p99_ns: u64,
    /// The slowest acknowledgement, exactly. Unit: ns.
    pub latency_max_ns: u64,
}

// SAFETY: `repr(C)`, made of integers.
unsafe impl Plain for ackbus_stats {}
impl Growing for ackbus_stats {
    const SMALLEST: usize = offset_of!(ackbus_stats, pending);
    const NAME: &'static str = "ackbus_stats";
}
// SAFETY: `struct_size` comes first.
unsafe impl Versioned for ackbus_stats {}

impl ackbus_stats {
    fn of(stats: &Stats) -> Self {
        ackbus_stats {
            struct_size: size_of::<ackbus_stats>(),
            accepted: stats.accepted,
            pending: stats.pending,
            pending_bytes: stats.pending_bytes,
            events_dropped: stats.events_dropped,
            published: stats.published,
            publish_errors: stats.publish_errors,
            pending_max: stats.pending_max,
            ack_timeouts: stats.ack_timeouts,
            duplicates: stats.duplicates,
            attempts: stats.attempts,
            retries: stats.retries,
            resent: stats.resent,
            late_acks: stats.late_acks,
            alien_replies: stats.alien_replies,
            queue_full: stats.queue_full,
            gates_held: stats.gates_held,
            ephemeral: stats.ephemeral,
            ephemeral_dropped: stats.ephemeral_dropped,
            reports_delivered: stats.reports_delivered,
            reconnects: stats.reconnects,
            bytes_out: stats.bytes_out,
            wakeups: stats.wakeups,
            latency_p50_ns: stats.latency_p50_ns,
            latency_p99_ns: stats.latency_p99_ns,
            latency_max_ns: stats.latency_max_ns,
        }
    }
}

/// Reads the figures. They stay readable after close.
///
/// `inout`: starts with its `struct_size`; the rest is filled in, as far as this version knows it.
///
/// Threads: any, also at the same time; never waits. Errors: `ACKBUS_ERR_INVALID_ARGUMENT`, `ACKBUS_ERR_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_publisher_stats(publisher: *const ackbus_publisher, inout: *mut ackbus_stats) -> ackbus_status {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard(&call, ptr::null_mut(), || {
        let publisher = &call.shared(publisher)?.core;
        call.struct_size(inout)?;
        not_forked()?;
        call.fill(inout, &ackbus_stats::of(&publisher.stats()))
    })
}
