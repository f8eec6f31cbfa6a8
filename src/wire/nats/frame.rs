//! Frames: one message as the bytes that travel, encoded once by the publishing thread into its slot.
//!
//! `HPUB <topic> <inbox><token> <headers> <total>\r\nNATS/1.0\r\nNats-Msg-Id: …\r\n\r\n<payload>\r\n`. The token and the automatic Msg-Id have fixed widths: the id is
//! patched in when the message gets its place in line, a resend is the same frame with another attempt in its token.

use crate::config::MsgIdMode;
use crate::error::{Error, Result, Status};
use crate::ledger::{ID_MASK, Slot, Span};
use crate::message::Message;
use crate::wire::Token;

/// The server's MAX_CONTROL_LINE_SIZE (nats-server `server/const.go`).
pub(crate) const MAX_CONTROL_LINE: usize = 4096;
/// Slot 5 digits, id 8, attempt 2.
pub(crate) const TOKEN_LEN: usize = 15;
/// How many of an encoder's random bytes make its inbox.
pub(crate) const INBOX_RANDOM: usize = 16;
const SLOT_DIGITS: usize = 5;
const ID_DIGITS: usize = 8;
const ATTEMPT_DIGITS: usize = 2;
/// Larger than any slot's number: tokens of questions to the server.
pub(crate) const FIRST_ASK: u32 = (1 << 30) - (1 << 16);

const VERSION: &[u8] = b"NATS/1.0\r\n";
const MSG_ID: &[u8] = b"Nats-Msg-Id: ";

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut i = 0;
    while i < 64 {
        values[DIGITS[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// Writes the lowest digits of a number, lowest first.
fn write_digits<const N: usize>(into: &mut [u8; N], mut value: u64) {
    for digit in into {
        *digit = DIGITS[(value & 63) as usize];
        value >>= 6;
    }
}

/// Every reply has 15 of them: one look-up for each, and one branch at the end.
fn read_digits<const N: usize>(from: &[u8; N]) -> Option<u64> {
    let mut value = 0;
    let mut seen = 0;
    for (i, &digit) in from.iter().enumerate() {
        let digit = VALUES[digit as usize];
        seen |= digit;
        value |= u64::from(digit & 63) << (6 * i);
    }
    (seen < 64).then_some(value)
}

/// The token of an attempt.
pub(crate) fn write_token(into: &mut [u8], token: Token) {
    let Some((slot, rest)) = into.split_first_chunk_mut::<SLOT_DIGITS>() else { return };
    let Some((id, rest)) = rest.split_first_chunk_mut::<ID_DIGITS>() else { return };
    let Some(attempt) = rest.first_chunk_mut::<ATTEMPT_DIGITS>() else { return };
    write_digits(slot, u64::from(token.slot));
    write_digits(id, token.id & ID_MASK);
    write_digits(attempt, u64::from(token.attempt));
}

/// Reads a token; `None` if it is not one.
pub(crate) fn read_token(from: &[u8]) -> Option<Token> {
    let (slot, rest) = from.split_first_chunk::<SLOT_DIGITS>()?;
    let (id, rest) = rest.split_first_chunk::<ID_DIGITS>()?;
    let attempt: &[u8; ATTEMPT_DIGITS] = rest.try_into().ok()?;
    Some(Token { slot: read_digits(slot)? as u32, id: read_digits(id)?, attempt: read_digits(attempt)? as u16 })
}

/// What every frame of a publisher has in common.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// `_INBOX.<22 digits>.`: acks of an older connection still reach us, those of another publisher never do.
    inbox: Box<[u8]>,
    /// 96 random bits, which make automatic Msg-Ids unique among publishers.
    id_prefix: [u8; 16],
    msg_id: MsgIdMode,
    /// ` <inbox><token> `: what stands between a topic and its lengths.
    reply: Box<[u8]>,
    usual: Usual,
}

/// What frames have in common whose only header is an automatic Msg-Id: nearly all, so they are written in few pieces.
#[derive(Debug)]
struct Usual {
    /// The length of the headers.
    headers: usize,
    /// The reply and that length.
    reply: Box<[u8]>,
    /// From the end of the control line to the payload.
    block: Box<[u8]>,
    /// Where in it the Msg-Id begins.
    msg_id: usize,
}

impl Usual {
    fn new(reply: &[u8], id_prefix: &[u8]) -> Self {
        let before = [b"\r\n", VERSION, MSG_ID].concat();
        let block = [&before, id_prefix, &[b'0'; ID_DIGITS], b"\r\n\r\n"].concat();
        let headers = block.len() - 2;
        Usual { headers, reply: [reply, headers.to_string().as_bytes(), b" "].concat().into(), msg_id: before.len(), block: block.into() }
    }
}

/// The lengths of a frame, known before it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    headers: usize,
    body: usize,
    pub(crate) frame: usize,
    auto_id: bool,
}

impl Plan {
    /// Headers and payload, as servers count them.
    pub(crate) fn body(&self) -> usize {
        self.body
    }
}

fn decimal_len(value: usize) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn push_decimal(into: &mut Vec<u8>, value: usize) {
    into.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn header_len(name: &str, value_len: usize) -> usize {
    name.len() + 2 + value_len + 2
}

/// The headers that have fields of their own, with their values as text.
fn own_headers(message: &Message<'_>, mut header: impl FnMut(&str, &str)) {
    let mut number = itoa::Buffer::new();
    if let Some(stream) = message.expected_stream {
        header("Nats-Expected-Stream", stream);
    }
    if let Some(id) = message.expected_last_msg_id {
        header("Nats-Expected-Last-Msg-Id", id);
    }
    if let Some(seq) = message.expected_last_seq {
        header("Nats-Expected-Last-Sequence", number.format(seq));
    }
    if let Some(seq) = message.expected_last_subject_seq {
        header("Nats-Expected-Last-Subject-Sequence", number.format(seq));
    }
    if let Some(ttl) = message.ttl {
        header("Nats-TTL", number.format(ttl.as_secs()));
    }
}

impl Encoder {
    /// `random` is 32 bytes of randomness.
    pub(crate) fn new(inbox_prefix: &str, msg_id: MsgIdMode, random: &[u8; 32]) -> Self {
        let mut inbox = Vec::with_capacity(inbox_prefix.len() + 24);
        inbox.extend_from_slice(inbox_prefix.as_bytes());
        inbox.push(b'.');
        let (for_inbox, for_id) = random.split_at(INBOX_RANDOM);
        inbox.extend(for_inbox.iter().map(|byte| DIGITS[(byte & 63) as usize]));
        inbox.push(b'.');
        let mut id_prefix = [0; 16];
        for (digit, byte) in id_prefix.iter_mut().zip(for_id) {
            *digit = DIGITS[(byte & 63) as usize];
        }
        let reply = [b" ", &*inbox, &[b'0'; TOKEN_LEN], b" "].concat();
        Encoder { usual: Usual::new(&reply, &id_prefix), reply: reply.into(), inbox: inbox.into(), id_prefix, msg_id }
    }

    pub(crate) fn inbox(&self) -> &[u8] {
        &self.inbox
    }

    /// Plans the frame. Refuses what no server would take.
    pub(crate) fn plan(&self, message: &Message<'_>, ephemeral: bool) -> Result<Plan> {
        if message.msg_id.is_some() && self.msg_id == MsgIdMode::None {
            return Err(Error::new(Status::InvalidArgument, "the message has a msg_id, and the option msg_id is none; set it to caller or auto"));
        }
        let auto_id = !ephemeral && message.msg_id.is_none() && self.msg_id == MsgIdMode::Auto;
        let mut headers = 0;
        if auto_id {
            headers += MSG_ID.len() + self.id_prefix.len() + ID_DIGITS + 2;
        }
        if let Some(id) = message.msg_id {
            headers += MSG_ID.len() + id.len() + 2;
        }
        for (name, value) in message.headers {
            headers += header_len(name, value.len());
        }
        own_headers(message, |name, value| headers += header_len(name, value.len()));
        if headers > 0 {
            headers += VERSION.len() + 2;
        }
        let body = headers + message.payload.len();
        let reply = if ephemeral { 0 } else { self.inbox.len() + TOKEN_LEN + 1 };
        let line = if headers > 0 {
            "HPUB ".len() + message.topic.len() + 1 + reply + decimal_len(headers) + 1 + decimal_len(body) + 2
        } else {
            "PUB ".len() + message.topic.len() + 1 + reply + decimal_len(body) + 2
        };
        if line > MAX_CONTROL_LINE {
            return Err(Error::new(
                Status::InvalidTopic,
                format!("the topic has {} bytes; with its reply it makes a control line of {line}, and servers take {MAX_CONTROL_LINE}", message.topic.len()),
            ));
        }
        if body > (1 << 30) {
            return Err(Error::new(Status::TooLarge, format!("headers and payload have {body} bytes; 1 GiB is the most that fits into a message")));
        }
        Ok(Plan { headers, body, frame: line + body + 2, auto_id })
    }

    /// Writes the frame into the slot, with room for the id.
    pub(crate) fn encode(&self, slot: &mut Slot, message: &Message<'_>, plan: Plan, ephemeral: bool) {
        let frame = slot.frame.make_mut();
        frame.clear();
        frame.reserve(plan.frame);
        frame.extend_from_slice(if plan.headers > 0 { b"HPUB " } else { b"PUB " });
        slot.topic = push_span(frame, message.topic.as_bytes());
        slot.token = if ephemeral { 0 } else { (frame.len() + 1 + self.inbox.len()) as u32 };
        if plan.auto_id && plan.headers == self.usual.headers {
            frame.extend_from_slice(&self.usual.reply);
            push_decimal(frame, plan.body);
            slot.msg_id = Span { start: (frame.len() + self.usual.msg_id) as u32, len: (self.id_prefix.len() + ID_DIGITS) as u32 };
            slot.auto_id = slot.msg_id.start + self.id_prefix.len() as u32;
            frame.extend_from_slice(&self.usual.block);
        } else {
            frame.extend_from_slice(if ephemeral { b" " } else { &self.reply });
            self.push_headers(slot, message, plan);
        }
        let frame = slot.frame.make_mut();
        slot.payload = push_span(frame, message.payload);
        frame.extend_from_slice(b"\r\n");
        debug_assert_eq!(frame.len(), plan.frame);
        slot.body = plan.body as u32;
    }

    /// Writes the lengths and the headers.
    fn push_headers(&self, slot: &mut Slot, message: &Message<'_>, plan: Plan) {
        let frame = slot.frame.make_mut();
        if plan.headers > 0 {
            push_decimal(frame, plan.headers);
            frame.push(b' ');
        }
        push_decimal(frame, plan.body);
        frame.extend_from_slice(b"\r\n");
        slot.auto_id = 0;
        slot.msg_id = Span::default();
        if plan.headers > 0 {
            frame.extend_from_slice(VERSION);
            if plan.auto_id {
                frame.extend_from_slice(MSG_ID);
                slot.msg_id = push_span(frame, &self.id_prefix);
                slot.auto_id = frame.len() as u32;
                frame.extend_from_slice(&[b'0'; ID_DIGITS]);
                slot.msg_id.len += ID_DIGITS as u32;
                frame.extend_from_slice(b"\r\n");
            }
            if let Some(id) = message.msg_id {
                frame.extend_from_slice(MSG_ID);
                slot.msg_id = push_span(frame, id.as_bytes());
                frame.extend_from_slice(b"\r\n");
            }
            for (name, value) in message.headers {
                push_header(frame, name, value);
            }
            own_headers(message, |name, value| push_header(frame, name, value));
            frame.extend_from_slice(b"\r\n");
        }
    }

    /// Writes the id that the message got into its frame.
    pub(crate) fn stamp(slot: &mut Slot) {
        let (at, auto, id, index) = (slot.token as usize, slot.auto_id as usize, slot.id, slot.index);
        let frame = slot.frame.make_mut();
        if at > 0
            && let Some(token) = frame.get_mut(at..at + TOKEN_LEN)
        {
            write_token(token, Token { slot: index, id, attempt: 1 });
        }
        if auto > 0
            && let Some(digits) = frame.get_mut(auto..).and_then(<[u8]>::first_chunk_mut::<ID_DIGITS>)
        {
            write_digits(digits, id & ID_MASK);
        }
    }

    /// Names another attempt in the token.
    pub(crate) fn restamp(slot: &mut Slot) {
        let (at, attempt) = (slot.token as usize, slot.attempt);
        if at == 0 {
            return;
        }
        let at = at + SLOT_DIGITS + ID_DIGITS;
        if let Some(digits) = slot.frame.make_mut().get_mut(at..).and_then(<[u8]>::first_chunk_mut::<ATTEMPT_DIGITS>) {
            write_digits(digits, u64::from(attempt));
        }
    }
}

fn push_span(frame: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let span = Span { start: frame.len() as u32, len: bytes.len() as u32 };
    frame.extend_from_slice(bytes);
    span
}

fn push_header(frame: &mut Vec<u8>, name: &str, value: &str) {
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(b": ");
    frame.extend_from_slice(value.as_bytes());
    frame.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn encoder(mode: MsgIdMode) -> Encoder {
        Encoder::new("_INBOX", mode, &[7; 32])
    }

    fn encode(mode: MsgIdMode, message: &Message<'_>, ephemeral: bool) -> (Slot, String) {
        let encoder = encoder(mode);
        let plan = encoder.plan(message, ephemeral).unwrap();
        let mut slot = Slot::new(300);
        encoder.encode(&mut slot, message, plan, ephemeral);
        slot.id = 64;
        Encoder::stamp(&mut slot);
        let text = String::from_utf8(slot.frame.bytes().to_vec()).unwrap();
        assert_eq!(text.len(), plan.frame);
        (slot, text)
    }

    #[test]
    fn the_usual_message() {
        let (slot, text) = encode(MsgIdMode::Auto, &Message::new("orders.new", b"hello"), false);
        assert_eq!(text, "HPUB orders.new _INBOX.7777777777777777.i40000100000010 51 56\r\nNATS/1.0\r\nNats-Msg-Id: 777777777777777701000000\r\n\r\nhello\r\n");
        assert_eq!((slot.topic(), slot.payload()), ("orders.new", &b"hello"[..]));
        assert_eq!(slot.msg_id.of(slot.frame.bytes()), b"777777777777777701000000");
    }

    #[test]
    fn an_automatic_id_among_other_headers() {
        let message = Message { headers: &[("A", "1")], ..Message::new("t", b"p") };
        let (slot, text) = encode(MsgIdMode::Auto, &message, false);
        assert_eq!(text, "HPUB t _INBOX.7777777777777777.i40000100000010 57 58\r\nNATS/1.0\r\nNats-Msg-Id: 777777777777777701000000\r\nA: 1\r\n\r\np\r\n");
        assert_eq!(slot.msg_id.of(slot.frame.bytes()), b"777777777777777701000000");
    }

    #[test]
    fn without_headers_and_ephemeral() {
        let (_, text) = encode(MsgIdMode::None, &Message::new("a", b""), false);
        assert_eq!(text, "PUB a _INBOX.7777777777777777.i40000100000010 0\r\n\r\n");
        let (slot, text) = encode(MsgIdMode::Auto, &Message::new("a", b"x"), true);
        assert_eq!((text.as_str(), slot.token), ("PUB a 1\r\nx\r\n", 0));
    }

    #[test]
    fn every_header() {
        let headers = [("A", "1"), ("B", "")];
        let message = Message {
            headers: &headers,
            msg_id: Some("mine"),
            expected_stream: Some("S"),
            expected_last_msg_id: Some("L"),
            expected_last_seq: Some(0),
            expected_last_subject_seq: Some(9),
            ttl: Some(Duration::from_secs(60)),
            ..Message::new("t", b"p")
        };
        let (_, text) = encode(MsgIdMode::Auto, &message, false);
        let (line, rest) = text.split_once("\r\n").unwrap();
        let block = &rest[..rest.len() - 3];
        assert_eq!(
            block,
            "NATS/1.0\r\nNats-Msg-Id: mine\r\nA: 1\r\nB: \r\nNats-Expected-Stream: S\r\nNats-Expected-Last-Msg-Id: L\r\nNats-Expected-Last-Sequence: 0\r\nNats-Expected-Last-Subject-Sequence: 9\r\nNats-TTL: 60\r\n\r\n"
        );
        assert!(line.ends_with(&format!(" {} {}", block.len(), block.len() + 1)));
    }

    #[test]
    fn tokens_round_trip_and_strangers_do_not() {
        for token in [Token { slot: 0, id: 1, attempt: 1 }, Token { slot: (1 << 30) - 1, id: ID_MASK, attempt: 4095 }] {
            let mut text = [0; TOKEN_LEN];
            write_token(&mut text, token);
            assert_eq!(read_token(&text), Some(token));
            text[3] = b'.';
            assert_eq!(read_token(&text), None);
        }
        assert_eq!(read_token(b"short"), None);
    }

    #[test]
    fn a_resend_is_the_same_frame_with_another_attempt() {
        let (mut slot, before) = encode(MsgIdMode::Auto, &Message::new("a.b", b"xyz"), false);
        slot.attempt = 65;
        Encoder::restamp(&mut slot);
        let after = String::from_utf8(slot.frame.bytes().to_vec()).unwrap();
        let differ: Vec<_> = before.bytes().zip(after.bytes()).enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
        assert_eq!(differ, [slot.token as usize + 14]);
        slot.terminate();
        assert_eq!(slot.frame.bytes()[slot.topic.len as usize + 5], 0);
    }

    #[test]
    fn the_inbox_has_96_random_bits_that_no_message_id_tells() {
        let made = |random: &[u8; 32]| {
            let encoder = Encoder::new("_INBOX", MsgIdMode::Auto, random);
            (encoder.inbox, encoder.id_prefix)
        };
        let (inbox, id_prefix) = made(&[0; 32]);
        for byte in 0..32 {
            for bit in 0..6 {
                let mut random = [0; 32];
                random[byte] = 1 << bit;
                let (other_inbox, other_prefix) = made(&random);
                assert_eq!((other_inbox != inbox, other_prefix != id_prefix), (byte < 16, byte >= 16), "bit {bit} of byte {byte}");
            }
        }
    }

    #[test]
    fn control_line_limit() {
        let topic = "t".repeat(4090);
        assert_eq!(encoder(MsgIdMode::Auto).plan(&Message::new(&topic, b""), false).unwrap_err().status(), Status::InvalidTopic);
    }
}
