//! The seam between the acknowledgement handler and whatever carries messages.
//!
//! Only these words cross it: slot, place, attempt, epoch, mark, verdict, limits, and questions about streams. NATS' own words stay in [`nats`]; [`memory`] is
//! the second implementation that keeps the seam honest and serves users' unit tests. Codes and texts of answers and refusals are the wire's: who gets them hands
//! them on, and compares none.
//!
//! A backend has two halves. Its [`framing`] knows messages, whatever becomes of connections, and works on the publishing thread too. Its [`Wire`] knows
//! connections, and works on the I/O thread alone.

pub(crate) mod codes;
pub(crate) mod framing;
pub(crate) mod memory;
pub(crate) mod msg_id;
pub(crate) mod nats;
pub(crate) mod plan;

use std::collections::HashMap;
use std::time::Duration;

use crate::base::error::Error;
use crate::base::time::Nanos;
use crate::config::topic::Rule;
use crate::ledger::refusal::Refusal;
use crate::ledger::slot::Slot;

/// Ids travel modulo 2^48 in reply tokens.
pub(crate) const ID_MASK: u64 = (1 << 48) - 1;
/// Attempts travel in 12 bits of a reply token: 1 to this, and then again from 1.
pub(crate) const ATTEMPTS: u32 = 4095;

/// How a token names the attempt. An answer that is 4,095 attempts late would be taken for one of now: with pauses of at least some milliseconds between attempts it comes from another time.
#[inline(always)]
pub(crate) fn attempt_in_token(attempt: u32) -> u16 {
    // Nearly always; the remainder costs a message as much as its gate does.
    if attempt <= ATTEMPTS { attempt as u16 } else { ((attempt - 1) % ATTEMPTS + 1) as u16 }
}

/// Which sending of which message a reply belongs to. All three must fit (R2: a slot is reused, a message is sent again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) slot: u32,
    /// The message's id, modulo 2^48.
    pub(crate) id: u64,
    pub(crate) attempt: u16,
}

/// Where a message goes, as far as its wire knows.
#[derive(Debug)]
pub(crate) enum Placed {
    /// It may be admitted. Where it goes is decided, or needs no decision.
    Here,
    /// Its topic's gate closes until this is answered, as at the check of a stream; then it is placed anew.
    #[allow(dead_code, reason = "room for a wire with partitions: NATS and memory need to know nothing")]
    Unknown(Question),
    /// There is no such place: the message ends with this, which no attempt came before.
    #[allow(dead_code, reason = "room for a wire with partitions: NATS and memory have a place for all")]
    Nowhere(Refusal),
}

/// What a carrier says of one attempt.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// Stored by the server's word. `domain` is empty when the ack names none.
    Stored { stream: &'a str, domain: &'a str, seq: u64, duplicate: bool },
    /// Refused, with or without proof that nothing was stored.
    Refused(Refusal),
    /// A reply that is none: foreign, damaged or without a sequence. Counts as silence.
    Alien,
}

/// A question to the server about streams.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// Which stream takes this topic?
    WhoTakes { topic: String },
    /// The same, asked of the server itself that we are connected to, whatever the domain.
    WhoTakesHere { topic: String },
    /// Does this stream exist, and how is it configured? With the rule that names it: does it differ from what the rule would create?
    Describe { stream: String, rule: Option<Box<Rule>> },
    /// Create the stream as the rule says.
    Create { rule: Box<Rule> },
    /// How does this stream fare, and why may it not acknowledge?
    Condition { stream: String },
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub(crate) enum StreamAnswer {
    /// It exists. `duplicate_window` is only known from a description, and so are its `subjects`: empty when they are not told, and of a mirror.
    Exists { name: String, subjects: Vec<String>, duplicate_window: Option<Duration>, differences: Vec<String>, risks: Vec<String> },
    /// How it fares, in words.
    Condition { text: String },
    /// There is none.
    None,
    /// The server refuses for good.
    Refused { server_code: u32, text: String },
    /// The permissions do not allow the question.
    Denied,
    /// There is nobody who has streams at all. `nobody`: the question was not even taken; the words for those who were acknowledged before.
    Disabled { text: String, nobody: Option<&'static str> },
    /// No usable answer now: no leader, or silence.
    Unavailable { text: String },
}

/// What permissions refused of the frames under one mark. It is complete: none of these frames can be refused later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Denials {
    /// So many frames were refused, whatever the server called them.
    pub(crate) total: u32,
    /// What it called them: their topics; or what an account's mappings make of these. An empty name stands for those that have none.
    pub(crate) names: HashMap<Box<str>, Named>,
    /// So many frames under the mark have no answer but a refusal: the ephemeral ones.
    pub(crate) silent: u32,
}

/// The refusals under one name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) count: u32,
    /// So many names came before it.
    pub(crate) place: u32,
    /// The server's words.
    pub(crate) said: Box<str>,
}

/// Why an epoch ended.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) error: Error,
    /// The server ended the connection because of something that we sent.
    pub(crate) violation: Option<Violation>,
}

/// A frame that the server does not bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    Payload,
    /// What stands before headers and payload; the topic is the long part of it.
    Topic,
}

/// What a server allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Headers and payload of one message, in bytes.
    pub(crate) max_payload: u64,
    /// What it cannot do; empty for a new one.
    pub(crate) lacks: Vec<Lack>,
}

impl Limits {
    pub(crate) fn of(max_payload: u64) -> Self {
        Limits { max_payload, lacks: Vec::new() }
    }

    /// What this message asks for and the server lacks.
    pub(crate) fn lack_of(&self, slot: &Slot) -> Option<&'static str> {
        self.lacks.iter().find(|lack| slot.needs & lack.need != 0).map(|lack| lack.what)
    }
}

/// Something that a server cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// The bit that the framing sets in [`Slot::needs`] of a message that asks for it.
    pub(crate) need: u8,
    /// What it is, and what it needs.
    pub(crate) what: &'static str,
}

/// Who answers, as users see it.
#[derive(Clone, Debug)]
pub(crate) struct Peer<'a> {
    /// The server's address, without credentials.
    pub(crate) name: &'a str,
    /// What it is, in front of its version.
    pub(crate) software: &'a str,
    pub(crate) version: &'a str,
    /// The domain of streams that it says it belongs to; empty when it names none.
    pub(crate) domain: &'a str,
    pub(crate) limits: Limits,
}

/// The handler, as a wire sees it. Called only on the I/O thread.
///
/// That the publisher is online and that an epoch lasts are two things: an epoch is one link, and a wire may have several. NATS has one, and says both at once.
pub(crate) trait Receiver {
    /// The publisher is connected, for all that its users see: somebody answers. A second time without an end between: it is another one now.
    fn online(&mut self, peer: Peer<'_>);
    /// Nobody answers any more. Before the epochs end that end with it.
    fn offline(&mut self, error: &Error);
    /// A new epoch began: attempts in it may follow. Before `online`, if it is the first one.
    fn connected(&mut self, epoch: u32);
    /// The limits changed while the publisher is online.
    fn limits(&mut self, limits: Limits);
    /// An epoch ended: what it had taken and not answered is unknown.
    fn lost(&mut self, epoch: u32, loss: &Loss);
    /// The last byte of the frame left: the attempt begins.
    fn begun(&mut self, slot: u32, id: u64, epoch: u32);
    /// A reply.
    fn verdict(&mut self, token: Token, verdict: Verdict<'_>);
    /// Everything up to and including `mark` was read by the server.
    fn fenced(&mut self, epoch: u32, mark: u64);
    /// Permissions refused some of the messages under `mark`. Told before that mark is [`fenced`](Self::fenced).
    fn denied(&mut self, epoch: u32, mark: u64, denials: Denials);
    /// The answer to question number `ask`.
    fn answer(&mut self, ask: u32, answer: StreamAnswer);
    /// Something happened that operators want to know.
    fn notice(&mut self, notice: Notice);
}

/// Something a wire wants operators to know.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// The server announced its end.
    LameDuck { server: String },
    /// The cluster named servers that were not known.
    Discovered { servers: String },
    /// A permission was refused.
    Denied { topic: String, text: String },
    /// A reply came that belongs to nothing of ours.
    AlienReply,
}

/// A carrier of messages. Owns its protocol, not its sockets.
pub(crate) trait Wire {
    /// Who sees that an attempt got no answer. False: the handler does, `ack_wait` after the attempt began, and sends it again behind a fence. True: the wire
    /// does, which knows what the answer waits for; it ends the epoch, and the handler watches the delivery deadline alone.
    const WATCHES_SILENCE: bool;
    /// Chooses where the message goes, before it is admitted. Asked again whenever it comes to be admitted again.
    fn place(&mut self, slot: &mut Slot) -> Placed;
    /// Whether frames may be staged at all: connected, and not saying goodbye.
    fn is_ready(&self) -> bool;
    /// Whether there is room for one more frame.
    fn has_room(&self) -> bool;
    /// Takes the slot's frame for sending, in order. The slot's attempt number is set; the wire sets its epoch, and the mark of the fence that will prove it was read.
    fn stage(&mut self, slot: &mut Slot);
    /// Makes sure that a fence follows everything staged so far.
    fn fence(&mut self);
    /// Puts a fence here: what is staged next is under another mark than what was staged before.
    fn part(&mut self);
    /// Sends a question, under a mark of its own.
    fn ask(&mut self, ask: u32, question: &Question);
    /// Ends the connection of this epoch.
    fn give_up(&mut self, epoch: u32, why: &str, receiver: &mut impl Receiver);
    /// Time passes: keep-alives and fences. Returns when it wants to be called next.
    fn tick(&mut self, now: Nanos, in_flight: bool, receiver: &mut impl Receiver) -> Nanos;
}
