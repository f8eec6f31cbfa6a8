//! Settle: the only room that decides outcomes (P1, P2), and the last that a message is in.
//!
//! R1, the rule all else follows from: once an attempt may have been stored, only an ack clears the doubt. A later refusal, however definite, is about its own attempt.

use std::sync::Arc;

use crate::base::error::{Persistence, Status};
use crate::desk::report::REPORT_EPHEMERAL;
use crate::handler::here::Here;
use crate::handler::orders::Ending;
use crate::ledger::slot::{Slot, StreamId};

/// As reports say it, and slots keep it.
const EPHEMERAL: u8 = REPORT_EPHEMERAL as u8;

/// Settled messages that are not handed over yet.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Somebody wants to know.
    reports: Vec<Box<Slot>>,
    done: Vec<Box<Slot>>,
}

/// What is known of the stored copy, when a message ends so.
pub(super) fn persistence(slot: &Slot, ending: &Ending) -> Persistence {
    if ending.stored.is_some() {
        Persistence::Persisted
    } else if ending.flags & EPHEMERAL != 0 {
        Persistence::PossiblyPersisted
    } else {
        doubt(slot)
    }
}

/// What an unanswered attempt leaves behind.
pub(super) fn doubt(slot: &Slot) -> Persistence {
    if slot.tainted().is_some() || slot.stage.is_under_way() { Persistence::PossiblyPersisted } else { Persistence::NotPersisted }
}

impl Settled {
    /// A message has its outcome, once and for ever: it is counted, and goes to whoever wants to know, or back to the window.
    #[inline]
    pub(super) fn add(&mut self, mut slot: Box<Slot>, ending: Ending, persistence: Persistence, here: &Here) {
        let latency = here.now().saturating_sub(slot.accepted_at);
        let counters = &here.lane().counters;
        if slot.ephemeral {
            if ending.status == Status::Ok { counters.ephemeral.bump(1) } else { counters.ephemeral_dropped.bump(1) }
        } else if persistence == Persistence::Persisted {
            counters.published.bump(1);
            counters.latency.record(latency);
        } else {
            counters.publish_errors.bump(1);
            counters.failures.note(ending.status, ending.text.as_deref(), here.now(), || here.shared().clock.unix_nanos());
        }
        slot.flags = ending.flags;
        let outcome = &mut slot.outcome;
        outcome.status = ending.status;
        outcome.persistence = persistence;
        outcome.latency = latency;
        outcome.stream_seq = ending.stored.as_ref().map_or(0, |(_, seq)| *seq);
        if here.shared().desk.wants(&slot) {
            let stream = ending.stored.map_or_else(StreamId::none, |(stream, _)| stream);
            if !Arc::ptr_eq(&slot.outcome.stream, &stream) {
                slot.outcome.stream = stream;
            }
            slot.explain(ending.server_code, ending.text.map(terminated));
            self.reports.push(slot);
        } else {
            self.done.push(slot);
        }
    }

    /// Gives settled slots to the desk and the window.
    pub(super) fn hand_over(&mut self, here: &Here) {
        here.shared().desk.deliver(&mut self.reports);
        here.shared().window.leave(&mut self.done);
    }
}

/// Text as reports carry it: with a NUL byte behind, and none inside.
fn terminated(mut text: String) -> Box<str> {
    if text.contains('\0') {
        text = text.replace('\0', "?");
    }
    text.push('\0');
    text.into_boxed_str()
}
