//! What a driver publishes. `README.md` describes it for the drivers; the checker compares with it.

use ackbus_test_support::StoredMsg;

use crate::clients::Client;

/// The stream of every row.
pub const STREAM: &str = "F";
/// What it takes.
pub const SUBJECTS: &str = "f.>";

/// What one driver publishes, and with which options.
#[derive(Clone, Debug)]
pub struct Load {
    pub count: u64,
    pub sizes: Vec<usize>,
    pub subjects: Vec<String>,
    pub rate: u64,
    pub prefix: String,
    /// Two messages share each Msg-Id.
    pub pairs: bool,
    pub mode: &'static str,
    pub max_pending: u64,
    /// From acceptance to the last moment of an outcome.
    pub deadline_ms: u64,
    /// A peer's time-out.
    pub ack_timeout_ms: u64,
    /// The account stores what is published below the first word under the second one.
    pub mapped: Option<(&'static str, &'static str)>,
    /// `set:` and `topic:` words, and others.
    pub words: Vec<String>,
}

impl Load {
    /// 256 bytes to four subjects, at a rate that all clients hold, and the client's own limits.
    pub fn new(client: &Client, prefix: String) -> Self {
        Load {
            count: client.rate * 6,
            sizes: vec![256],
            subjects: ["f.a", "f.b", "f.c", "f.d"].map(str::to_owned).to_vec(),
            rate: client.rate,
            prefix,
            pairs: false,
            mode: "normal",
            max_pending: 10_000,
            deadline_ms: if client.peer { client.ack_timeout_ms } else { 60_000 },
            ack_timeout_ms: client.ack_timeout_ms,
            mapped: None,
            words: Vec::new(),
        }
    }

    /// Publishes until the runner says stop.
    pub fn endless(mut self) -> Self {
        self.count = 100_000_000;
        self
    }

    /// Adds a word, such as `set:ack_wait_ms=500`.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// The words for the driver.
    pub fn arguments(&self, client: &Client, url: &str) -> Vec<String> {
        let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        let mut words = vec![
            format!("url={url}"),
            format!("stream={STREAM}"),
            format!("subjects={}", self.subjects.join(",")),
            format!("count={}", self.count),
            format!("sizes={}", sizes.join(",")),
            format!("rate={}", self.rate),
            format!("prefix={}", self.prefix),
            format!("pairs={}", u8::from(self.pairs)),
            format!("mode={}", self.mode),
            format!("ack_timeout_ms={}", self.ack_timeout_ms),
        ];
        // Without it ackbus is tested with its default, which is the same.
        if client.peer || self.max_pending != 10_000 {
            words.push(format!("max_pending={}", self.max_pending));
        }
        words.extend(client.words.iter().map(|&word| word.to_owned()));
        words.extend(self.words.iter().cloned());
        words
    }

    pub fn subject(&self, id: u64) -> &str {
        &self.subjects[self.turn(id, self.subjects.len())]
    }

    /// What the stream has it under.
    fn stored_subject(&self, id: u64) -> String {
        let subject = self.subject(id);
        let mapped = self.mapped.and_then(|(from, to)| Some(format!("{to}{}", subject.strip_prefix(from)?)));
        mapped.unwrap_or_else(|| subject.to_owned())
    }

    pub fn payload(&self, id: u64) -> Vec<u8> {
        let size = self.sizes[self.turn(id, self.sizes.len())];
        let mut bytes = format!("{id} ").into_bytes();
        // 26 letters: the remainder fits a byte.
        bytes.extend((bytes.len()..size).map(|index| b'a' + ((id + index as u64) % 26) as u8));
        bytes.truncate(size);
        bytes
    }

    pub fn msg_id(&self, id: u64) -> String {
        let named = if self.pairs { id - (id + 1) % 2 } else { id };
        format!("{}-{named}", self.prefix)
    }

    /// The number of the message that this is, if every byte is as it was published.
    pub fn recognise(&self, stored: &StoredMsg) -> Option<u64> {
        let text = stored.payload.split(|&byte| byte == b' ').next()?;
        let id: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let same =
            id > 0 && stored.payload == self.payload(id) && stored.subject == self.stored_subject(id) && stored.msg_id.as_deref() == Some(&self.msg_id(id));
        same.then_some(id)
    }

    fn turn(&self, id: u64, length: usize) -> usize {
        usize::try_from((id - 1) % length as u64).unwrap_or(0)
    }
}
