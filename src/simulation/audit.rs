//! The handler's own books, compared with each other whenever it is at rest.

use std::collections::{BTreeMap, HashSet};

use crate::handler::Handler;
use crate::handler::gate::State;
use crate::ledger::slot::{NO_GATE, Stage};
use crate::wire::nats::{NatsWire, Side};

/// What does not fit together, if anything.
pub(super) fn audit(handler: &mut Handler, wire: &NatsWire) -> Result<(), String> {
    let leaving = wire.epoch(Side::Leaving);
    let under_way = |stage: Stage| matches!(stage, Stage::Staged | Stage::InFlight | Stage::Fencing);
    let live = handler.table.iter().filter(|s| under_way(s.stage)).count();
    if live != handler.live {
        return Err(format!("live is {}, {live} slots are under way", handler.live));
    }
    places(handler)?;
    gates(handler)?;
    for s in handler.table.iter() {
        let known = Some(s.epoch) == handler.epoch || Some(s.epoch) == leaving;
        let last = handler.shared.settings.max_attempts;
        let repeats = (s.has_msg_id() || handler.shared.settings.resend_without_msg_id) && (last == 0 || s.attempts < last);
        let stuck = match s.stage {
            Stage::Staged | Stage::Fencing => !known,
            Stage::InFlight => !known && repeats,
            _ => false,
        };
        if stuck {
            return Err(format!("message {} is {:?} in epoch {}, which is over", s.id, s.stage, s.epoch));
        }
        let due = handler.deadlines.of(s.index);
        if due > s.deadline {
            return Err(format!("message {} is {:?} and due at {due}, behind its deadline {}", s.id, s.stage, s.deadline));
        }
    }
    Ok(())
}

/// Who waits must be where its turn comes.
fn places(handler: &Handler) -> Result<(), String> {
    let fresh: HashSet<(u64, u32)> = handler.fresh.iter().copied().collect();
    let fencing: HashSet<(u32, u64)> = handler.fencing.iter().copied().collect();
    for s in handler.table.iter() {
        let found = match s.stage {
            Stage::Queued => handler.again.get(&s.id) == Some(&s.index) || fresh.contains(&(s.id, s.index)) || handler.known.parks(s.id, s.index),
            Stage::Fencing => fencing.contains(&(s.index, s.id)),
            Stage::Gated => handler.gates.get(s.gate).is_some_and(|gate| gate.waiting.get(&s.id) == Some(&s.index)),
            Stage::Staged | Stage::InFlight | Stage::Backoff => true,
            Stage::Settled => false,
        };
        if !found {
            return Err(format!("message {} is {:?} and nowhere (gate {})", s.id, s.stage, s.gate));
        }
        if s.counted && s.stage == Stage::Gated {
            return Err(format!("message {} waits at a gate and counts as passed", s.id));
        }
    }
    Ok(())
}

fn gates(handler: &mut Handler) -> Result<(), String> {
    let mut counted: BTreeMap<u32, usize> = BTreeMap::new();
    for s in handler.table.iter().filter(|s| s.counted) {
        if s.gate == NO_GATE {
            return Err(format!("message {} is counted at no gate", s.id));
        }
        *counted.entry(s.gate).or_default() += 1;
    }
    let table = &handler.table;
    for (index, gate) in handler.gates.iter_mut() {
        let passed = counted.remove(&index).unwrap_or(0);
        if gate.in_flight != passed {
            return Err(format!("gate {:?} counts {} in flight, {passed} slots say so", gate.key, gate.in_flight));
        }
        let gone = gate.waiting.iter().find(|&(&id, &slot)| table.get(slot).is_none_or(|s| s.id != id || s.stage != Stage::Gated));
        if let Some((id, _)) = gone {
            return Err(format!("message {id} waits at gate {:?} and is not there", gate.key));
        }
        if let State::Held(held) = &gate.state
            && let Some((slot, id)) = held.probe
            && table.get(slot).is_none_or(|s| s.id != id || !s.probe)
        {
            return Err(format!("gate {:?} waits for its probe {id}, which is none", gate.key));
        }
    }
    counted.keys().next().map_or(Ok(()), |gate| Err(format!("slots are counted at gate {gate}, which is gone")))
}
