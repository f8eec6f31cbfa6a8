//! Audit: the handler's own books, compared with each other whenever it is at rest. For the simulation and the fuzzer.

use super::Handler;
#[cfg(test)]
use crate::config::topic::Rules;
#[cfg(test)]
use crate::ledger::slot::{Slot, Stage};

#[cfg(test)]
impl Handler {
    /// What does not fit together, if anything. `leaving`: the epoch of a connection that is read to its end.
    pub(crate) fn audit(&mut self, leaving: Option<u32>) -> Result<(), String> {
        if !self.orders.are_none() {
            return Err(format!("orders that nobody carries out: {:?}", self.orders));
        }
        self.line.audit(|s| self.windows.parks(s.id, s.index))?;
        self.holding().audit()?;
        for s in self.line.iter() {
            let waits_nowhere = match s.stage {
                Stage::Fencing => !self.resend.fences(s),
                Stage::Gated => !self.gates.has_in_line(s),
                Stage::Settled => true,
                Stage::Queued | Stage::Staged | Stage::InFlight | Stage::Backoff => false,
            };
            if waits_nowhere {
                return Err(format!("message {} is {:?} and nowhere (gate {})", s.id, s.stage, s.gate));
            }
            if s.counted && s.stage == Stage::Gated {
                return Err(format!("message {} waits at a gate and counts as passed", s.id));
            }
            let known = Some(s.epoch) == self.here.epoch() || Some(s.epoch) == leaving;
            let stuck = match s.stage {
                Stage::Staged | Stage::Fencing => !known,
                Stage::InFlight => !known && super::resend::last_word(s, &self.here).is_none(),
                _ => false,
            };
            if stuck {
                return Err(format!("message {} is {:?} in epoch {}, which is over", s.id, s.stage, s.epoch));
            }
        }
        Ok(())
    }

    /// All that are pending.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Slot> {
        self.line.iter()
    }

    /// Flushes that somebody may still wait for.
    pub(crate) fn flushes(&self) -> usize {
        self.calls.flushes()
    }

    pub(crate) fn rules(&self) -> &Rules {
        self.here.rules()
    }
}

impl Handler {
    /// The largest lists that a server's words can make grow (P9).
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let rooms = [self.known.size(), self.windows.size(), self.asking.size(), self.resend.size()];
        rooms.into_iter().chain(self.permissions.sizes()).collect()
    }

    /// The topics and names that are remembered because a server said them.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.permissions.words()
    }
}
