//! One client's connection as the endpoint sees it: enough of the NATS protocol to ack every publish at once.
//!
//! This is the other side of a benchmark, so it must not be the limit: frames are parsed where they lie, payloads are skipped, and the answers of one read go
//! into one buffer. Verbs are upper case and `verbose` is taken as false, as all clients do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr, memrchr};

use crate::{STREAM, api};

/// The largest payload that the endpoint takes, in bytes; the default of a real server.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The longest protocol line that the endpoint takes, in bytes.
pub const MAX_LINE: usize = 4096;

/// The first line of the connection.
#[must_use]
pub fn info(port: u16) -> String {
    format!(
        "INFO {{\"server_id\":\"BENCH\",\"server_name\":\"bench\",\"version\":\"2.12.0\",\"proto\":1,\"host\":\"127.0.0.1\",\"port\":{port},\
         \"headers\":true,\"max_payload\":{MAX_PAYLOAD},\"jetstream\":true,\"client_id\":1}}\r\n"
    )
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Session {
    sequence: Arc<AtomicU64>,
    acks: bool,
    subscriptions: Vec<Subscription>,
}

/// A subscription: only a last `*` or `>` is understood as a wildcard, which is what inboxes use.
#[derive(Debug)]
struct Subscription {
    stem: Vec<u8>,
    wildcard: bool,
    sid: Vec<u8>,
}

impl Session {
    /// A new connection; `sequence` is the stream's last sequence, shared by all connections. Without `acks` publishes have no answer: they stay pending.
    #[must_use]
    pub fn new(sequence: Arc<AtomicU64>, acks: bool) -> Session {
        Session { sequence, acks, subscriptions: Vec::new() }
    }

    /// Takes every complete frame of `input`, appends the answers to `output` and returns how many bytes it took.
    ///
    /// # Errors
    /// The client broke the protocol: the text goes out as `-ERR` and the connection ends.
    pub fn consume(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut taken = 0;
        while let Some(length) = memchr(b'\n', &input[taken..]) {
            let line = input[taken..taken + length].trim_ascii_end();
            let body = taken + length + 1;
            let (verb, rest) = split_first(line);
            taken = match verb {
                b"HPUB" | b"PUB" => {
                    let publication = Publication::parse(verb == b"HPUB", rest).ok_or("Malformed publish")?;
                    if publication.length > MAX_PAYLOAD {
                        return Err("Maximum Payload Violation");
                    }
                    let end = body + publication.length + 2;
                    if end > input.len() {
                        return Ok(taken);
                    }
                    self.answer(publication.subject, publication.reply, output);
                    end
                }
                b"PING" => {
                    output.extend_from_slice(b"PONG\r\n");
                    body
                }
                b"SUB" => {
                    self.subscribe(rest);
                    body
                }
                b"UNSUB" => {
                    let (sid, _) = split_first(rest);
                    self.subscriptions.retain(|subscription| subscription.sid != sid);
                    body
                }
                b"CONNECT" | b"PONG" | b"" => body,
                _ => return Err("Unknown Protocol Operation"),
            };
        }
        if input.len() - taken > MAX_LINE { Err("Maximum Control Line Exceeded") } else { Ok(taken) }
    }

    fn subscribe(&mut self, rest: &[u8]) {
        let (pattern, options) = split_first(rest);
        let sid = memrchr(b' ', options).map_or(options, |space| &options[space + 1..]).to_vec();
        let stem = pattern.strip_suffix(b"*").or_else(|| pattern.strip_suffix(b">"));
        self.subscriptions.push(Subscription { stem: stem.unwrap_or(pattern).to_vec(), wildcard: stem.is_some(), sid });
    }

    /// A publish without a reply, or with one that nobody here listens to, has no answer.
    fn answer(&self, subject: &[u8], reply: &[u8], output: &mut Vec<u8>) {
        if reply.is_empty() {
            return;
        }
        let Some(subscription) = self.subscriptions.iter().find(|subscription| subscription.takes(reply)) else { return };
        if subject.starts_with(b"$") {
            match api::answer(subject, self.sequence.load(Ordering::Relaxed)) {
                Some(text) => message(output, reply, &subscription.sid, &[text.as_bytes()]),
                None => no_responders(output, reply, &subscription.sid),
            }
        } else if self.acks {
            let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
            let mut digits = itoa::Buffer::new();
            let ack = [b"{\"stream\":\"", STREAM.as_bytes(), b"\",\"seq\":", digits.format(sequence).as_bytes(), b"}"];
            message(output, reply, &subscription.sid, &ack);
        }
    }
}

impl Subscription {
    fn takes(&self, subject: &[u8]) -> bool {
        if self.wildcard { subject.len() > self.stem.len() && subject.starts_with(&self.stem) } else { subject == self.stem }
    }
}

/// What follows `PUB` or `HPUB`: `subject [reply] [header-length] length`.
struct Publication<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    length: usize,
}

impl<'a> Publication<'a> {
    /// From both ends, because only the reply may be missing.
    fn parse(headers: bool, rest: &'a [u8]) -> Option<Publication<'a>> {
        let (mut front, length) = split_last(rest)?;
        if headers {
            front = split_last(front)?.0;
        }
        let (subject, reply) = split_first(front);
        Some(Publication { subject, reply, length: number(length)? })
    }
}

fn message(output: &mut Vec<u8>, subject: &[u8], sid: &[u8], payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    for part in [b"MSG ", subject, b" ", sid, b" ", itoa::Buffer::new().format(length).as_bytes(), b"\r\n"] {
        output.extend_from_slice(part);
    }
    for part in payload {
        output.extend_from_slice(part);
    }
    output.extend_from_slice(b"\r\n");
}

fn no_responders(output: &mut Vec<u8>, subject: &[u8], sid: &[u8]) {
    for part in [b"HMSG ", subject, b" ", sid, b" 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"] {
        output.extend_from_slice(part);
    }
}

fn split_first(text: &[u8]) -> (&[u8], &[u8]) {
    memchr(b' ', text).map_or((text, &[]), |space| (&text[..space], &text[space + 1..]))
}

fn split_last(text: &[u8]) -> Option<(&[u8], &[u8])> {
    memrchr(b' ', text).map(|space| (&text[..space], &text[space + 1..]))
}

/// A decimal number of at most nine digits, so that it cannot overflow.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{MAX_LINE, Session};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    const GREETING: &str = "CONNECT {\"verbose\":false}\r\nSUB _I.a.* 7\r\nPING\r\n";

    fn talk(input: &str) -> String {
        let (mut session, mut output) = (Session::new(Arc::new(AtomicU64::new(0)), true), Vec::new());
        assert_eq!(session.consume(input.as_bytes(), &mut output), Ok(input.len()));
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn acks_go_through_the_inbox_subscription_in_order() {
        let output = talk(&format!("{GREETING}PUB bench.a _I.a.1 2\r\nhi\r\nHPUB bench.a _I.a.2 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n"));
        assert_eq!(output, "PONG\r\nMSG _I.a.1 7 26\r\n{\"stream\":\"BENCH\",\"seq\":1}\r\nMSG _I.a.2 7 26\r\n{\"stream\":\"BENCH\",\"seq\":2}\r\nPONG\r\n");
    }

    #[test]
    fn a_publish_that_nobody_waits_for_has_no_answer() {
        assert_eq!(
            talk(
                "PUB bench.a 2\r\nhi\r\nHPUB bench.a 12 12\r\nNATS/1.0\r\n\r\n\r\nPUB bench.a _I.a.1 0\r\n\r\nSUB _I.a.1 q 3\r\nUNSUB 3\r\nPUB bench.a _I.a.1 0\r\n\r\n"
            ),
            ""
        );
    }

    #[test]
    fn a_silent_one_answers_everything_but_publishes() {
        let (mut session, mut output) = (Session::new(Arc::new(AtomicU64::new(0)), false), Vec::new());
        let input = format!("{GREETING}PUB bench.a _I.a.1 2\r\nhi\r\nPUB $JS.API.STREAM.NAMES _I.a.2 2\r\n{{}}\r\nPING\r\n");
        assert_eq!(session.consume(input.as_bytes(), &mut output), Ok(input.len()));
        let output = String::from_utf8(output).unwrap();
        assert!(output.starts_with("PONG\r\nMSG _I.a.2 7 ") && output.ends_with("}\r\nPONG\r\n"), "{output}");
    }

    #[test]
    fn any_cut_gives_the_same_answers() {
        let input = format!("{GREETING}HPUB bench.a _I.a.1 12 14\r\nNATS/1.0\r\n\r\n\r\n\r\nPUB $JS.API.STREAM.NAMES _I.a.2 2\r\n{{}}\r\n");
        let whole = talk(&input);
        for cut in 0..input.len() {
            let (mut session, mut output) = (Session::new(Arc::new(AtomicU64::new(0)), true), Vec::new());
            let taken = session.consume(&input.as_bytes()[..cut], &mut output).unwrap();
            assert_eq!(taken + session.consume(&input.as_bytes()[taken..], &mut output).unwrap(), input.len());
            assert_eq!(String::from_utf8(output).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn the_stream_can_be_looked_up_and_other_requests_find_nobody() {
        let output = talk(&format!("{GREETING}PUB $JS.API.STREAM.INFO.BENCH _I.a.1 0\r\n\r\nPUB $JS.API.STREAM.PURGE.BENCH _I.a.2 0\r\n\r\n"));
        assert!(output.contains("stream_info_response") && output.ends_with("HMSG _I.a.2 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"), "{output}");
    }

    #[test]
    fn broken_protocol_ends_the_connection() {
        let mut session = Session::new(Arc::new(AtomicU64::new(0)), true);
        for (input, error) in [
            ("PUB bench.a x\r\n", "Malformed publish"),
            ("PUB\r\n", "Malformed publish"),
            ("PUB bench.a 1048577\r\n", "Maximum Payload Violation"),
            ("GET / HTTP/1.1\r\n", "Unknown Protocol Operation"),
            (&"x".repeat(MAX_LINE + 1), "Maximum Control Line Exceeded"),
        ] {
            assert_eq!(session.consume(input.as_bytes(), &mut Vec::new()), Err(error), "{input:.40}");
        }
    }
}
