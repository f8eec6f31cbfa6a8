//! Acks: the reply to one publish, parsed in place.

use std::borrow::Cow;

use super::{codes, json};
use crate::base::error::Status;
use crate::base::names::is_stream_name;
use crate::ledger::refusal::{Refusal, Retry, Trouble};
use crate::wire::Verdict;
use crate::wire::codes::NOBODY;

/// The longest domain that is kept: as long as a stream's name may be.
const MOST_DOMAIN: usize = 255;

/// Reads the acks of one connection. Most publishers have one stream: the first ack tells how nearly all others begin.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// `{"stream":"S","seq":`, as this server prints it
    opening: Box<[u8]>,
    stream: Box<str>,
    domain: Box<str>,
    /// The names of an ack that had to be read in full.
    last: (String, String),
}

impl Acks {
    /// The body of a reply without headers.
    #[inline(always)]
    pub(crate) fn parse<'a>(&'a mut self, body: &'a [u8]) -> Verdict<'a> {
        // Without an opening, what looks like the end of an ack would be one.
        if self.opening.is_empty() && !self.learn(body) {
            return self.parse_another(body);
        }
        match body.strip_prefix(&*self.opening).and_then(parse_end) {
            Some((seq, duplicate)) => Verdict::Stored { stream: &self.stream, domain: &self.domain, seq, duplicate },
            None => self.parse_another(body),
        }
    }

    fn learn(&mut self, body: &[u8]) -> bool {
        let Some(ack) = parse_template(body) else { return false };
        self.opening = ack.opening.into();
        self.stream = ack.stream.into();
        self.domain = ack.domain.into();
        true
    }

    /// What does not begin as the first ack did.
    #[inline(never)]
    fn parse_another<'a>(&'a mut self, body: &'a [u8]) -> Verdict<'a> {
        match parse_template(body) {
            Some(Template { stream: Cow::Borrowed(stream), domain: Cow::Borrowed(domain), seq, duplicate, .. }) => {
                Verdict::Stored { stream, domain, seq, duplicate }
            }
            _ => self.parse_json(body),
        }
    }

    fn parse_json(&mut self, body: &[u8]) -> Verdict<'_> {
        // As text: what is ignored is not looked at, and a reply that was damaged there may be damaged elsewhere.
        let Ok(text) = std::str::from_utf8(body) else { return Verdict::Alien };
        let plain;
        let reply = match Reply::read(text) {
            Some(reply) => reply,
            None => {
                let Some(json) = json::from_go(text) else { return Verdict::Alien };
                plain = json;
                let Some(reply) = Reply::read(&plain) else { return Verdict::Alien };
                reply
            }
        };
        // A name that no stream can have is none: whoever sends it would have it kept, and shown.
        let stream = reply.stream.and_then(json::string).filter(|stream| is_stream_name(stream));
        if let Some(error) = reply.error {
            // An error without a number is nobody's answer to a publish.
            return if error.is_none() { Verdict::Alien } else { error.verdict(stream.as_deref()) };
        }
        let duplicate = reply.duplicate.is_some_and(json::is_true);
        match (reply.seq.and_then(json::number::<u64>), stream) {
            // The server answers with `seq` 0 when the first copy of this id is not committed yet (2.10): an ack of nothing.
            (None | Some(0), stream) if duplicate && reply.seq.is_none_or(|seq| seq == "0") => Verdict::Refused(Refusal {
                status: Status::Unavailable,
                definite: false,
                retry: Retry::Backoff,
                server_code: 0,
                stream: stream.map(Into::into),
                text: "the server is still storing the first copy of this Msg-Id".into(),
            }),
            (Some(seq @ 1..), Some(stream)) => {
                let domain = reply.domain.and_then(json::string).filter(|domain| is_domain(domain)).unwrap_or_default();
                let last = &mut self.last;
                stream.as_ref().clone_into(&mut last.0);
                domain.as_ref().clone_into(&mut last.1);
                Verdict::Stored { stream: &last.0, domain: &last.1, seq, duplicate }
            }
            _ => Verdict::Alien,
        }
    }

    /// A reply with headers: a status, perhaps with a body.
    pub(crate) fn parse_with_headers<'a>(&'a mut self, headers: &[u8], body: &'a [u8]) -> Verdict<'a> {
        let status = headers.strip_prefix(b"NATS/1.0").map(<[u8]>::trim_ascii_start).and_then(|line| {
            let digits = line.get(..3)?;
            std::str::from_utf8(digits).ok()?.parse::<u32>().ok()
        });
        match status {
            Some(503) if body.is_empty() => Verdict::Refused(Refusal {
                status: Status::NoStream,
                definite: true,
                retry: Retry::Hold(Trouble::NobodyThere),
                server_code: NOBODY,
                stream: None,
                text: "no stream took the message (503 no responders)".into(),
            }),
            // Servers put a body behind it that names the stream (server/stream.go, queueInbound, since 2.11); without one it is anybody's word.
            Some(429) if body.is_empty() => Verdict::Refused(codes::refusal(10167, 429, "too many requests", None)),
            _ if body.is_empty() => Verdict::Alien,
            _ => self.parse(body),
        }
    }
}

/// Whether this is worth keeping as a domain's name, or is the lack of one. A name that is not is no reason to doubt the ack.
pub(super) fn is_domain(name: &str) -> bool {
    name.len() <= MOST_DOMAIN && !name.chars().any(char::is_control)
}

/// What a JetStream reply can say, each as the text of its value. The last one counts when a name comes twice.
#[derive(Default)]
struct Reply<'a> {
    stream: Option<&'a str>,
    domain: Option<&'a str>,
    seq: Option<&'a str>,
    duplicate: Option<&'a str>,
    error: Option<ReplyError<'a>>,
}

#[derive(Default)]
struct ReplyError<'a> {
    code: u32,
    err_code: u32,
    description: Cow<'a, str>,
}

impl<'a> Reply<'a> {
    /// `None`: no JSON object, or an error that is none.
    fn read(text: &'a str) -> Option<Self> {
        let mut reply = Reply::default();
        let mut error = None;
        json::members(text, |name, value| match name {
            "stream" => reply.stream = Some(value),
            "domain" => reply.domain = Some(value),
            "seq" => reply.seq = Some(value),
            "duplicate" => reply.duplicate = Some(value),
            "error" => error = Some(value),
            _ => {}
        })?;
        if let Some(error) = error.filter(|error| *error != "null") {
            reply.error = Some(ReplyError::read(error)?);
        }
        Some(reply)
    }
}

impl<'a> ReplyError<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut error = ReplyError::default();
        json::members(text, |name, value| match name {
            "code" => error.code = json::number(value).unwrap_or(0),
            "err_code" => error.err_code = json::number(value).unwrap_or(0),
            "description" => error.description = json::string(value).unwrap_or_default(),
            _ => {}
        })?;
        Some(error)
    }

    fn is_none(&self) -> bool {
        self.code == 0 && self.err_code == 0
    }

    fn verdict(&self, stream: Option<&str>) -> Verdict<'static> {
        Verdict::Refused(codes::refusal(self.err_code, self.code, &self.description, stream))
    }
}

/// An ack as the server prints it from a template, and nearly every reply.
struct Template<'a> {
    /// All that stands before the digits of `seq`.
    opening: &'a [u8],
    stream: Cow<'a, str>,
    domain: Cow<'a, str>,
    seq: u64,
    duplicate: bool,
}

/// `{"stream":"S","seq":22}`, the same with `"domain":"D",` before `seq`, and with `,"duplicate": true` behind it. Servers before 2.12 print `, ` for `,`.
fn parse_template(body: &[u8]) -> Option<Template<'_>> {
    let (stream, rest) = quoted(body.strip_prefix(b"{\"stream\":")?)?;
    let rest = comma(rest)?;
    let (domain, rest) = match rest.strip_prefix(b"\"domain\":") {
        Some(rest) => quoted(rest).and_then(|(domain, rest)| Some((domain, comma(rest)?)))?,
        None => (Cow::Borrowed(""), rest),
    };
    let end = rest.strip_prefix(b"\"seq\":")?;
    let (seq, duplicate) = parse_end(end)?;
    let opening = body.get(..body.len() - end.len())?;
    (is_stream_name(&stream) && is_domain(&domain)).then_some(Template { opening, stream, domain, seq, duplicate })
}

fn comma(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b",")?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// Text in quotes, and what follows it.
fn quoted(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let inside = bytes.strip_prefix(b"\"")?;
    let mut end = 0;
    let mut escaped = false;
    loop {
        end += memchr::memchr2(b'"', b'\\', inside.get(end..)?)?;
        if inside.get(end) == Some(&b'"') {
            break;
        }
        escaped = true;
        end += 2;
    }
    let rest = inside.get(end + 1..)?;
    let text = std::str::from_utf8(inside.get(..end)?).ok()?;
    // Both are JSON's business; raw control bytes are not allowed there.
    if escaped || text.bytes().any(|byte| byte < b' ') {
        let value = std::str::from_utf8(bytes.get(..end + 2)?).ok()?;
        let read = serde_json::from_str::<String>(value).ok().or_else(|| serde_json::from_str(&json::from_go(value)?).ok())?;
        return Some((Cow::Owned(read), rest));
    }
    Some((Cow::Borrowed(text), rest))
}

/// `22}` or `22,"duplicate": true}`, and no zero in front.
fn parse_end(bytes: &[u8]) -> Option<(u64, bool)> {
    let mut seq = 0u64;
    let mut digits = 0;
    while let Some(digit) = bytes.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        seq = seq.wrapping_mul(10).wrapping_add(u64::from(digit));
        digits += 1;
    }
    let duplicate = match bytes.get(digits..)? {
        b"}" => false,
        b",\"duplicate\": true}" => true,
        _ => return None,
    };
    // 19 digits always fit into 64 bits.
    ((1..=19).contains(&digits) && bytes.first() != Some(&b'0')).then_some((seq, duplicate))
}

#[cfg(test)]
mod tests;
