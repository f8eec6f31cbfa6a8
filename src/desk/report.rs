//! Reports: the settled outcome as users see it.

use crate::base::error::{Persistence, Status};
use crate::ledger::slot::Slot;

/// The server had the message already, though no earlier attempt of ours could have stored it: another message has the same Msg-Id.
pub const REPORT_DUPLICATE: u32 = 1;
/// The topic is ephemeral: written, never acknowledged.
pub const REPORT_EPHEMERAL: u32 = 2;

/// The message was published with [`Message::mark`](crate::Message::mark).
pub const REPORT_MARK: u32 = 4;

/// The outcome of one message, and the message itself. All views live as long as the batch that the report came in.
#[derive(Clone, Copy)]
pub struct Report<'a>(&'a Slot);

impl<'a> Report<'a> {
    pub(crate) fn new(slot: &'a Slot) -> Self {
        Report(slot)
    }

    /// The number that the caller gave with the message.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.0.tag
    }

    /// The id that `publish` returned.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The message's sequence in its stream; 0 unless persisted.
    #[must_use]
    pub fn stream_seq(&self) -> u64 {
        self.0.outcome.stream_seq
    }

    /// `Ok` if the message is persisted (or ephemeral and written), else why not.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.outcome.status
    }

    /// What is known about the stored copy.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.0.outcome.persistence
    }

    /// [`REPORT_DUPLICATE`], [`REPORT_EPHEMERAL`], [`REPORT_MARK`].
    #[must_use]
    pub fn flags(&self) -> u32 {
        u32::from(self.0.flags) | if self.0.marked { REPORT_MARK } else { 0 }
    }

    /// JetStream's `err_code`, or the status of a reply without body (503); 0 when there was none.
    #[must_use]
    #[inline]
    pub fn server_code(&self) -> u32 {
        self.0.server_code()
    }

    /// How many times the message was sent; 0: it never left the process.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// From acceptance to the outcome, in nanoseconds.
    #[must_use]
    pub fn latency_ns(&self) -> u64 {
        self.0.outcome.latency
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.0.topic()
    }

    /// The payload, as it was published.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.0.payload()
    }

    /// The Msg-Id, the caller's or the automatic one; empty without one.
    #[must_use]
    pub fn msg_id(&self) -> &'a str {
        self.0.content.msg_id()
    }

    /// The stream that stored the message; empty unless persisted.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        self.0.outcome.stream.name()
    }

    /// The JetStream domain of that stream, as its ack named it; empty when it named none, as servers without a domain do, and unless persisted.
    #[must_use]
    pub fn domain(&self) -> &'a str {
        self.0.outcome.stream.domain()
    }

    /// What happened, in words; empty if all went well.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.0.text().map_or("", strip)
    }

    /// The topic with the NUL byte that follows it.
    #[must_use]
    #[inline]
    pub fn topic_nul(&self) -> &'a [u8] {
        self.0.content.topic_nul()
    }

    /// The Msg-Id with the NUL byte that follows it.
    #[must_use]
    #[inline]
    pub fn msg_id_nul(&self) -> &'a [u8] {
        self.0.content.msg_id_nul()
    }

    /// The stream with a NUL byte behind it.
    #[must_use]
    #[inline]
    pub fn stream_nul(&self) -> &'a [u8] {
        self.0.outcome.stream.name_nul()
    }

    /// The domain with a NUL byte behind it.
    #[must_use]
    #[inline]
    pub fn domain_nul(&self) -> &'a [u8] {
        self.0.outcome.stream.domain_nul()
    }

    /// The text with a NUL byte behind it.
    #[must_use]
    #[inline]
    pub fn text_nul(&self) -> &'a [u8] {
        self.0.text().map_or(b"\0", str::as_bytes)
    }
}

fn strip(text: &str) -> &str {
    text.strip_suffix('\0').unwrap_or(text)
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("id", &self.id())
            .field("tag", &self.tag())
            .field("topic", &self.topic())
            .field("status", &self.status())
            .field("persistence", &self.persistence())
            .field("server_code", &self.server_code())
            .field("attempts", &self.attempts())
            .field("text", &self.text())
            .finish_non_exhaustive()
    }
}
