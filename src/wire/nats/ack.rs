//! Acks: the reply to one publish, parsed in place.

use serde::Deserialize;

use super::codes;
use crate::error::Status;
use crate::topic::is_stream_name;
use crate::wire::{Refusal, Retry, Trouble, Verdict};

/// What a JetStream reply can say. Unknown fields are ignored.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// The body of a reply without headers.
pub(crate) fn parse(body: &[u8]) -> Verdict<'_> {
    if let Some(stored) = parse_template(body) {
        return stored;
    }
    // As text: fields that are ignored would not be looked at, and a reply that was damaged there may be damaged elsewhere.
    let Some(reply) = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<Reply<'_>>(text).ok()) else { return Verdict::Alien };
    if let Some(error) = reply.error {
        return Verdict::Refused(codes::refusal(error.err_code, error.code, &error.description));
    }
    // The server answers with `seq` 0 when the first copy of this id is not committed yet (2.10): an ack of nothing (X: features trap, reliability row 3).
    if reply.seq == 0 {
        if reply.duplicate {
            return Verdict::Refused(Refusal {
                status: Status::Unavailable,
                definite: false,
                retry: Retry::Backoff,
                server_code: 0,
                text: "the server is still storing the first copy of this Msg-Id".into(),
            });
        }
        return Verdict::Alien;
    }
    match reply.stream {
        std::borrow::Cow::Borrowed(stream) if is_stream_name(stream) => Verdict::Stored { stream, seq: reply.seq, duplicate: reply.duplicate },
        // A stream's name holds nothing that JSON escapes.
        _ => Verdict::Alien,
    }
}

/// Reads the acks of one connection. Most publishers have one stream: the first ack tells how nearly all others begin.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// `{"stream":"S","seq":`
    opening: Box<[u8]>,
    stream: Box<str>,
}

impl Acks {
    /// The body of a reply without headers.
    pub(crate) fn parse<'a>(&'a mut self, body: &'a [u8]) -> Verdict<'a> {
        if self.opening.is_empty()
            && let Some(Verdict::Stored { stream, .. }) = parse_template(body)
        {
            self.opening = [OPENING, stream.as_bytes(), NUMBER].concat().into();
            self.stream = stream.into();
        }
        match body.strip_prefix(&*self.opening).and_then(parse_end) {
            Some((seq, duplicate)) => Verdict::Stored { stream: &self.stream, seq, duplicate },
            None => parse(body),
        }
    }
}

const OPENING: &[u8] = b"{\"stream\":\"";
const NUMBER: &[u8] = b"\",\"seq\":";

/// `{"stream":"S","seq":22}` and the same with `,"duplicate": true`: what the server prints from a template, and nearly every reply.
fn parse_template(body: &[u8]) -> Option<Verdict<'_>> {
    let rest = body.strip_prefix(OPENING)?;
    let quote = memchr::memchr2(b'"', b'\\', rest)?;
    let (stream, rest) = rest.split_at_checked(quote)?;
    let (seq, duplicate) = parse_end(rest.strip_prefix(NUMBER)?)?;
    let stream = std::str::from_utf8(stream).ok().filter(|stream| is_stream_name(stream))?;
    Some(Verdict::Stored { stream, seq, duplicate })
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

/// A reply with headers: a status, perhaps with a body.
pub(crate) fn parse_with_headers<'a>(headers: &[u8], body: &'a [u8]) -> Verdict<'a> {
    let status = headers.strip_prefix(b"NATS/1.0").map(<[u8]>::trim_ascii_start).and_then(|line| {
        let digits = line.get(..3)?;
        std::str::from_utf8(digits).ok()?.parse::<u32>().ok()
    });
    match status {
        Some(503) if body.is_empty() => Verdict::Refused(Refusal {
            status: Status::NoStream,
            definite: true,
            retry: Retry::Hold(Trouble::NobodyThere),
            server_code: 503,
            text: "no stream took the message (503 no responders)".into(),
        }),
        Some(429) if body.is_empty() => Verdict::Refused(codes::refusal(10167, 429, "too many requests")),
        _ if body.is_empty() => Verdict::Alien,
        _ => parse(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(body: &str) -> Option<(&str, u64, bool)> {
        match parse(body.as_bytes()) {
            Verdict::Stored { stream, seq, duplicate } => Some((stream, seq, duplicate)),
            _ => None,
        }
    }

    #[test]
    fn acks() {
        assert_eq!(stored(r#"{"stream":"S","seq":22}"#), Some(("S", 22, false)));
        assert_eq!(stored(r#"{"stream":"S","seq":22,"duplicate": true}"#), Some(("S", 22, true)));
        assert_eq!(stored(r#"{"stream":"S","domain":"hub","seq":22}"#), Some(("S", 22, false)));
        assert_eq!(stored(r#"{ "seq": 7, "stream": "S", "val": "1" }"#), Some(("S", 7, false)));
        assert_eq!(stored(r#"{"stream":"S","seq":18446744073709551615}"#), Some(("S", u64::MAX, false)));
    }

    #[test]
    fn the_first_stream_is_known_and_others_are_read_all_the_same() {
        let mut acks = Acks::default();
        for (body, expected) in [
            (r#"{"seq":1,"stream":"S"}"#, Some(("S", 1, false))),
            (r#"{"stream":"ONE","seq":22}"#, Some(("ONE", 22, false))),
            (r#"{"stream":"ONE","seq":9223372036854775807,"duplicate": true}"#, Some(("ONE", u64::MAX / 2, true))),
            (r#"{"stream":"ONE","seq":18446744073709551615}"#, Some(("ONE", u64::MAX, false))),
            (r#"{"stream":"ONE","seq":18446744073709551616}"#, None),
            (r#"{"stream":"ONE","seq":0}"#, None),
            (r#"{"stream":"ONE","seq":}"#, None),
            (r#"{"stream":"ONE","seq":22"#, None),
            (r#"{"stream":"TWO","seq":22}"#, Some(("TWO", 22, false))),
            (r#"{"stream":"ON","seq":22}"#, Some(("ON", 22, false))),
            (r#"{"stream":"ONE","seq":23,"domain":"hub"}"#, Some(("ONE", 23, false))),
            ("", None),
        ] {
            let seen = match acks.parse(body.as_bytes()) {
                Verdict::Stored { stream, seq, duplicate } => Some((stream, seq, duplicate)),
                _ => None,
            };
            assert_eq!(seen, expected, "{body}");
        }
        assert_eq!(&*acks.stream, "ONE");
    }

    #[test]
    fn what_is_no_ack() {
        for body in [
            "",
            "{",
            "ok",
            r#"{"stream":"","seq":1}"#,
            r#"{"stream":"S","seq":0}"#,
            r#"{"stream":"S"}"#,
            r#"{"seq":1}"#,
            r#"{"stream":"S","seq":-1}"#,
            r#"{"stream":"S","seq":18446744073709551616}"#,
            r#"{"stream":"S","seq":1}}"#,
            r#"{"stream":"S","seq":0022}"#,
            // Names that no stream can have: whoever sends them would have them kept, and shown.
            "{\"stream\":\"S\u{1b}[31m\",\"seq\":1}",
            r#"{"stream":"S.T","seq":1}"#,
            &format!(r#"{{"stream":"{}","seq":1}}"#, "S".repeat(256)),
        ] {
            assert!(matches!(parse(body.as_bytes()), Verdict::Alien), "{body}");
        }
        for cut in 1..23 {
            assert!(matches!(parse(&br#"{"stream":"S","seq":22}"#[..23 - cut]), Verdict::Alien));
        }
        assert!(matches!(parse(b"{\"stream\":\"S\xff\",\"seq\":22}"), Verdict::Alien));
        assert!(matches!(parse(b"{\"stream\":\"S\",\"domain\":\"\xff\",\"seq\":22}"), Verdict::Alien));
    }

    #[test]
    fn refusals() {
        let Verdict::Refused(refusal) = parse(br#"{"stream":"S","seq":0,"duplicate": true}"#) else { unreachable!() };
        assert!(!refusal.definite && refusal.retry == Retry::Backoff);
        let Verdict::Refused(refusal) = parse(br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}"#)
        else {
            unreachable!()
        };
        assert_eq!((refusal.status, refusal.definite, refusal.server_code), (Status::StreamFull, true, 10077));
        for headers in ["NATS/1.0 503\r\n\r\n", "NATS/1.0 503\r\nNats-Subject: a\r\n\r\n", "NATS/1.0 503 No Responders\r\n\r\n"] {
            let Verdict::Refused(refusal) = parse_with_headers(headers.as_bytes(), b"") else { unreachable!() };
            assert_eq!((refusal.definite, refusal.retry, refusal.server_code), (true, Retry::Hold(Trouble::NobodyThere), 503));
        }
        assert!(matches!(parse_with_headers(b"NATS/1.0\r\nA: b\r\n\r\n", br#"{"stream":"S","seq":5}"#), Verdict::Stored { seq: 5, .. }));
    }
}
