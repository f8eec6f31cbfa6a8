//! Content: what a message says, in one piece of memory.

use std::sync::Arc;

/// `<topic> NUL <headers> <payload> <Msg-Id> NUL`, the Msg-Id only if there is one.
///
/// What the user gave, and no more: the wire writes its own words around it when the message is sent. So little crosses from core to core, and little is kept
/// for a pending message. Topic and Msg-Id can be shown to C as they are.
#[derive(Debug, Default)]
pub(crate) struct Content {
    bytes: Bytes,
    topic: u16,
    msg_id: u16,
    headers: u32,
    payload: u32,
    body: u32,
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

    /// Takes a message's parts, whose lengths are checked. `headers` writes its part, of which `headers_len` bytes are expected; `body` is what the server will count.
    pub(crate) fn fill(&mut self, topic: &[u8], headers_len: usize, headers: impl FnOnce(&mut Vec<u8>), payload: &[u8], msg_id: &[u8], body: usize) {
        if let Bytes::Shared(_) = self.bytes {
            self.bytes = Bytes::default();
        }
        let Bytes::Owned(bytes) = &mut self.bytes else { return };
        bytes.clear();
        let len = topic.len() + 1 + headers_len + payload.len() + if msg_id.is_empty() { 0 } else { msg_id.len() + 1 };
        if bytes.capacity() > MOST_SPARE * len {
            // A short message must not hold a long one's memory while it is pending (P9).
            *bytes = Vec::new();
        }
        // Exactly: a growing vector doubles, and every pending message would pay for it.
        bytes.reserve_exact(len);
        bytes.extend_from_slice(topic);
        bytes.push(0);
        headers(bytes);
        debug_assert_eq!(bytes.len(), topic.len() + 1 + headers_len);
        bytes.extend_from_slice(payload);
        if !msg_id.is_empty() {
            bytes.extend_from_slice(msg_id);
            bytes.push(0);
        }
        (self.topic, self.headers) = (topic.len() as u16, headers_len as u32);
        (self.payload, self.msg_id, self.body) = (payload.len() as u32, msg_id.len() as u16, body as u32);
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

    /// `Name: value CR LF` for each header but the Msg-Id.
    pub(crate) fn headers(&self) -> &[u8] {
        self.part(self.headers_at(), self.headers as usize)
    }

    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        self.part(self.payload_at(), self.payload as usize)
    }

    /// Headers and payload, as the server counts them against `max_payload`.
    pub(crate) fn body(&self) -> u32 {
        self.body
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

    fn content(payload: &[u8], msg_id: &[u8]) -> Content {
        let mut content = Content::default();
        content.fill(b"a.b", 6, |bytes| bytes.extend_from_slice(b"A: 1\r\n"), payload, msg_id, 99);
        content
    }

    #[test]
    fn every_part_is_found_again() {
        let mut with = content(b"pay", b"id000");
        *with.msg_id_end().unwrap() = *b"123";
        assert_eq!((with.topic(), with.headers(), with.payload(), with.msg_id()), ("a.b", &b"A: 1\r\n"[..], &b"pay"[..], "id123"));
        assert_eq!((with.topic_nul(), with.msg_id_nul(), with.has_msg_id()), (&b"a.b\0"[..], &b"id123\0"[..], true));
        assert_eq!(with.body(), 99);
        let without = content(b"", b"");
        assert_eq!((without.payload(), without.msg_id(), without.msg_id_nul(), without.has_msg_id()), (&b""[..], "", &b"\0"[..], false));
        assert_eq!(without.held(), 10, "no byte more than the message has");
    }

    #[test]
    fn a_shared_payload_stays_as_it_is_whatever_becomes_of_the_slot() {
        let mut content = content(b"pay", b"id");
        let (bytes, range) = content.share_payload();
        assert_eq!((&bytes[range.clone()], content.payload(), content.msg_id()), (&b"pay"[..], &b"pay"[..], "id"));
        assert!(content.msg_id_end::<2>().is_none() && Arc::ptr_eq(&bytes, &content.share_payload().0));
        content.recycle(1024);
        content.fill(b"x", 0, |_| {}, b"other", b"", 5);
        assert_eq!((&bytes[range], content.payload()), (&b"pay"[..], &b"other"[..]));
    }

    #[test]
    fn memory_is_kept_up_to_a_bound() {
        let mut content = content(b"pay", b"id");
        let held = content.held();
        content.recycle(held);
        assert_eq!((content.held(), content.topic(), content.has_msg_id()), (held, "", false));
        content.recycle(held - 1);
        assert_eq!(content.held(), 0);
        content.fill(b"a", 0, |_| {}, &[0; 10 * MOST_SPARE], b"", 0);
        let held = content.held();
        content.fill(b"a", 0, |_| {}, &[0; 10], b"", 0);
        assert_eq!(content.held(), held, "memory that nearly fits is used again");
        content.fill(b"a", 0, |_| {}, &[0; 8], b"", 0);
        assert_eq!(content.held(), 10, "much more than it needs a message does not hold");
    }
}
