//! Quarantine: frames that may end connections, and what is done about them: never a loop.
//!
//! A suspect goes when its turn comes, with nothing else under way, and nothing follows before its answer. Rejected: to let the others pass it, which would break their order (P10).

use std::collections::HashSet;

use crate::base::error::Status;
use crate::desk::events::EventKind;
use crate::handler::here::Here;
use crate::handler::line::Line;
use crate::handler::orders::{Ending, Orders};
use crate::ledger::slot::{Slot, Stage};
use crate::wire::{Loss, Violation};

#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// A connection ended by violation: its largest frame. The next limits may tell that it is too large for them.
    suspicion: Option<(u32, u64)>,
    /// The ids of those that no limit explains.
    suspects: HashSet<u64>,
    /// The one that is out.
    alone: Option<(u32, u64)>,
}

impl Quarantine {
    /// An epoch ended: perhaps because of a frame.
    pub(super) fn suspect(&mut self, epoch: u32, loss: &Loss, line: &mut Line, orders: &mut Orders) {
        let of_epoch = |s: &&Slot| s.epoch == epoch && s.stage.is_under_way();
        let alone = self.alone.take_if(|(slot, id)| line.get(*slot).filter(of_epoch).is_some_and(|s| s.id == *id));
        match (alone, loss.violation) {
            (None, None) => {}
            // The connection went for another reason: its turn comes again.
            (Some((_, id)), None) => {
                self.suspects.insert(id);
            }
            (Some((slot, _)), Some(_)) => convict(slot, loss, line, orders),
            (None, Some(violation)) => {
                let size = |s: &Slot| match violation {
                    Violation::Payload => s.content.body(),
                    Violation::Topic => s.topic().len() as u32,
                };
                let largest = line.iter().filter(of_epoch).filter(|s| !s.ephemeral).max_by_key(|s| (size(s), std::cmp::Reverse(s.id)));
                self.suspicion = largest.map(|s| (s.index, s.id));
            }
        }
    }

    /// A new epoch's limits are known: frames beyond them settle; after a violation that none explains, the largest is set apart.
    pub(super) fn apply_limits(&mut self, line: &mut Line, here: &Here, orders: &mut Orders) {
        let limit = here.limits().max_payload;
        let over = line.chosen(|s| u64::from(s.content.body()) > limit);
        for &slot in &over {
            if let Some(s) = line.get(slot) {
                orders.settle_unanswered(slot, Status::TooLarge, 0, too_large(s, here));
            }
        }
        if let Some((slot, id)) = self.suspicion.take()
            && over.is_empty()
            && line.slot(slot, id).is_some()
        {
            self.suspects.insert(id);
        }
    }

    /// The message is settled: nothing is held against it any more.
    #[inline(always)]
    pub(super) fn acquit(&mut self, id: u64) {
        if !self.suspects.is_empty() {
            self.suspects.remove(&id);
        }
    }

    /// Whether a suspect is out, which must stay alone.
    #[inline(always)]
    pub(super) fn holds(&mut self, line: &mut Line) -> bool {
        let Some((slot, id)) = self.alone else { return false };
        // Behind `ack_wait` the connection lives: it was not the frame.
        let out = line.slot(slot, id).is_some_and(|s| matches!(s.stage, Stage::Staged | Stage::InFlight));
        if !out {
            self.alone = None;
        }
        out
    }

    /// Whether this message must go alone, and cannot yet.
    #[inline(always)]
    pub(super) fn must_wait(&self, id: u64, line: &Line) -> bool {
        line.is_live() && self.suspects.contains(&id)
    }

    /// The message goes out: a suspect alone.
    #[inline(always)]
    pub(super) fn note_sent(&mut self, slot: u32, id: u64) {
        if !self.suspects.is_empty() && self.suspects.remove(&id) {
            self.alone = Some((slot, id));
        }
    }
}

/// It was out alone, and the server ended the connection again.
fn convict(slot: u32, loss: &Loss, line: &mut Line, orders: &mut Orders) {
    let Some(s) = line.get(slot) else { return };
    let (topic, body) = (s.topic().to_owned(), s.content.body());
    let text = format!("the server ended the connection because of this message ({body} bytes): {}", loss.error.message());
    orders.tell(EventKind::Quarantined, Status::TooLarge, u64::from(body), &topic, text.clone());
    // The violation is the server's word that this attempt was not stored: nothing went behind it.
    line.set_stage(slot, Stage::Queued);
    orders.settle(slot, Ending::definite(Status::TooLarge, 0, text));
}

/// What reports of a message say that is larger than the server allows.
pub(super) fn too_large(slot: &Slot, here: &Here) -> String {
    format!("headers and payload have {} bytes; {} takes {}", slot.content.body(), here.server(), here.limits().max_payload)
}
