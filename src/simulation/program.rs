//! A program that has a publisher: its threads, its callback, its flushes and purges to come. `users` has it act.

use std::sync::Arc;

use super::plan::{BUSY, Plan};
use super::rng::Rng;
use crate::base::calls::Credit;
use crate::bus::lane::FlushTicket;
use crate::desk::tickets::Reports;
use crate::ledger::slot::Slot;

/// A thread that publishes.
pub(super) struct Publisher {
    pub(super) left: u32,
    pub(super) next: u64,
}

/// A callback that has not returned.
pub(super) struct Call {
    pub(super) batch: Vec<Box<Slot>>,
    pub(super) until: u64,
    pub(super) next: u64,
    pub(super) left: u64,
    pub(super) credit: Option<Credit>,
    /// What the first publishes may take without being refused (P3).
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// The program.
pub(super) struct Users {
    pub(super) publishers: Vec<Publisher>,
    pub(super) published: u64,
    pub(super) dead_letters: u32,
    pub(super) ephemeral: u64,
    pub(super) next_read: u64,
    pub(super) held: Vec<(u64, Reports)>,
    pub(super) call: Option<Call>,
    /// Times of flushes and purges to come.
    pub(super) flush_at: Vec<u64>,
    pub(super) purge_at: Vec<u64>,
    pub(super) flushes: Vec<Arc<FlushTicket>>,
    pub(super) purges: Vec<Arc<FlushTicket>>,
    pub(super) closed: bool,
}

impl Users {
    pub(super) fn draw(plan: &Plan, rng: &mut Rng) -> Self {
        let each = plan.messages / plan.threads;
        let publishers = (0..plan.threads).map(|_| Publisher { left: each.max(1), next: rng.below(BUSY / 4) }).collect();
        let flush_at = (0..rng.below(3)).map(|_| rng.below(2 * BUSY)).collect();
        let purge_at = if rng.chance(120) { (0..rng.between(1, 2)).map(|_| rng.below(BUSY)).collect() } else { Vec::new() };
        Users {
            publishers,
            published: 0,
            dead_letters: 0,
            ephemeral: 0,
            next_read: 0,
            held: Vec::new(),
            call: None,
            flush_at,
            purge_at,
            flushes: Vec::new(),
            purges: Vec::new(),
            closed: false,
        }
    }

    /// What the purges said that they removed.
    pub(super) fn purged(&self) -> u64 {
        self.purges.iter().filter_map(|ticket| ticket.result()).sum()
    }
}
