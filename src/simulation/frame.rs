//! The client's bytes, cut into frames and read without mercy: what a lenient server would forgive is a breach here.

use serde_json::Value;

/// The longest control line, without its verb and its line end, that the server takes.
const MAX_CONTROL_LINE: usize = 4096;

/// One frame of the client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Connect(Value),
    Ping,
    Pong,
    Sub {
        subject: String,
        sid: String,
    },
    Unsub {
        sid: String,
    },
    Publish(Publish),
    /// Announced more bytes than the server takes. It stays where it is: with a larger limit it can be read as what it is.
    TooLarge {
        subject: String,
        size: usize,
    },
}

/// A PUB or HPUB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
    /// Headers and payload together, as the limits count it.
    pub(crate) size: usize,
}

impl Publish {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The id that duplicates share.
    pub(crate) fn msg_id(&self) -> Option<&str> {
        self.header("Nats-Msg-Id")
    }
}

/// A frame and where it lay in the connection's bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) frame: Frame,
    /// Offset of the first byte.
    pub(crate) first: u64,
    /// Offset behind the last byte.
    pub(crate) end: u64,
}

/// Cuts a byte stream, given in any pieces, into frames.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buf: Vec<u8>,
    /// How much of `buf` was consumed, and the offset of `buf[0]` in the whole stream.
    at: usize,
    base: u64,
}

impl Parser {
    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.at > 64 * 1024 {
            self.buf.drain(..self.at);
            self.base += self.at as u64;
            self.at = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// How many bytes were pushed so far.
    pub(crate) fn received(&self) -> u64 {
        self.base + self.buf.len() as u64
    }

    /// The next complete frame, or what was wrong with it. After an error nothing that follows means anything.
    pub(crate) fn next(&mut self, max_payload: usize) -> Result<Option<Spanned>, String> {
        let rest = &self.buf[self.at..];
        let Some(line_len) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            // "HPUB " and a full control line: anything longer can never become valid.
            return if rest.len() > MAX_CONTROL_LINE + 8 { Err(format!("a control line without end: {}", show(rest))) } else { Ok(None) };
        };
        let line = std::str::from_utf8(&rest[..line_len]).map_err(|_| format!("a control line that is not UTF-8: {}", show(&rest[..line_len])))?;
        let (verb, args) = line.split_once(' ').unwrap_or((line, ""));
        if args.len() > MAX_CONTROL_LINE && verb != "CONNECT" {
            return Err(format!("a control line of {} bytes, {MAX_CONTROL_LINE} are allowed", args.len()));
        }
        let body = &rest[line_len + 2..];
        let (frame, body_len) = match verb {
            "PING" | "PONG" if line.len() == 4 => (if verb == "PING" { Frame::Ping } else { Frame::Pong }, 0),
            "CONNECT" => (Frame::Connect(serde_json::from_str(args).map_err(|e| format!("CONNECT is not JSON ({e}): {args}"))?), 0),
            "SUB" => (subscribe(args)?, 0),
            "UNSUB" => (unsubscribe(args)?, 0),
            "PUB" | "HPUB" => match publish(verb, args, body, max_payload)? {
                Some(found) => found,
                None => return Ok(None),
            },
            _ => return Err(format!("not a verb of the protocol, or a torn frame: {}", show(rest))),
        };
        let (first, len) = (self.base + self.at as u64, line_len + 2 + body_len);
        if !matches!(frame, Frame::TooLarge { .. }) {
            self.at += len;
        }
        Ok(Some(Spanned { frame, first, end: first + len as u64 }))
    }
}

fn subscribe(args: &str) -> Result<Frame, String> {
    let tokens: Vec<&str> = args.split(' ').collect();
    let [subject, sid] = tokens[..] else { return Err(format!("SUB wants a subject and an id: {args}")) };
    check_subject(subject, true)?;
    Ok(Frame::Sub { subject: subject.into(), sid: sid.into() })
}

fn unsubscribe(args: &str) -> Result<Frame, String> {
    if args.is_empty() || args.contains(' ') {
        return Err(format!("UNSUB wants an id: {args}"));
    }
    Ok(Frame::Unsub { sid: args.into() })
}

/// The frame and the length of its body with the line end, or `None` while bytes are missing.
fn publish(verb: &str, args: &str, body: &[u8], max_payload: usize) -> Result<Option<(Frame, usize)>, String> {
    let tokens: Vec<&str> = args.split(' ').collect();
    let (subject, reply, header_len, size) = match (verb, &tokens[..]) {
        ("PUB", [subject, size]) => (*subject, None, "0", *size),
        ("PUB", [subject, reply, size]) => (*subject, Some(*reply), "0", *size),
        ("HPUB", [subject, headers, size]) => (*subject, None, *headers, *size),
        ("HPUB", [subject, reply, headers, size]) => (*subject, Some(*reply), *headers, *size),
        _ => return Err(format!("{verb} with {} arguments: {args}", tokens.len())),
    };
    check_subject(subject, false)?;
    if let Some(reply) = reply {
        check_subject(reply, false)?;
    }
    let (header_len, size) = (number(header_len)?, number(size)?);
    if header_len > size {
        return Err(format!("HPUB with {header_len} bytes of headers in {size} bytes: {args}"));
    }
    if size > max_payload {
        return Ok(Some((Frame::TooLarge { subject: subject.into(), size }, 0)));
    }
    let Some(end) = body.get(size..size + 2) else { return Ok(None) };
    if end != b"\r\n" {
        return Err(format!("{verb} {args}: the payload does not end where its length says: {}", show(&body[..size + 2])));
    }
    let headers = if verb == "HPUB" { headers(&body[..header_len])? } else { Vec::new() };
    let payload = body[header_len..size].to_vec();
    Ok(Some((Frame::Publish(Publish { subject: subject.into(), reply: reply.map(Into::into), headers, payload, size }), size + 2)))
}

fn headers(block: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = std::str::from_utf8(block).map_err(|_| format!("headers that are not UTF-8: {}", show(block)))?;
    let lines = text.strip_prefix("NATS/1.0\r\n").and_then(|rest| rest.strip_suffix("\r\n"));
    let lines = lines.ok_or_else(|| format!("a header block must begin with its version and end with an empty line: {}", show(block)))?;
    let mut found: Vec<(String, String)> = Vec::new();
    for line in lines.split_terminator("\r\n") {
        let (key, value) = line.split_once(':').ok_or_else(|| format!("a header without a colon: {line:?}"))?;
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) || value.bytes().any(|b| b == b'\r' || b == b'\n') {
            return Err(format!("a header that is not one: {line:?}"));
        }
        if key == "Nats-Msg-Id" && found.iter().any(|(other, _)| other == key) {
            return Err(format!("two message ids in one frame: {}", show(block)));
        }
        found.push((key.into(), value.trim().into()));
    }
    Ok(found)
}

fn check_subject(subject: &str, wildcards: bool) -> Result<(), String> {
    let bad = |token: &str| token.is_empty() || token.bytes().any(|b| b <= b' ' || b == 0x7f) || (!wildcards && (token == "*" || token == ">"));
    if subject.split('.').any(bad) { Err(format!("not a subject to publish or listen to: {subject:?}")) } else { Ok(()) }
}

fn number(digits: &str) -> Result<usize, String> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("not a length: {digits:?}"));
    }
    digits.parse().map_err(|_| format!("not a length: {digits:?}"))
}

/// The beginning of some bytes, for a message.
pub(crate) fn show(bytes: &[u8]) -> String {
    let cut = bytes.len().min(120);
    format!("{:?}{}", String::from_utf8_lossy(&bytes[..cut]), if cut < bytes.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::{Frame, Parser, Publish};

    fn parse(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, String> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            parser.push(piece);
            while let Some(found) = parser.next(100)? {
                frames.push(found.frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_come_in() {
        let bytes = b"CONNECT {\"verbose\":false}\r\nPING\r\nSUB _INBOX.x.* 1\r\nPUB a.b 2\r\nhi\r\nHPUB a _INBOX.x.t 29 31\r\nNATS/1.0\r\nNats-Msg-Id: 42\r\n\r\n\r\n\r\nUNSUB 1\r\nPONG\r\n";
        // 10 + 17 + 2 bytes of headers, and a payload that looks like a line end.
        let expected = parse(bytes, bytes.len()).unwrap();
        assert_eq!(expected.len(), 7);
        let Frame::Publish(publish) = &expected[4] else { panic!("{expected:?}") };
        assert_eq!((publish.msg_id(), &publish.payload[..], publish.size), (Some("42"), &b"\r\n"[..], 31));
        assert_eq!(expected[3], Frame::Publish(Publish { subject: "a.b".into(), payload: b"hi".to_vec(), size: 2, ..Publish::default() }));
        for piece in 1..bytes.len() {
            assert_eq!(parse(bytes, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn spans_cover_the_stream_without_gaps() {
        let mut parser = Parser::default();
        parser.push(b"PING\r\nPUB a 1\r\nx\r\nPING\r\n");
        let mut end = 0;
        while let Some(found) = parser.next(100).unwrap() {
            assert_eq!(found.first, end);
            end = found.end;
        }
        assert_eq!((end, parser.received()), (24, 24));
    }

    #[test]
    fn every_breach_is_seen() {
        let long = format!("PUB {} 1\r\nx\r\n", "a".repeat(4096));
        for bad in [
            "ping\r\n",
            "PUB a\r\n",
            "PUB a.* 1\r\nx\r\n",
            "PUB a..b 1\r\nx\r\n",
            "PUB > 1\r\nx\r\n",
            "PUB a b c 1\r\nx\r\n",
            "PUB a x1\r\nx\r\n",
            "PUB a 1\r\nxy\r\n",
            "PUB a 3\r\nx\r\nPING\r\n",
            "PUB  a 1\r\nx\r\n",
            "HPUB a 9 3\r\nx\r\n",
            "HPUB a 12 13\r\nNATS/2.0\r\n\r\nx\r\n",
            "HPUB a 10 11\r\nNATS/1.0\r\nx\r\n",
            "HPUB a 17 17\r\nNATS/1.0\r\nabc\r\n\r\n\r\n",
            "HPUB a 44 44\r\nNATS/1.0\r\nNats-Msg-Id: 1\r\nNats-Msg-Id: 2\r\n\r\n\r\n\r\n",
            "SUB a\r\n",
            "UNSUB\r\n",
            "CONNECT {\r\n",
            "UB a 1\r\nx\r\n",
            long.as_str(),
        ] {
            assert!(parse(bad.as_bytes(), bad.len()).is_err(), "{bad:?} passed");
        }
        assert!(parse(&vec![b'x'; 5000], 100).is_err(), "an endless line passed");
    }

    #[test]
    fn too_large_is_told_at_the_control_line() {
        let mut parser = Parser::default();
        parser.push(b"PUB a 3\r\n");
        assert_eq!(parser.next(2).unwrap().unwrap().frame, Frame::TooLarge { subject: "a".into(), size: 3 });
        parser.push(b"abc\r\n");
        assert!(matches!(parser.next(3).unwrap().unwrap(), super::Spanned { frame: Frame::Publish(_), first: 0, end: 14 }));
    }
}
