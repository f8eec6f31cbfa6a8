//! One run as its user saw it, and what was configured.

use std::collections::BTreeMap;

use super::book::RuleBook;
use crate::base::error::Persistence;

/// A message that `publish` accepted. Its payload is unlike all others.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) thread: u32,
    /// The rule that it was accepted under.
    pub(crate) rule: u32,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// The caller's own id, if it gave one.
    pub(crate) msg_id: Option<String>,
    pub(crate) accepted_at: u64,
    /// Its own time to be delivered in; else that of all.
    pub(crate) delivery_timeout: Option<u64>,
}

/// An outcome as the user saw it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) persistence: Persistence,
    /// The stream's sequence, or 0 when the report gives none.
    pub(crate) seq: u64,
    /// The stream that it names, if any.
    pub(crate) stream: String,
    pub(crate) duplicate: bool,
    /// The wire had the message at least once, whether or not it left.
    pub(crate) staged: bool,
    /// Status and text, for the story.
    pub(crate) text: String,
}

/// One run as its user saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Each thread's messages in the order in which it published them.
    pub(crate) accepted: Vec<Message>,
    pub(crate) reports: Vec<Report>,
    /// The highest figures ever seen.
    pub(crate) pending: u64,
    pub(crate) pending_bytes: u64,
    /// When each message was given to the wire, time by time.
    pub(crate) stagings: BTreeMap<u64, Vec<u64>>,
    pub(crate) rules: RuleBook,
    /// Answers that were there to be read when a round began in which some message failed, by the time of the round.
    pub(crate) unread: BTreeMap<u64, Vec<usize>>,
    /// When the gates of streams were told to have opened.
    pub(crate) gates_opened: Vec<(u64, String)>,
}

/// What was configured. Times in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_pending: u64,
    pub(crate) max_pending_bytes: u64,
    pub(crate) ack_wait: u64,
    pub(crate) delivery_timeout: u64,
    /// The duplicate window that the handler reckons with where it knows none.
    pub(crate) duplicate_window: u64,
    pub(crate) resend_without_msg_id: bool,
    /// How much later than due a report or a resend may be, its way through buffers included.
    pub(crate) slack: u64,
    /// How long a frame that cannot be taken back may wait for a slow network.
    pub(crate) outbox: u64,
    /// When the client's process stood still, and how long.
    pub(crate) client_pauses: Vec<(u64, u64)>,
    /// When the client's machine slept for how long, as far as only its wall clock noticed.
    pub(crate) suspends: Vec<(u64, u64)>,
    pub(crate) max_attempts: usize,
    /// Attempts of all messages together.
    pub(crate) max_attempts_total: usize,
    /// `on_no_stream=wait`.
    pub(crate) waits_for_streams: bool,
    /// `jetstream_domain`.
    pub(crate) domain: Option<String>,
    /// The first and the longest pause between probes.
    pub(crate) probe_pauses: (u64, u64),
    /// From here on nothing is wrong, but with what cannot be known.
    pub(crate) healed_at: u64,
}

impl Limits {
    /// The latest time at which something due at `due` may be seen.
    pub(super) fn latest(&self, due: u64) -> u64 {
        self.client_pauses.iter().fold(due + self.slack, |latest, &(from, len)| if from <= latest { latest.max(from + len + self.slack) } else { latest })
    }

    /// How many probes may come in this time, one behind the other: each pause is at least half of a fiftieth of the time so far, within its bounds.
    pub(super) fn probes_within(&self, time: u64) -> usize {
        let (least, most) = self.probe_pauses;
        let (mut at, mut probes) = (0, 1);
        while at < time {
            at += ((at / 50).max(least).min(most) / 2).max(1);
            probes += 1;
        }
        probes
    }

    /// What the wall clock says.
    pub(super) fn age(&self, at: u64) -> u64 {
        at + self.suspends.iter().filter(|(from, _)| *from <= at).map(|(_, len)| len).sum::<u64>()
    }
}
