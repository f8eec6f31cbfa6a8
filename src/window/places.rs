//! Places: what is counted under the window's lock, and the free slots.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::base::error::Error;
use crate::ledger::slot::{CHUNK, Slot};
use crate::window::refused::Refused;

/// The most reports that one callback gets, and so the slots that the table has beyond the window (P3).
pub(crate) const BATCH: usize = CHUNK;

/// A newcomer's place in line: behind all who wait.
pub(super) const NEWCOMER: u64 = u64::MAX;

/// Says, of so many places in use, since when waiting has made no sense.
pub(super) type Stuck<'a> = &'a dyn Fn(usize) -> Option<Instant>;

/// How long a call may wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The caller waits in its own way: no text, and nobody counts it.
    Try,
    Fail,
    Until(Instant),
    NoLimit,
}

/// What asks to come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) bytes: usize,
    pub(crate) rule: u32,
    pub(crate) topic: &'a str,
}

#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) used: usize,
    pub(super) used_bytes: usize,
    pub(super) used_max: usize,
    pub(super) free: Vec<Free>,
    /// Slots made so far.
    pub(super) made: u32,
    /// What the free slots keep of their contents' memory.
    pub(super) kept: usize,
    /// Per rule: places taken, and where its gate is closed.
    pub(super) rules: Vec<RuleUse>,
    /// Topics without a rule's gate whose share is used up, and what was refused for that.
    pub(super) full_topics: HashMap<Box<str>, Refused>,
    pub(super) closed: Option<Error>,
    pub(super) waiting: usize,
    /// The number of the next waiter.
    pub(super) next_waiter: u64,
    /// Waiters that found a place but not enough bytes: whoever came later lets them go first, so that large messages do not starve.
    pub(super) short_of_bytes: BTreeMap<u64, Short>,
    /// What was refused for want of a place or of bytes.
    pub(super) refused: Refused,
}

/// A free slot, and what it keeps of its content's memory: the slot itself was last seen by another core, and is not looked at under the lock.
#[derive(Debug)]
pub(super) struct Free {
    pub(super) slot: Box<Slot>,
    pub(super) kept: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleUse {
    pub(super) used: usize,
    /// The lanes whose gates for it are closed, by their bits.
    pub(super) closed: u64,
    /// What was refused because its share is used up.
    pub(super) refused: Refused,
}

/// A waiter that is short of bytes, as long as its gate would let it in.
#[derive(Debug)]
pub(super) struct Short {
    pub(super) rule: u32,
    pub(super) topic: Box<str>,
}

impl Places {
    /// What is known of a rule, which may be new.
    pub(super) fn rule(&mut self, rule: u32) -> Option<&mut RuleUse> {
        let rule = rule as usize;
        if rule >= self.rules.len() {
            self.rules.resize(rule + 1, RuleUse::default());
        }
        self.rules.get_mut(rule)
    }

    /// One was refused, and wants to hear of room.
    pub(super) fn note_refused(&mut self, full: Full, request: Request<'_>) {
        let place = match full {
            Full::Messages | Full::Bytes => Some(&mut self.refused),
            Full::Share(Share::Rule) => self.rules.get_mut(request.rule as usize).map(|rule| &mut rule.refused),
            Full::Share(Share::Topic) => self.full_topics.get_mut(request.topic),
        };
        if let Some(place) = place {
            place.add(Refused::of(request.bytes));
        }
    }
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Messages,
    Bytes,
    Share(Share),
}

/// Whose share is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Rule,
    Topic,
}

impl Share {
    /// The same for all that wait for this share, and never 0.
    pub(super) fn number(self, request: Request<'_>) -> u64 {
        match self {
            Share::Rule => u64::from(request.rule) + 1,
            // FNV-1a, above the rules' numbers, and with room for a sign.
            Share::Topic => {
                let hash = request.topic.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
                hash >> 2 | 1 << 62
            }
        }
    }
}
