//! Msg-Ids: which one a message has. Automatic ones are the same on every wire, since users see them in reports: 16 digits that are the publisher's, and the
//! message's number in 8.

use crate::base::error::{Error, Result, Status};
use crate::config::settings::MsgIdMode;
use crate::ledger::slot::Slot;
use crate::message::Message;

/// Digits of a message's number.
pub(crate) const NUMBER: usize = 8;
/// Digits of the publisher.
pub(crate) const PREFIX: usize = 16;
pub(crate) const LEN: usize = PREFIX + NUMBER;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// A random digit: six bits of the byte.
pub(crate) fn digit(random: u8) -> u8 {
    DIGITS[(random & 63) as usize]
}

/// The Msg-Ids of one publisher.
#[derive(Debug)]
pub(crate) struct MsgIds {
    mode: MsgIdMode,
    /// An automatic one: 96 random bits, which make it unique among publishers, and room for the message's number.
    automatic: [u8; LEN],
}

impl MsgIds {
    /// `random` is 16 bytes of randomness.
    pub(crate) fn new(mode: MsgIdMode, random: &[u8]) -> Self {
        let mut automatic = [b'0'; LEN];
        for (place, byte) in automatic.iter_mut().zip(random) {
            *place = digit(*byte);
        }
        MsgIds { mode, automatic }
    }

    /// Whether the message gets an automatic one.
    #[inline]
    pub(crate) fn is_automatic(&self, message: &Message<'_>, ephemeral: bool) -> Result<bool> {
        match message.msg_id {
            None => Ok(self.mode == MsgIdMode::Auto && !ephemeral),
            Some(_) if self.mode == MsgIdMode::None => Err(unwanted()),
            Some(_) => Ok(false),
        }
    }

    /// The message's, an automatic one without its number; empty if it has none.
    #[inline]
    pub(crate) fn of<'a>(&'a self, message: &Message<'a>, automatic: bool) -> &'a [u8] {
        if automatic { &self.automatic } else { message.msg_id.unwrap_or_default().as_bytes() }
    }

    /// An automatic one without its number.
    pub(crate) fn automatic(&self) -> &[u8; LEN] {
        &self.automatic
    }
}

#[cold]
fn unwanted() -> Error {
    Error::new(Status::InvalidArgument, "the message has a msg_id, and the option msg_id is none; set it to caller or auto")
}

/// Writes the message's number into its Msg-Id, if that is an automatic one.
#[inline]
pub(crate) fn stamp(slot: &mut Slot) {
    let number = slot.id;
    if slot.auto_id
        && let Some(digits) = slot.content.msg_id_end::<NUMBER>()
    {
        write_number(digits, number);
    }
}

/// Lowest digit first.
fn write_number(into: &mut [u8; NUMBER], mut value: u64) {
    for digit in into {
        *digit = DIGITS[(value & 63) as usize];
        value >>= 6;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_id_is_random_digits_and_the_number_lowest_digit_first() {
        let ids = MsgIds::new(MsgIdMode::Auto, &[7; 16]);
        let mut id = *ids.automatic();
        write_number(id.last_chunk_mut().unwrap(), 64 * 64 + 1);
        assert_eq!(&id, b"777777777777777710100000");
    }

    #[test]
    fn who_gets_one() {
        let (with, without) = (Message { msg_id: Some("own"), ..Message::new("t", b"") }, Message::new("t", b""));
        for (mode, given, none) in [(MsgIdMode::Auto, &b"own"[..], LEN), (MsgIdMode::Caller, b"own", 0)] {
            let ids = MsgIds::new(mode, &[7; 16]);
            let of = |message: &Message<'_>, ephemeral| ids.of(message, ids.is_automatic(message, ephemeral).unwrap()).to_vec();
            assert_eq!((of(&with, false), of(&without, false).len(), of(&without, true).len()), (given.to_vec(), none, 0));
        }
        let ids = MsgIds::new(MsgIdMode::None, &[7; 16]);
        assert!(ids.is_automatic(&with, false).is_err() && !ids.is_automatic(&without, false).unwrap());
    }
}
