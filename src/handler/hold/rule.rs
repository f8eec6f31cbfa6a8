//! A rule at work: its gate, and its places in flight.

use std::collections::BTreeMap;

/// What is known of a rule.
#[derive(Debug, Default)]
pub(super) struct RuleState {
    /// The gate that all its messages pass.
    pub(super) gate: Option<u32>,
    /// Its `in_flight` key.
    pub(super) limit: Option<usize>,
    /// Its messages that were sent and are not settled. Counted while there is a limit.
    pub(super) in_flight: usize,
    /// Those that wait for a place, at whatever gate, by id. Kept while there is a limit.
    pub(super) wanting: BTreeMap<u64, u32>,
    /// Messages of the rule wait, of which some lent their places and others may have kept theirs.
    pub(super) lends: bool,
    /// It has a line of its own for a while, since all its places are taken by messages in trouble.
    pub(super) aside: bool,
    /// Its first message on this connection was seen.
    pub(super) met: bool,
    /// It names neither a stream nor a limit: without trouble its messages pass no gate.
    pub(super) plain: bool,
}

impl RuleState {
    /// This message may be sent. With a limit of one the oldest comes first, whatever its topic: then nothing is ever overtaken (P10).
    pub(super) fn has_place(&self, id: u64) -> bool {
        self.limit.is_none_or(|limit| self.in_flight < limit && (limit > 1 || self.wanting.first_key_value().is_none_or(|(&first, _)| id <= first)))
    }
}
