//! Lanes: each connection's own line, mailbox and figures, and which topic goes by which.
//!
//! A publisher has one window, one desk and one state. Each of its connections has a lane: a send queue, an I/O thread with a handler of its own, an inbox. A topic
//! always takes the same lane, so whatever holds for one connection (P10) holds for each topic. Rejected: one queue for all, where every message would have to ask
//! who its topic's last one went with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::base::error::{Error, Result};
use crate::base::sync::{Condvar, Mutex, PoisonError};
use crate::base::time::Nanos;
use crate::base::wait::{self, Over};
use crate::bus::standing::Purge;
use crate::config::settings::MOST_LANES;
use crate::config::topic::Rules;
use crate::ledger::queue::SendQueue;
use crate::stats::Counters;
use crate::wire::framing::Framing;

/// What an I/O thread is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Flush(Arc<FlushTicket>),
    Purge {
        what: Purge,
        ticket: Arc<FlushTicket>,
    },
    Rules(Arc<Rules>),
    Close {
        timeout: Nanos,
    },
    /// Another lane has failed for good, and with it the publisher.
    Fail(Error),
}

/// Somebody waits for an I/O thread to do something, and for a number that comes of it.
#[derive(Debug)]
pub(crate) struct FlushTicket {
    /// The newest message that counts.
    pub(crate) upto: u64,
    result: Mutex<Option<u64>>,
    changed: Condvar,
}

impl FlushTicket {
    pub(crate) fn new(upto: u64) -> Arc<Self> {
        Arc::new(FlushTicket { upto, result: Mutex::new(None), changed: Condvar::new() })
    }

    pub(crate) fn done(&self, result: u64) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn result(&self) -> Option<u64> {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait(&self, until: Option<Instant>) -> Result<u64, Over> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = *result {
                return Ok(result);
            }
            result = wait::once(&self.result, &self.changed, result, until).map_err(|(_, over)| over)?;
        }
    }
}

/// What one I/O thread shares with the callers.
#[derive(Debug)]
pub(crate) struct Lane {
    /// From 0 on.
    pub(crate) index: usize,
    pub(crate) queue: SendQueue,
    /// The backend's. Of this lane: answers come to the connection that sent the message.
    pub(crate) framing: Framing,
    /// Written by this lane's I/O thread alone.
    pub(crate) counters: Arc<Counters>,
    commands: Mutex<Vec<Command>>,
    commanded: AtomicBool,
    /// What its server takes; 0 while not known.
    max_payload: AtomicU64,
    offline: AtomicBool,
    gone: AtomicBool,
}

impl Lane {
    fn new(index: usize, count: usize, framing: Framing) -> Self {
        Lane {
            index,
            queue: SendQueue::new(index as u64 + 1, count as u64),
            framing,
            counters: Arc::default(),
            commands: Mutex::default(),
            commanded: AtomicBool::new(false),
            max_payload: AtomicU64::new(0),
            offline: AtomicBool::new(true),
            gone: AtomicBool::new(false),
        }
    }

    /// Whether it does what one lane does for all.
    pub(crate) fn is_first(&self) -> bool {
        self.index == 0
    }

    /// Its bit in a word of lanes.
    pub(crate) fn bit(&self) -> u64 {
        1 << self.index
    }

    pub(crate) fn command(&self, command: Command) {
        if self.is_gone() {
            // Nobody would take it away (P9).
            return;
        }
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.commanded.store(true, Ordering::Release);
        self.queue.wake();
    }

    pub(crate) fn take_commands(&self, into: &mut Vec<Command>) {
        if self.commanded.swap(false, Ordering::AcqRel) {
            into.append(&mut self.commands.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(crate) fn max_payload(&self) -> u64 {
        self.max_payload.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_payload(&self, max_payload: u64) {
        self.max_payload.store(max_payload, Ordering::Relaxed);
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Relaxed)
    }

    pub(crate) fn set_offline(&self, offline: bool) {
        self.offline.store(offline, Ordering::Relaxed);
    }

    /// Its I/O thread has settled everything and takes no more commands.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }
}

/// All lanes of a publisher: one at least.
#[derive(Debug)]
pub(crate) struct Lanes(Box<[Arc<Lane>]>);

impl Lanes {
    /// That many lanes, each with a framing of its own.
    pub(crate) fn new(count: usize, mut framing: impl FnMut(usize) -> Result<Framing>) -> Result<Self> {
        let count = count.clamp(1, MOST_LANES);
        let lanes = (0..count).map(|index| Ok(Arc::new(Lane::new(index, count, framing(index)?)))).collect::<Result<_>>()?;
        Ok(Lanes(lanes))
    }

    pub(crate) fn first(&self) -> &Arc<Lane> {
        &self.0[0]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Arc<Lane>> {
        self.0.iter()
    }

    /// The bits of all lanes.
    pub(crate) fn all(&self) -> u64 {
        u64::MAX >> (MOST_LANES - self.0.len())
    }

    /// The lane of a topic, the same for as long as the publisher lives.
    #[inline]
    pub(crate) fn of(&self, topic: &str) -> &Lane {
        match &*self.0 {
            [only] => only,
            lanes => &lanes[place_of(topic, lanes.len())],
        }
    }
}

/// FNV-1a, and one round of mixing, since its low bits alone are sums of the bytes' low bits: of topics such as `a.1.1`, `a.2.2` all would go one way.
fn place_of(topic: &str, places: usize) -> usize {
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((mixed * places as u64) >> 32) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::Config;

    fn lanes(count: usize) -> Lanes {
        let settings = Config::new().settings().unwrap();
        Lanes::new(count, |lane| Framing::new(&settings, lane, &[0; 32])).unwrap()
    }

    #[test]
    fn topics_spread_and_keep_their_lane() {
        let shapes: [&dyn Fn(usize) -> String; 4] = [&|i| format!("orders.{i}"), &|i| format!("a.{}.{}", i % 10, i % 10 + i), &|i| format!("{i}"), &|i| {
            format!("site.{:04}.sensor.temperature", i * 2)
        }];
        for (shape, topic) in shapes.iter().enumerate() {
            for places in [2, 3, 4, 8, 64] {
                let mut counts = vec![0_usize; places];
                for i in 0..6_400 {
                    counts[place_of(&topic(i), places)] += 1;
                }
                let even = 6_400 / places;
                assert!(counts.iter().all(|&count| count * 2 > even && count < even * 2), "shape {shape} over {places}: {counts:?}");
            }
        }
        // Stable: the same in every process and version.
        assert_eq!(["a", "b", "orders.created", "orders.paid"].map(|topic| place_of(topic, 64)), [32, 18, 62, 17]);
    }

    #[test]
    fn no_id_comes_twice_and_all_are_counted() {
        let lanes = lanes(3);
        let push = |lane: usize| lanes.0[lane].queue.push(Box::new(crate::ledger::slot::Slot::new(0)), |_| {}).unwrap();
        assert_eq!([1, 1, 0, 2, 1, 0].map(push), [2, 5, 1, 3, 8, 4]);
        assert_eq!(lanes.iter().map(|lane| (lane.queue.last_id(), lane.queue.accepted())).collect::<Vec<_>>(), [(4, 2), (8, 3), (3, 1)]);
    }

    #[test]
    fn every_lane_has_its_inbox_its_ids_and_its_bit() {
        let all = lanes(64).all();
        let lanes = lanes(3);
        assert_eq!((lanes.len(), lanes.all(), all), (3, 0b111, u64::MAX));
        let inboxes: std::collections::HashSet<_> = lanes.iter().map(|lane| lane.framing.nats().unwrap().inbox().to_vec()).collect();
        assert_eq!(inboxes.len(), 3);
        assert_eq!(lanes.iter().map(|lane| lane.bit()).collect::<Vec<_>>(), [1, 2, 4]);
    }
}
