//! Content: what a message says, in one piece of memory.

use std::sync::Arc;

/// `<topic> NUL <headers> <payload> <Msg-Id> NUL <key>`, the Msg-Id and its NUL only if there is one, the key only with a wire that has keys.
///
/// What the user gave, and no more, in no protocol's words: the wire writes its own around it when the message is sent. So little crosses from core to core,
/// and little is kept for a pending message. Topic and Msg-Id can be shown to C as they are.
#[derive(Debug, Default)]
pub(crate) struct Content {
    bytes: Bytes,
    topic: u16,
    msg_id: u16,
    key: u16,
    /// What the server counts beside headers and payload.
    extra: u16,
    headers: u32,
    payload: u32,
}

/// The parts of a message, as they are put into its content. Their lengths are checked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) topic: &'a [u8],
    /// The bytes that all headers take here, as [`header_len`] counts them.
    pub(crate) headers: usize,
    pub(crate) payload: &'a [u8],
    /// Empty: there is none.
    pub(crate) msg_id: &'a [u8],
    /// At most 65,535 bytes. Empty: there is none.
    pub(crate) key: &'a [u8],
    /// What the server will count for the message beside `headers` and the payload.
    pub(crate) extra: usize,
}

/// What a header takes beside its name and its value: their lengths, two bytes each.
pub(crate) const LENGTHS: usize = 4;

/// The bytes that a header takes.
#[inline]
pub(crate) fn header_len(name: &str, value: &str) -> usize {
    LENGTHS + name.len() + value.len()
}

/// Where the headers of a message are written, each with the lengths of its name and of its value.
pub(crate) struct HeaderWriter<'a>(&'a mut Vec<u8>);

impl HeaderWriter<'_> {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let ([n0, n1], [v0, v1]) = ((name.len() as u16).to_le_bytes(), (value.len() as u16).to_le_bytes());
        self.0.extend_from_slice(&[n0, n1, v0, v1]);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }
}

/// Names and values, in the order in which they were given.
#[derive(Clone, Debug)]
pub(crate) struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[n0, n1, v0, v1], rest) = self.0.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes([n0, n1]).into())?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes([v0, v1]).into())?;
        self.0 = rest;
        Some((name, value))
    }
}

/// Large payloads are shared with the wire while they are on their way, so that they are never copied.
#[derive(Debug)]
enum Bytes {
    Owned(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

/// How many times its length a message may hold.
const MOST_SPARE: usize = 8;

impl Default for Bytes {
    fn default() -> Self {
        Bytes::Owned(Vec::new())
    }
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }

    #[inline]
    fn part(&self, start: usize, len: usize) -> &[u8] {
        self.bytes().get(start..start + len).unwrap_or_default()
    }

    fn headers_at(&self) -> usize {
        usize::from(self.topic) + 1
    }

    fn payload_at(&self) -> usize {
        self.headers_at() + self.headers as usize
    }

    fn msg_id_at(&self) -> usize {
        self.payload_at() + self.payload as usize
    }

    /// Takes a message's parts. `write` adds the headers.
    #[inline]
    pub(crate) fn fill(&mut self, parts: &Parts<'_>, write: impl FnOnce(&mut HeaderWriter<'_>)) {
        if let Bytes::Shared(_) = self.bytes {
            self.bytes = Bytes::default();
        }
        let Bytes::Owned(bytes) = &mut self.bytes else { return };
        let Parts { topic, headers, payload, msg_id, key, extra } = *parts;
        bytes.clear();
        let len = topic.len() + 1 + headers + payload.len() + if msg_id.is_empty() { 0 } else { msg_id.len() + 1 } + key.len();
        if bytes.capacity() > MOST_SPARE * len {
            // A short message must not hold a long one's memory while it is pending (P9).
            *bytes = Vec::new();
        }
        // Exactly: a growing vector doubles, and every pending message would pay for it.
        bytes.reserve_exact(len);
        bytes.extend_from_slice(topic);
        bytes.push(0);
        write(&mut HeaderWriter(bytes));
        debug_assert_eq!(bytes.len(), topic.len() + 1 + headers);
        bytes.extend_from_slice(payload);
        if !msg_id.is_empty() {
            bytes.extend_from_slice(msg_id);
            bytes.push(0);
        }
        if !key.is_empty() {
            bytes.extend_from_slice(key);
        }
        (self.topic, self.msg_id, self.key, self.extra) = (topic.len() as u16, msg_id.len() as u16, key.len() as u16, extra as u16);
        (self.headers, self.payload) = (headers as u32, payload.len() as u32);
    }

    pub(crate) fn topic(&self) -> &str {
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    pub(crate) fn topic_bytes(&self) -> &[u8] {
        self.part(0, usize::from(self.topic))
    }

    /// With the NUL byte.
    #[inline]
    pub(crate) fn topic_nul(&self) -> &[u8] {
        self.part(0, self.headers_at())
    }

    /// All headers but the Msg-Id.
    #[inline]
    pub(crate) fn headers(&self) -> Headers<'_> {
        Headers(self.part(self.headers_at(), self.headers as usize))
    }

    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        self.part(self.payload_at(), self.payload as usize)
    }

    /// What the server counts as headers, and with the payload.
    #[inline]
    pub(crate) fn lengths(&self) -> (usize, usize) {
        let headers = self.headers + u32::from(self.extra);
        (headers as usize, (headers + self.payload) as usize)
    }

    /// Headers and payload, as the server counts them against `max_payload`.
    #[inline]
    pub(crate) fn body(&self) -> u32 {
        self.headers + u32::from(self.extra) + self.payload
    }

    pub(crate) fn has_msg_id(&self) -> bool {
        self.msg_id > 0
    }

    /// Empty without one.
    pub(crate) fn msg_id(&self) -> &str {
        std::str::from_utf8(self.msg_id_bytes()).unwrap_or_default()
    }

    pub(crate) fn msg_id_bytes(&self) -> &[u8] {
        self.part(self.msg_id_at(), usize::from(self.msg_id))
    }

    /// With the NUL byte; nothing but that without one.
    #[inline]
    pub(crate) fn msg_id_nul(&self) -> &[u8] {
        if self.has_msg_id() { self.part(self.msg_id_at(), usize::from(self.msg_id) + 1) } else { b"\0" }
    }

    /// Empty without one.
    #[allow(dead_code, reason = "room for a wire with keys: NATS and memory have none")]
    pub(crate) fn key(&self) -> &[u8] {
        let behind = self.msg_id_at() + if self.has_msg_id() { usize::from(self.msg_id) + 1 } else { 0 };
        self.part(behind, usize::from(self.key))
    }

    /// The last bytes of the Msg-Id, for writing: an automatic one ends with its message's number. Never while the payload is shared.
    pub(crate) fn msg_id_end<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let end = self.msg_id_at() + usize::from(self.msg_id);
        match &mut self.bytes {
            Bytes::Owned(bytes) => bytes.get_mut(..end)?.last_chunk_mut(),
            Bytes::Shared(_) => None,
        }
    }

    /// Shares the payload with the wire: memory, and where in it the payload lies.
    pub(crate) fn share_payload(&mut self) -> (Arc<Vec<u8>>, std::ops::Range<usize>) {
        let range = self.payload_at()..self.msg_id_at();
        if let Bytes::Owned(bytes) = &mut self.bytes {
            self.bytes = Bytes::Shared(Arc::new(std::mem::take(bytes)));
        }
        match &self.bytes {
            Bytes::Shared(bytes) => (Arc::clone(bytes), range),
            Bytes::Owned(bytes) => (Arc::new(bytes.clone()), range),
        }
    }

    /// How much memory it holds for itself, used or not.
    pub(crate) fn held(&self) -> usize {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes.capacity(),
            Bytes::Shared(_) => 0,
        }
    }

    /// Empties it. Memory beyond `most` bytes is given back.
    pub(crate) fn recycle(&mut self, most: usize) {
        let mut bytes = match std::mem::take(&mut self.bytes) {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => Arc::try_unwrap(bytes).unwrap_or_default(),
        };
        bytes.clear();
        if bytes.capacity() > most {
            bytes = Vec::new();
        }
        *self = Content { bytes: Bytes::Owned(bytes), ..Content::default() };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn content(payload: &[u8], msg_id: &[u8], key: &[u8]) -> Content {
        let mut content = Content::default();
        let headers = header_len("A", "1") + header_len("B", "");
        content.fill(&Parts { topic: b"a.b", headers, payload, msg_id, key, extra: 9 }, |headers| {
            headers.add("A", "1");
            headers.add("B", "");
        });
        content
    }

    fn plain(payload: &[u8]) -> Parts<'_> {
        Parts { topic: b"a", payload, ..Parts::default() }
    }

    #[test]
    fn every_part_is_found_again() {
        let headers: Vec<(&[u8], &[u8])> = vec![(b"A", b"1"), (b"B", b"")];
        let mut with = content(b"pay", b"id000", b"key");
        *with.msg_id_end().unwrap() = *b"123";
        assert_eq!((with.topic(), with.headers().collect::<Vec<_>>(), with.payload()), ("a.b", headers.clone(), &b"pay"[..]));
        assert_eq!((with.msg_id(), with.key()), ("id123", &b"key"[..]));
        assert_eq!((with.topic_nul(), with.msg_id_nul(), with.has_msg_id()), (&b"a.b\0"[..], &b"id123\0"[..], true));
        assert_eq!((with.lengths(), with.body()), ((20, 23), 23), "two headers of 11 bytes, and nine beside them");
        let without = content(b"", b"", b"");
        assert_eq!((without.payload(), without.msg_id(), without.msg_id_nul(), without.has_msg_id()), (&b""[..], "", &b"\0"[..], false));
        assert_eq!((without.headers().collect::<Vec<_>>(), without.key()), (headers, &b""[..]));
        assert_eq!(without.held(), 15, "no byte more than the message has");
        assert_eq!(content(b"pay", b"", b"k").key(), b"k");
    }

    #[test]
    fn a_shared_payload_stays_as_it_is_whatever_becomes_of_the_slot() {
        let mut content = content(b"pay", b"id", b"");
        let (bytes, range) = content.share_payload();
        assert_eq!((&bytes[range.clone()], content.payload(), content.msg_id()), (&b"pay"[..], &b"pay"[..], "id"));
        assert!(content.msg_id_end::<2>().is_none() && Arc::ptr_eq(&bytes, &content.share_payload().0));
        content.recycle(1024);
        content.fill(&plain(b"other"), |_| {});
        assert_eq!((&bytes[range], content.payload()), (&b"pay"[..], &b"other"[..]));
    }

    #[test]
    fn memory_is_kept_up_to_a_bound() {
        let mut content = content(b"pay", b"id", b"");
        let held = content.held();
        content.recycle(held);
        assert_eq!((content.held(), content.topic(), content.has_msg_id()), (held, "", false));
        content.recycle(held - 1);
        assert_eq!(content.held(), 0);
        content.fill(&plain(&[0; 10 * MOST_SPARE]), |_| {});
        let held = content.held();
        content.fill(&plain(&[0; 10]), |_| {});
        assert_eq!(content.held(), held, "memory that nearly fits is used again");
        content.fill(&plain(&[0; 8]), |_| {});
        assert_eq!(content.held(), 10, "much more than it needs a message does not hold");
    }
}
