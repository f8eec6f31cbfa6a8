//! What a server or a client sends, cut into frames.

use memchr::memchr;

/// A line longer than this is none of the protocol, and neither is a larger message (the server's own limit).
const LINE_LIMIT: usize = 1 << 20;
const BODY_LIMIT: usize = 64 << 20;

/// What kind of frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `INFO`, the greeting and its later versions.
    Info,
    /// `MSG` or `HMSG`: a message, and so every acknowledgement.
    Msg,
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR`.
    Err,
    /// `CONNECT`, from the client as all below.
    Connect,
    /// `PUB` or `HPUB`.
    Pub,
    /// `SUB`.
    Sub,
    /// `UNSUB`.
    Unsub,
    /// A line that is none of these.
    Other,
}

/// Gathers bytes and gives whole frames. Bytes that are not the protocol's text, because TLS began, are given as they come.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
    /// What is before this was given.
    given: usize,
    /// No line ends between `given` and this: a long line is not searched again with each byte that comes.
    searched: usize,
    opaque: bool,
}

impl Splitter {
    /// Adds bytes. What is moved is less than a frame, once per call and not once per frame.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.given);
        self.searched = self.searched.saturating_sub(self.given);
        self.given = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame with its line ends, if all of it is there.
    pub(crate) fn next(&mut self) -> Option<(Verb, &[u8])> {
        let first = *self.buffer.get(self.given)?;
        self.opaque |= first < b' ';
        if self.opaque {
            return Some((Verb::Other, self.rest()));
        }
        self.searched = self.searched.max(self.given);
        // A lone \n ends a line for the server too.
        let Some(end) = memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            self.opaque = self.buffer.len() - self.given > LINE_LIMIT;
            return self.opaque.then(|| (Verb::Other, self.rest()));
        };
        let line_end = self.searched + end + 1;
        self.searched = line_end - 1; // Where the search finds it again, should the body not be there yet.
        let (verb, body) = head(&self.buffer[self.given..line_end]);
        if body > BODY_LIMIT {
            self.opaque = true;
            return Some((Verb::Other, self.rest()));
        }
        if self.buffer.len() < line_end + body {
            return None;
        }
        let start = std::mem::replace(&mut self.given, line_end + body);
        Some((verb, &self.buffer[start..self.given]))
    }

    /// All that is left: part of a frame, after the last of its bytes has come.
    pub(crate) fn rest(&mut self) -> &[u8] {
        let start = std::mem::replace(&mut self.given, self.buffer.len());
        &self.buffer[start..]
    }
}

/// The words of a frame's first line.
pub(crate) fn words(frame: &[u8]) -> impl DoubleEndedIterator<Item = &str> {
    let line = &frame[..memchr(b'\n', frame).unwrap_or(frame.len())];
    std::str::from_utf8(line).unwrap_or_default().split_ascii_whitespace()
}

/// The kind of frame, and how many bytes follow its line.
fn head(line: &[u8]) -> (Verb, usize) {
    let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let verb = match word.to_ascii_uppercase().as_slice() {
        b"INFO" => Verb::Info,
        b"MSG" | b"HMSG" => Verb::Msg,
        b"PING" => Verb::Ping,
        b"PONG" => Verb::Pong,
        b"+OK" => Verb::Ok,
        b"-ERR" => Verb::Err,
        b"CONNECT" => Verb::Connect,
        b"PUB" | b"HPUB" => Verb::Pub,
        b"SUB" => Verb::Sub,
        b"UNSUB" => Verb::Unsub,
        _ => Verb::Other,
    };
    if !matches!(verb, Verb::Msg | Verb::Pub) {
        return (verb, 0);
    }
    // The last word is the length of all that follows, headers included. Without one it is no message, whatever the receiver makes of it.
    let length = line.trim_ascii_end().rsplit(u8::is_ascii_whitespace).next().and_then(|word| std::str::from_utf8(word).ok()?.parse::<usize>().ok());
    length.map_or((Verb::Other, 0), |length| (verb, length.saturating_add(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [(Verb, &[u8]); 12] = [
        (Verb::Info, b"INFO {\"a\":1}\r\n"),
        (Verb::Ok, b"+OK\r\n"),
        (Verb::Msg, b"MSG a.b 1 4\r\n\r\n\r\n\r\n"),
        (Verb::Msg, b"HMSG a.b 1 reply 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        (Verb::Err, b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n"),
        (Verb::Pong, b"PONG\r\n"),
        (Verb::Connect, b"CONNECT {}\r\n"),
        (Verb::Sub, b"SUB inbox.* 1\r\n"),
        (Verb::Pub, b"PUB a 0\r\n\r\n"),
        (Verb::Pub, b"hpub a inbox.1 12 19\r\nNATS/1.0\r\n\r\nPING\r\n\n\r\n"),
        (Verb::Unsub, b"UNSUB 1\r\n"),
        (Verb::Other, b"PUB a much\r\n"),
    ];

    fn all(splitter: &mut Splitter) -> Vec<(Verb, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some((verb, frame)) = splitter.next() {
            found.push((verb, frame.to_vec()));
        }
        found
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bytes: Vec<u8> = FRAMES.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let expected: Vec<_> = FRAMES.iter().map(|(verb, bytes)| (*verb, bytes.to_vec())).collect();
        for step in 1..=bytes.len() {
            let mut splitter = Splitter::default();
            let mut found = Vec::new();
            for chunk in bytes.chunks(step) {
                splitter.push(chunk);
                found.extend(all(&mut splitter));
            }
            assert_eq!(found, expected, "in steps of {step}");
            assert_eq!(splitter.rest(), b"");
        }
    }

    #[test]
    fn what_is_not_taken_stays() {
        let mut splitter = Splitter::default();
        splitter.push(b"PING\r\nPONG\r\nPUB a 5\r\nhe");
        assert_eq!(splitter.next(), Some((Verb::Ping, &b"PING\r\n"[..])));
        splitter.push(b"llo");
        assert_eq!(splitter.next(), Some((Verb::Pong, &b"PONG\r\n"[..])));
        assert_eq!(splitter.next(), None);
        assert_eq!(splitter.rest(), b"PUB a 5\r\nhello");
        splitter.push(b"PING\r\n");
        assert_eq!(splitter.next(), Some((Verb::Ping, &b"PING\r\n"[..])));
    }

    #[test]
    fn tls_passes_unread() {
        let mut splitter = Splitter::default();
        splitter.push(b"INFO {}\r\n\x16\x03\x03\r\nMSG");
        assert_eq!(splitter.next(), Some((Verb::Info, &b"INFO {}\r\n"[..])));
        assert_eq!(splitter.next(), Some((Verb::Other, &b"\x16\x03\x03\r\nMSG"[..])));
        splitter.push(b"PING\r\n");
        assert_eq!(splitter.next(), Some((Verb::Other, &b"PING\r\n"[..])));
    }

    #[test]
    fn nothing_without_an_end_is_gathered_for_ever() {
        let mut splitter = Splitter::default();
        splitter.push(&vec![b'x'; LINE_LIMIT]);
        assert_eq!(splitter.next(), None);
        splitter.push(b"xx");
        assert_eq!(splitter.next().map(|(verb, bytes)| (verb, bytes.len())), Some((Verb::Other, LINE_LIMIT + 2)));

        let mut splitter = Splitter::default();
        splitter.push(b"PUB a 18446744073709551615\r\nx");
        assert_eq!(splitter.next(), Some((Verb::Other, &b"PUB a 18446744073709551615\r\nx"[..])));
    }
}
