//! Windows: the duplicate windows of streams, how old that knowledge is, and what waits for it.
//!
//! The window is the stream's (P4). Before something in doubt goes again it is asked for again: after a reconnect, when a gate opens, and with the fence behind a
//! message that nobody answered. It may have been made smaller meanwhile, and a resend beyond it would be a second copy. What is in doubt waits for the answer for a
//! second at most, and with it all that goes to the same stream, since it would overtake it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::base::time::Nanos;
use crate::handler::asking::{About, What};
use crate::handler::here::Here;
use crate::handler::known::Known;
use crate::handler::line::Line;
use crate::handler::orders::{Order, Orders};
use crate::ledger::slot::Stage;
use crate::wire::{Question, StreamAnswer};

/// How long what is in doubt waits for its stream's window.
const PATIENCE: Nanos = 1_000_000_000;
/// How long a window that was told is believed to be the same, when something in doubt shall go again: after that it waits for the answer.
const FRESH: Nanos = 1_000_000_000;
/// From then on it is asked for again, and nobody waits: where acks are lost all the time, waiting each time would cost a tenth of the throughput.
const REFRESH: Nanos = 250_000_000;
/// A window that was not told is asked for again this often, while something is in doubt.
const AGAIN: Nanos = 5_000_000_000;

/// What is known of the age of windows, and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// Streams of which the window was told on this connection, or could not be had.
    told: HashMap<Box<str>, Told>,
    /// Streams whose windows were asked for, and until when what is in doubt waits.
    awaited: HashMap<Box<str>, Nanos>,
    /// What waits for them, by id.
    parked: BTreeMap<u64, u32>,
    /// Streams that told no window: when to ask again.
    again: HashMap<Box<str>, Nanos>,
}

/// A window's age.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Until then it is believed.
    fresh_until: Nanos,
    /// From then on it is asked for again when something in doubt goes again.
    ask_from: Nanos,
}

impl Windows {
    /// Whether anything waits for a window.
    #[inline(always)]
    pub(super) fn delay(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// The API described this stream.
    pub(super) fn note_told(&mut self, stream: &str, now: Nanos) {
        self.told.insert(stream.into(), Told { fresh_until: now + FRESH, ask_from: now + REFRESH });
    }

    /// Another connection: nothing was told on it.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }

    // ---- Questions ----

    /// A new connection: the windows of all streams that have something in doubt.
    pub(super) fn ask_all(&mut self, line: &mut Line, known: &Known, here: &Here, orders: &mut Orders) {
        let mut asked: HashSet<Box<str>> = HashSet::new();
        let mut seen: HashSet<u32> = HashSet::new();
        for slot in line.iter().filter(|s| s.tainted().is_some() && !s.ephemeral) {
            if seen.insert(slot.rule) {
                asked.extend(known.streams_of(slot.rule, here).into_iter().map(Box::from));
            }
        }
        let mut streams: Vec<Box<str>> = asked.into_iter().collect();
        // In the same order for the same seed, and in another one for each publisher: a thousand of them must not ask for the same stream first.
        streams.sort_unstable();
        for last in (1..streams.len()).rev() {
            let other = line.chance(last as u64 + 1) as usize;
            streams.swap(last, other);
        }
        for stream in streams {
            self.ask(stream, true, here, orders);
        }
    }

    /// The stream takes messages again, and some that waited are in doubt.
    pub(super) fn ask_before_opening(&mut self, stream: &str, here: &Here, orders: &mut Orders) {
        if !self.is_young(stream, here.now()) {
            self.ask(stream.into(), true, here, orders);
        }
    }

    /// A message of this rule in doubt goes again, or will. Its stream's window may have become smaller since it was told.
    pub(super) fn ask_before(&mut self, rule: u32, known: &Known, here: &Here, orders: &mut Orders) {
        let now = here.now();
        let old: Vec<Box<str>> = known.streams_of(rule, here).into_iter().filter(|stream| !self.is_young(stream, now)).map(Box::from).collect();
        for stream in old {
            let waits = self.told.get(&stream).is_none_or(|told| now >= told.fresh_until);
            if let Some(told) = self.told.get_mut(&stream) {
                told.ask_from = now + PATIENCE;
            }
            self.ask(stream, waits, here, orders);
        }
    }

    /// It was told so short a time ago that it is not asked for again.
    fn is_young(&self, stream: &str, now: Nanos) -> bool {
        self.told.get(stream).is_some_and(|told| now < told.ask_from)
    }

    fn ask(&mut self, stream: Box<str>, waits: bool, here: &Here, orders: &mut Orders) {
        if !here.is_online() || self.awaited.contains_key(&stream) {
            return;
        }
        let give_up_at = here.now() + PATIENCE;
        if waits {
            self.awaited.insert(stream.clone(), give_up_at);
        }
        let question = Question::Describe { stream: stream.to_string(), rule: None };
        orders.push(Order::Ask { what: What::Describe, about: About::Window { stream }, question, give_up_at });
    }

    // ---- Waiting ----

    /// Whether this message must wait until the window of its stream is known. If so, it does.
    pub(super) fn park(&mut self, slot: u32, id: u64, rule: u32, known: &Known, here: &Here) -> bool {
        let waits = known.streams_of(rule, here).into_iter().any(|stream| self.awaited.contains_key(stream));
        if waits {
            self.parked.insert(id, slot);
        }
        waits
    }

    pub(super) fn answered(&mut self, stream: &str, answer: &StreamAnswer, line: &mut Line, known: &Known, here: &Here) {
        let now = here.now();
        if !matches!(answer, StreamAnswer::Exists { .. }) {
            self.told.insert(stream.into(), Told { fresh_until: now + AGAIN, ask_from: now + AGAIN });
            if !matches!(answer, StreamAnswer::None) {
                self.again.insert(stream.into(), now + AGAIN);
            }
        }
        if self.awaited.remove(stream).is_some() {
            self.release(line, known, here);
        }
    }

    /// Those whose windows are known, or not to be had, go on; oldest first.
    fn release(&mut self, line: &mut Line, known: &Known, here: &Here) {
        for (id, slot) in std::mem::take(&mut self.parked) {
            let Some(rule) = line.slot(slot, id).filter(|s| s.stage == Stage::Queued).map(|s| s.rule) else { continue };
            if !(self.delay() && self.park(slot, id, rule, known, here)) {
                line.put_back(slot, id);
            }
        }
    }

    /// The connection is gone, and with it whoever was asked.
    pub(super) fn forget_asked(&mut self, line: &mut Line, known: &Known, here: &Here) {
        self.awaited.clear();
        self.again.clear();
        self.release(line, known, here);
    }

    /// Windows that were not told in time. Returns when to come back.
    pub(super) fn tend(&mut self, line: &mut Line, known: &Known, here: &Here, orders: &mut Orders) -> Nanos {
        let now = here.now();
        if self.delay() {
            let before = self.awaited.len();
            self.awaited.retain(|_, until| *until > now);
            if self.awaited.len() < before {
                self.release(line, known, here);
            }
        }
        if !self.again.is_empty() {
            let due: Vec<Box<str>> = self.again.iter().filter(|(_, at)| **at <= now).map(|(stream, _)| stream.clone()).collect();
            // While nothing is in doubt nobody needs to know.
            let in_doubt = !due.is_empty() && line.iter().any(|s| s.tainted().is_some());
            for stream in due {
                self.again.remove(&stream);
                if in_doubt {
                    self.ask(stream, false, here, orders);
                }
            }
        }
        let awaited = self.awaited.values().copied().min().unwrap_or(Nanos::MAX);
        awaited.min(self.again.values().copied().min().unwrap_or(Nanos::MAX))
    }

    /// Whether this message waits for a window.
    #[cfg(test)]
    pub(super) fn parks(&self, id: u64, slot: u32) -> bool {
        self.parked.get(&id) == Some(&slot)
    }

    /// The largest of its lists that a server's words can make grow (P9).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn size(&self) -> usize {
        [self.told.len(), self.awaited.len(), self.again.len()].into_iter().max().unwrap_or(0)
    }
}
