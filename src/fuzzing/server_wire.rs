//! What the hostile server reads: the client's bytes, taken apart strictly. Whatever the server said, nothing but our own frames may come out.

use std::collections::VecDeque;

/// What the client publishes to: ephemeral, of a rule that names its stream, of one that creates it, of none.
pub(super) const TOPICS: &[&str] = &["news.x", "named.x", "made.x", "free.x", "free.y"];

/// The reply subjects of what the client published, newest last.
#[derive(Default)]
pub(super) struct Heard {
    bytes: VecDeque<u8>,
    /// Of messages.
    pub(super) replies: Vec<Vec<u8>>,
    /// Of questions about streams.
    pub(super) questions: Vec<Vec<u8>>,
    pub(super) pings: usize,
    lines: usize,
}

impl Heard {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        while let Some(used) = self.operation() {
            self.bytes.drain(..used);
        }
    }

    fn operation(&mut self) -> Option<usize> {
        let bytes = self.bytes.make_contiguous();
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[..end]).expect("what we send is UTF-8");
        let used = end + 2;
        self.lines += 1;
        match self.lines {
            1 => assert!(line.starts_with("CONNECT {") && line.ends_with('}'), "{line:?}"),
            2 => assert!(line.starts_with("SUB _INBOX.") && line.ends_with(".* 1"), "{line:?}"),
            _ => return self.later(end),
        }
        Some(used)
    }

    fn later(&mut self, end: usize) -> Option<usize> {
        let bytes = self.bytes.make_contiguous();
        let line = std::str::from_utf8(&bytes[..end]).expect("what we send is UTF-8");
        let used = end + 2;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["PING"] => self.pings += 1,
            ["PONG"] => {}
            ["PUB" | "HPUB", topic, ref rest @ ..] => {
                let body: usize = rest.last().expect("a length").parse().expect("a length");
                let numbers = if words[0] == "HPUB" { 2 } else { 1 };
                let Some(after) = bytes.get(used + body..used + body + 2) else {
                    self.lines -= 1;
                    return None;
                };
                assert_eq!(after, b"\r\n", "a frame is as long as it says");
                let question = topic.starts_with("$JS.API.STREAM.");
                assert!(question || TOPICS.contains(&topic), "nobody published to {topic:?}");
                match rest.len() - numbers {
                    0 => {}
                    1 if question => self.questions.push(rest[0].into()),
                    1 => self.replies.push(rest[0].into()),
                    _ => panic!("{line:?}"),
                }
                return Some(used + body + 2);
            }
            _ => panic!("the client sent {line:?}"),
        }
        Some(used)
    }

    /// The connection is over, and with it what was not whole.
    pub(super) fn cut(&mut self) {
        self.bytes.clear();
        self.lines = 0;
        self.pings = 0;
    }
}
