//! Framing: what a backend says of messages, wherever they are. How long one will be, how its parts stand in the slot, and what it means that they stand so.
//!
//! The publishing thread plans a message before it has a slot, fills the slot, and stamps it when it has its number. The handler asks what no state of a
//! connection decides. An enum: a call by a table would cost each message more than what it does.

use std::sync::Arc;

use crate::base::error::{Error, Result, Status};
use crate::config::servers::Servers;
use crate::config::settings::Settings;
use crate::ledger::slot::Slot;
use crate::message::Message;
use crate::wire::codes;
use crate::wire::memory::entry::Entries;
use crate::wire::msg_id;
use crate::wire::nats::frame::{Encoder, INBOX_RANDOM};
use crate::wire::plan::Plan;

/// The framing of one lane.
#[derive(Debug)]
pub(crate) enum Framing {
    /// Shared with the wire, which writes the frames.
    Nats(Arc<Encoder>),
    Memory(Entries),
}

impl Framing {
    /// That of the backend which the settings name. `random` is the publisher's: automatic Msg-Ids have one prefix on all lanes, since ids are unique in the
    /// publisher.
    pub(crate) fn new(settings: &Settings, lane: usize, random: &[u8; 32]) -> Result<Self> {
        match settings.servers {
            Servers::Memory => Ok(Framing::Memory(Entries::new(settings.msg_id, random))),
            Servers::Nats(_) => {
                let mut random = *random;
                if lane > 0 {
                    // The inbox is the connection's own.
                    getrandom::fill(&mut random[..INBOX_RANDOM]).map_err(|error| Error::new(Status::Internal, format!("no random numbers: {error}")))?;
                }
                Ok(Framing::Nats(Arc::new(Encoder::new(&settings.inbox_prefix, settings.msg_id, &random))))
            }
        }
    }

    /// What the NATS wire writes its frames with; `None` on another backend.
    pub(crate) fn nats(&self) -> Option<Arc<Encoder>> {
        match self {
            Framing::Nats(encoder) => Some(Arc::clone(encoder)),
            Framing::Memory(_) => None,
        }
    }

    /// Plans the message. Refuses what no server would take.
    #[inline]
    pub(crate) fn plan(&self, message: &Message<'_>, ephemeral: bool) -> Result<Plan> {
        match self {
            Framing::Nats(encoder) => encoder.plan(message, ephemeral),
            Framing::Memory(entries) => entries.plan(message, ephemeral),
        }
    }

    /// Puts the message's parts into the slot.
    #[inline]
    pub(crate) fn fill(&self, slot: &mut Slot, message: &Message<'_>, plan: Plan) {
        match self {
            Framing::Nats(encoder) => encoder.fill(slot, message, plan),
            Framing::Memory(entries) => entries.fill(slot, message, plan),
        }
    }

    /// The message has its number: writes it where it belongs.
    #[inline]
    pub(crate) fn stamp(&self, slot: &mut Slot) {
        match self {
            Framing::Nats(_) | Framing::Memory(_) => msg_id::stamp(slot),
        }
    }

    /// The code that reports carry for a stream that does not exist.
    pub(crate) fn no_stream_code(&self) -> u32 {
        match self {
            Framing::Nats(_) | Framing::Memory(_) => codes::NO_STREAM,
        }
    }

    /// The code for a message that nobody took.
    pub(crate) fn nobody_code(&self) -> u32 {
        match self {
            Framing::Nats(_) | Framing::Memory(_) => codes::NOBODY,
        }
    }

    /// Whether the server would know a second copy of this message, and not store it.
    pub(crate) fn knows_copies(&self, slot: &Slot) -> bool {
        match self {
            Framing::Nats(_) | Framing::Memory(_) => slot.has_msg_id(),
        }
    }

    /// Whether the message asks for something under this name, which is not its topic. Denied, the name stands for the whole message.
    pub(crate) fn asks_under(&self, slot: &Slot, name: &str) -> bool {
        match self {
            Framing::Nats(_) => Encoder::asks_under(slot, name),
            Framing::Memory(_) => false,
        }
    }
}
