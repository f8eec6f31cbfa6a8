//! What a server sends, cut into frames.

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
    /// A line that is none of these.
    Other,
}

/// Gathers bytes and gives whole frames. Bytes that are not the protocol's text, because TLS began, are given as they come.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
    opaque: bool,
}

impl Splitter {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame with its line ends, if all of it is there.
    pub(crate) fn next(&mut self) -> Option<(Verb, Vec<u8>)> {
        let first = *self.buffer.first()?;
        self.opaque |= first < b' ';
        if self.opaque {
            return Some((Verb::Other, std::mem::take(&mut self.buffer)));
        }
        let line_end = self.buffer.windows(2).position(|end| end == b"\r\n")? + 2;
        let line = String::from_utf8_lossy(&self.buffer[..line_end]);
        let mut words = line.split_ascii_whitespace();
        let verb = match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "INFO" => Verb::Info,
            "MSG" | "HMSG" => Verb::Msg,
            "PING" => Verb::Ping,
            "PONG" => Verb::Pong,
            "+OK" => Verb::Ok,
            "-ERR" => Verb::Err,
            _ => Verb::Other,
        };
        // The last word of a message's line is the length of all that follows, headers included.
        let body = if verb == Verb::Msg { words.last()?.parse::<usize>().ok()? + 2 } else { 0 };
        let length = line_end + body;
        (self.buffer.len() >= length).then(|| (verb, self.buffer.drain(..length).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [(Verb, &[u8]); 6] = [
        (Verb::Info, b"INFO {\"a\":1}\r\n"),
        (Verb::Ok, b"+OK\r\n"),
        (Verb::Msg, b"MSG a.b 1 4\r\n\r\n\r\n\r\n"),
        (Verb::Msg, b"HMSG a.b 1 reply 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        (Verb::Err, b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n"),
        (Verb::Pong, b"PONG\r\n"),
    ];

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bytes: Vec<u8> = FRAMES.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        for step in 1..=bytes.len() {
            let mut splitter = Splitter::default();
            let mut found = Vec::new();
            for chunk in bytes.chunks(step) {
                splitter.push(chunk);
                found.extend(std::iter::from_fn(|| splitter.next()));
            }
            let expected: Vec<_> = FRAMES.iter().map(|(verb, bytes)| (*verb, bytes.to_vec())).collect();
            assert_eq!(found, expected, "in steps of {step}");
        }
    }

    #[test]
    fn tls_passes_unread() {
        let mut splitter = Splitter::default();
        splitter.push(b"INFO {}\r\n\x16\x03\x03\r\nMSG");
        assert_eq!(splitter.next(), Some((Verb::Info, b"INFO {}\r\n".to_vec())));
        assert_eq!(splitter.next(), Some((Verb::Other, b"\x16\x03\x03\r\nMSG".to_vec())));
        splitter.push(b"PING\r\n");
        assert_eq!(splitter.next(), Some((Verb::Other, b"PING\r\n".to_vec())));
    }
}
