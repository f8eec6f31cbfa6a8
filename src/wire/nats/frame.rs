//! Frames: one message as the bytes that travel.
//!
//! `HPUB <topic> <inbox><token> <headers> <total>\r\nNATS/1.0\r\nNats-Msg-Id: …\r\n\r\n<payload>\r\n`. The publishing thread plans the frame and puts the message's own
//! parts into the slot; the I/O thread writes the frame around them for each attempt, straight into the outbox. A resend differs in its token alone. Rejected: frames
//! that are written once and kept. They are twice as long as a short message, so twice the memory for each pending one, and twice the bytes that another core fetches.

use super::version;
use crate::base::error::{Error, Result, Status};
use crate::config::settings::MsgIdMode;
use crate::ledger::content::{self, Content, Parts};
use crate::ledger::slot::Slot;
use crate::message::{Message, trace_context};
use crate::wire::msg_id::{self, MsgIds, digit};
use crate::wire::plan::{self, Plan};
use crate::wire::{ID_MASK, Token, attempt_in_token};

/// The server's MAX_CONTROL_LINE_SIZE (nats-server `server/const.go`).
pub(crate) const MAX_CONTROL_LINE: usize = 4096;
/// Id 8 digits, slot and attempt 7.
pub(crate) const TOKEN_LEN: usize = 15;
const SLOT_BITS: u32 = 30;
/// How many of an encoder's random bytes make its inbox.
pub(crate) const INBOX_RANDOM: usize = 16;
/// Larger than any slot's number: tokens of questions to the server.
pub(crate) const FIRST_ASK: u32 = (1 << SLOT_BITS) - (1 << 16);

const VERSION: &[u8] = b"NATS/1.0\r\n";
const MSG_ID: &[u8] = b"Nats-Msg-Id: ";
/// Where the server sends what it traces of the message.
const TRACE_DEST: &[u8] = b"Nats-Trace-Dest";

/// Eight bytes, each the same.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The first of the 64 characters that tokens are written in, `?` to `~`: they follow each other, so eight are made or read at once by adding; none of them
/// means anything to a server within a subject.
const FIRST: u64 = eight(b'?');

/// 48 bits as eight characters of six bits, the lowest first.
fn spread(value: u64) -> [u8; 8] {
    let x = (value & 0xff_ffff) | (value & 0xffff_ff00_0000) << 8;
    let x = (x & 0xfff_0000_0fff) | (x & 0xff_f000_00ff_f000) << 4;
    let x = (x & 0x3f_003f_003f_003f) | (x & 0xfc0_0fc0_0fc0_0fc0) << 2;
    (x + FIRST).to_le_bytes()
}

/// Reads what [`spread`] wrote; `None` if there is any other character.
fn gather(digits: [u8; 8]) -> Option<u64> {
    let x = u64::from_le_bytes(digits);
    // From `?` on the top bit of the sum is set, and up to `~` the next one is not. Bytes above 127 could carry into their neighbours.
    let sum = (x & eight(0x7f)).wrapping_add(eight(0x80 - b'?'));
    if x & eight(0x80) != 0 || sum & eight(0xc0) != eight(0x80) {
        return None;
    }
    let x = sum & eight(0x3f);
    let x = (x & 0x3f_003f_003f_003f) | (x >> 2 & 0xfc0_0fc0_0fc0_0fc0);
    let x = (x & 0xfff_0000_0fff) | (x >> 4 & 0xff_f000_00ff_f000);
    Some((x & 0xff_ffff) | (x >> 8 & 0xffff_ff00_0000))
}

/// The token of an attempt.
pub(crate) fn write_token(into: &mut [u8], token: Token) {
    let Some((id, rest)) = into.split_first_chunk_mut::<8>() else { return };
    *id = spread(token.id & ID_MASK);
    // Seven digits: 30 bits of the slot, 12 of the attempt.
    let digits = spread(u64::from(token.slot) | u64::from(token.attempt) << SLOT_BITS);
    if let (Some(into), Some(digits)) = (rest.first_chunk_mut::<7>(), digits.first_chunk::<7>()) {
        *into = *digits;
    }
}

/// Reads a token; `None` if it is not one.
#[inline]
pub(crate) fn read_token(from: &[u8]) -> Option<Token> {
    let (id, rest) = from.split_first_chunk::<8>()?;
    let rest: &[u8; 7] = rest.try_into().ok()?;
    let mut digits = [FIRST as u8; 8];
    digits[..7].copy_from_slice(rest);
    let rest = gather(digits)?;
    Some(Token { slot: rest as u32 & ((1 << SLOT_BITS) - 1), id: gather(*id)?, attempt: (rest >> SLOT_BITS) as u16 })
}

/// What the frames of one connection after the other have in common.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// `_INBOX.<22 digits>.`: acks of an older connection still reach us, those of another publisher never do.
    inbox: Box<[u8]>,
    ids: MsgIds,
    /// ` <inbox><token> `: what stands between a topic and its lengths.
    reply: Box<[u8]>,
    usual: Usual,
}

/// What frames have in common whose only header is an automatic Msg-Id: nearly all, so they are written in few pieces.
#[derive(Debug)]
struct Usual {
    /// The reply and the length of the headers.
    reply: Box<[u8]>,
    /// From the end of the control line to the payload.
    block: [u8; USUAL_BLOCK],
}

/// Where in it the message's number stands.
const NUMBER_AT: usize = 2 + VERSION.len() + MSG_ID.len() + msg_id::LEN - msg_id::NUMBER;
const USUAL_BLOCK: usize = NUMBER_AT + msg_id::NUMBER + 4;
/// The length of the headers, from behind the control line.
const USUAL_HEADERS: usize = USUAL_BLOCK - 2;

impl Usual {
    fn new(reply: &[u8], auto_id: &[u8; msg_id::LEN]) -> Self {
        let mut block = [0; USUAL_BLOCK];
        for (place, byte) in block.iter_mut().zip([b"\r\n", VERSION, MSG_ID, auto_id, b"\r\n\r\n"].concat()) {
            *place = byte;
        }
        Usual { reply: [reply, USUAL_HEADERS.to_string().as_bytes(), b" "].concat().into(), block }
    }
}

fn decimal_len(value: usize) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn push_decimal(into: &mut Vec<u8>, value: usize) {
    into.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `: ` and a line end. A header takes as many bytes in the slot, so that one sum counts both.
const AROUND_HEADER: usize = 4;
const _: () = assert!(AROUND_HEADER == content::LENGTHS);

fn header_len(name: &str, value: &str) -> usize {
    name.len() + value.len() + AROUND_HEADER
}

/// The length of the header block: none without a header.
fn block_len(msg_id: usize, own: usize) -> usize {
    let msg_id = if msg_id > 0 { MSG_ID.len() + msg_id + 2 } else { 0 };
    if msg_id + own > 0 { VERSION.len() + msg_id + own + 2 } else { 0 }
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
    trace_context::headers(message.traceparent, message.tracestate, header);
}

impl Encoder {
    /// `random` is 32 bytes of randomness.
    pub(crate) fn new(inbox_prefix: &str, msg_id: MsgIdMode, random: &[u8; 32]) -> Self {
        let mut inbox = Vec::with_capacity(inbox_prefix.len() + 24);
        inbox.extend_from_slice(inbox_prefix.as_bytes());
        inbox.push(b'.');
        let (for_inbox, for_id) = random.split_at(INBOX_RANDOM);
        inbox.extend(for_inbox.iter().map(|byte| digit(*byte)));
        inbox.push(b'.');
        let ids = MsgIds::new(msg_id, for_id);
        let reply = [b" ", &*inbox, &[b'0'; TOKEN_LEN], b" "].concat();
        Encoder { usual: Usual::new(&reply, ids.automatic()), reply: reply.into(), inbox: inbox.into(), ids }
    }

    pub(crate) fn inbox(&self) -> &[u8] {
        &self.inbox
    }

    /// Plans the frame. Refuses what no server would take.
    pub(crate) fn plan(&self, message: &Message<'_>, ephemeral: bool) -> Result<Plan> {
        let auto_id = self.ids.is_automatic(message, ephemeral)?;
        let mut own = 0;
        for (name, value) in message.headers {
            own += header_len(name, value);
        }
        own_headers(message, |name, value| own += header_len(name, value));
        let headers = block_len(if auto_id { msg_id::LEN } else { message.msg_id.map_or(0, str::len) }, own);
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
        plan::check_body(body)?;
        Ok(Plan { headers: own as u32, body: body as u32, bytes: (line + body + 2) as u32, auto_id })
    }

    /// Puts the message's parts into the slot.
    pub(crate) fn fill(&self, slot: &mut Slot, message: &Message<'_>, plan: Plan) {
        let msg_id = self.ids.of(message, plan.auto_id);
        let (topic, payload) = (message.topic.as_bytes(), message.payload);
        let headers = plan.headers as usize;
        let extra = plan.body as usize - payload.len() - headers;
        slot.content.fill(&Parts { topic, headers, payload, msg_id, key: b"", extra }, |into| {
            // Nearly always there are none.
            if headers > 0 {
                for (name, value) in message.headers {
                    into.add(name, value);
                }
                own_headers(message, |name, value| into.add(name, value));
            }
        });
        slot.auto_id = plan.auto_id;
        slot.needs = if message.ttl.is_some() { version::TTL } else { 0 };
    }

    /// Whether a header asks for something under this subject. Denied, that subject is the name of the whole message.
    pub(crate) fn asks_under(slot: &Slot, subject: &str) -> bool {
        slot.content.headers().any(|(name, value)| name == TRACE_DEST && value.trim_ascii() == subject.as_bytes())
    }

    /// Writes the frame of the slot's running attempt, up to the payload.
    pub(crate) fn write_head(&self, into: &mut Vec<u8>, slot: &Slot) {
        let content = &slot.content;
        let (headers, body) = content.lengths();
        into.extend_from_slice(if headers > 0 { b"HPUB " } else { b"PUB " });
        into.extend_from_slice(content.topic_bytes());
        let token_at = into.len() + 1 + self.inbox.len();
        if slot.auto_id && headers == USUAL_HEADERS {
            into.extend_from_slice(&self.usual.reply);
            push_decimal(into, body);
            let mut block = self.usual.block;
            if let Some(number) = content.msg_id_bytes().last_chunk::<{ msg_id::NUMBER }>() {
                block[NUMBER_AT..NUMBER_AT + msg_id::NUMBER].copy_from_slice(number);
            }
            into.extend_from_slice(&block);
        } else {
            into.extend_from_slice(if slot.ephemeral { b" " } else { &self.reply });
            if headers > 0 {
                push_decimal(into, headers);
                into.push(b' ');
            }
            push_decimal(into, body);
            into.extend_from_slice(b"\r\n");
            if headers > 0 {
                write_block(into, content);
            }
        }
        if !slot.ephemeral
            && let Some(token) = into.get_mut(token_at..token_at + TOKEN_LEN)
        {
            write_token(token, Token { slot: slot.index, id: slot.id, attempt: attempt_in_token(slot.attempt) });
        }
    }
}

/// The headers of a message that has others than an automatic Msg-Id. A function of its own: the usual message pays nothing for it.
#[inline(never)]
fn write_block(into: &mut Vec<u8>, content: &Content) {
    into.extend_from_slice(VERSION);
    if content.has_msg_id() {
        into.extend_from_slice(MSG_ID);
        into.extend_from_slice(content.msg_id_bytes());
        into.extend_from_slice(b"\r\n");
    }
    for (name, value) in content.headers() {
        into.extend_from_slice(name);
        into.extend_from_slice(b": ");
        into.extend_from_slice(value);
        into.extend_from_slice(b"\r\n");
    }
    into.extend_from_slice(b"\r\n");
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
        encoder.fill(&mut slot, message, plan);
        (slot.id, slot.attempt, slot.ephemeral) = (64, 1, ephemeral);
        msg_id::stamp(&mut slot);
        let text = written(&encoder, &slot);
        assert_eq!(text.len() as u32, plan.bytes);
        (slot, text)
    }

    fn written(encoder: &Encoder, slot: &Slot) -> String {
        let mut bytes = Vec::new();
        encoder.write_head(&mut bytes, slot);
        String::from_utf8([&bytes, slot.payload(), b"\r\n"].concat()).unwrap()
    }

    #[test]
    fn the_usual_message() {
        let (slot, text) = encode(MsgIdMode::Auto, &Message::new("orders.new", b"hello"), false);
        assert_eq!(text, "HPUB orders.new _INBOX.7777777777777777.?@??????kC???@? 51 56\r\nNATS/1.0\r\nNats-Msg-Id: 777777777777777701000000\r\n\r\nhello\r\n");
        assert_eq!((slot.topic(), slot.payload()), ("orders.new", &b"hello"[..]));
        assert_eq!(slot.content.msg_id(), "777777777777777701000000");
    }

    #[test]
    fn an_automatic_id_among_other_headers() {
        let message = Message { headers: &[("A", "1")], ..Message::new("t", b"p") };
        let (slot, text) = encode(MsgIdMode::Auto, &message, false);
        assert_eq!(text, "HPUB t _INBOX.7777777777777777.?@??????kC???@? 57 58\r\nNATS/1.0\r\nNats-Msg-Id: 777777777777777701000000\r\nA: 1\r\n\r\np\r\n");
        assert_eq!(slot.content.msg_id(), "777777777777777701000000");
    }

    #[test]
    fn without_headers_and_ephemeral() {
        let (_, text) = encode(MsgIdMode::None, &Message::new("a", b""), false);
        assert_eq!(text, "PUB a _INBOX.7777777777777777.?@??????kC???@? 0\r\n\r\n");
        let (slot, text) = encode(MsgIdMode::Auto, &Message::new("a", b"x"), true);
        assert_eq!((text.as_str(), slot.has_msg_id()), ("PUB a 1\r\nx\r\n", false));
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
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            tracestate: Some("a=1"),
            ..Message::new("t", b"p")
        };
        let (_, text) = encode(MsgIdMode::Auto, &message, false);
        let (line, rest) = text.split_once("\r\n").unwrap();
        let block = &rest[..rest.len() - 3];
        assert_eq!(
            block,
            "NATS/1.0\r\nNats-Msg-Id: mine\r\nA: 1\r\nB: \r\nNats-Expected-Stream: S\r\nNats-Expected-Last-Msg-Id: L\r\nNats-Expected-Last-Sequence: 0\r\nNats-Expected-Last-Subject-Sequence: 9\r\nNats-TTL: 60\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n\r\n"
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
    fn digits_are_read_as_they_were_written_and_nothing_else_is() {
        for shift in 0..48 {
            for value in [1 << shift, ID_MASK ^ 1 << shift] {
                assert_eq!(gather(spread(value)), Some(value));
            }
        }
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = spread(0);
                digits[place] = byte;
                let expected = (b'?'..=b'~').contains(&byte).then(|| u64::from(byte.wrapping_sub(b'?')) << (6 * place));
                assert_eq!(gather(digits), expected, "{byte} at {place}");
            }
        }
        assert!((b'?'..=b'~').all(|byte| !matches!(byte, b'.' | b'*' | b'>' | b' ')), "a token is one word, and no wildcard");
    }

    #[test]
    fn a_resend_is_the_same_frame_with_another_attempt() {
        let (mut slot, before) = encode(MsgIdMode::Auto, &Message::new("a.b", b"xyz"), false);
        slot.attempt = 65;
        let after = written(&encoder(MsgIdMode::Auto), &slot);
        let differ: Vec<_> = before.bytes().zip(after.bytes()).enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
        assert_eq!(differ, [before.find("kC").unwrap() + 6]);
    }

    #[test]
    fn the_inbox_has_96_random_bits_that_no_message_id_tells() {
        let made = |random: &[u8; 32]| {
            let encoder = Encoder::new("_INBOX", MsgIdMode::Auto, random);
            (encoder.inbox, *encoder.ids.automatic())
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
