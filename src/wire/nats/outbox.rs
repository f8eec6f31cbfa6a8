//! The outbox: bytes staged for one connection, and where each frame ends in them.
//!
//! Small frames are written together, so that a burst is one system call; large payloads are shared with their slots and leave from where they are. A frame's attempt begins
//! when its last byte was accepted below: that is what [`Outbox::accepted`] tells.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::frame::Encoder;
use crate::ledger::slot::Slot;

/// Staged bytes beyond which no frame is added: what is here can neither be taken back nor reordered.
const ROOM: usize = 128 << 10;
/// Payloads from this size on are not copied.
const LARGE: usize = 16 << 10;
/// Copied bytes after which another chunk begins. A chunk goes when its last byte is out, and on a connection that is always behind one that may grow for ever
/// never would (P9).
const CHUNK: usize = 64 << 10;
/// Emptied chunks that are kept: as many as a full outbox has.
const SPARES: usize = ROOM / CHUNK + 1;
/// The most pieces of one write.
pub(crate) const PIECES: usize = 16;

enum Chunk {
    Copied(Vec<u8>),
    /// A payload, where a slot has it.
    Shared(Arc<Vec<u8>>, Range<usize>),
    /// Overwritten in memory as soon as it is out.
    Secret(Zeroizing<Vec<u8>>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Copied(bytes) => bytes,
            Chunk::Shared(bytes, range) => bytes.get(range.clone()).unwrap_or_default(),
            Chunk::Secret(bytes) => bytes,
        }
    }
}

/// Where a frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    at: u64,
    pub(crate) slot: u32,
    pub(crate) id: u64,
}

#[derive(Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Of the first chunk, already accepted.
    head: usize,
    staged: u64,
    taken: u64,
    ends: VecDeque<End>,
    spares: Vec<Vec<u8>>,
}

impl Outbox {
    pub(crate) fn has_room(&self) -> bool {
        self.unsent() < ROOM
    }

    pub(crate) fn unsent(&self) -> usize {
        (self.staged - self.taken) as usize
    }

    /// All that was staged so far, in bytes.
    pub(crate) fn staged(&self) -> u64 {
        self.staged
    }

    /// How much of it was accepted below.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Adds bytes that belong to no message.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.write(|chunk| chunk.extend_from_slice(bytes));
    }

    /// Adds what `write` appends to the chunk that is being filled.
    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let written = match self.chunks.back_mut() {
            Some(Chunk::Copied(chunk)) if chunk.len() < CHUNK => {
                let before = chunk.len();
                write(chunk);
                chunk.len() - before
            }
            _ => {
                let mut chunk = self.spares.pop().unwrap_or_default();
                write(&mut chunk);
                let written = chunk.len();
                self.chunks.push_back(Chunk::Copied(chunk));
                written
            }
        };
        self.staged += written as u64;
    }

    /// Adds bytes that are credentials.
    pub(crate) fn push_secret(&mut self, bytes: Zeroizing<Vec<u8>>) {
        self.staged += bytes.len() as u64;
        self.chunks.push_back(Chunk::Secret(bytes));
    }

    /// Adds the frame of a message's running attempt.
    pub(crate) fn push_frame(&mut self, encoder: &Encoder, slot: &mut Slot) {
        if slot.payload().len() < LARGE {
            self.write(|chunk| {
                encoder.write_head(chunk, slot);
                chunk.extend_from_slice(slot.payload());
                chunk.extend_from_slice(b"\r\n");
            });
        } else {
            self.write(|chunk| encoder.write_head(chunk, slot));
            let (bytes, range) = slot.content.share_payload();
            self.staged += range.len() as u64;
            self.chunks.push_back(Chunk::Shared(bytes, range));
            self.push(b"\r\n");
        }
        self.ends.push_back(End { at: self.staged, slot: slot.index, id: slot.id });
    }

    /// What to write next, in pieces.
    pub(crate) fn pieces<'a>(&'a self, into: &mut [IoSlice<'a>; PIECES]) -> usize {
        let mut skip = self.head;
        let mut count = 0;
        for (place, chunk) in into.iter_mut().zip(&self.chunks) {
            *place = IoSlice::new(chunk.bytes().get(skip..).unwrap_or_default());
            skip = 0;
            count += 1;
        }
        count
    }

    /// The carrier below accepted this many bytes: these frames are out.
    pub(crate) fn accepted(&mut self, count: usize, mut out: impl FnMut(End)) {
        self.taken += count as u64;
        self.head += count;
        while let Some(first) = self.chunks.front() {
            let len = first.bytes().len();
            if self.head < len {
                break;
            }
            self.head -= len;
            if let Some(Chunk::Copied(mut chunk)) = self.chunks.pop_front()
                && self.spares.len() < SPARES
            {
                chunk.clear();
                self.spares.push(chunk);
            }
        }
        while let Some(&end) = self.ends.front() {
            if end.at > self.taken {
                break;
            }
            self.ends.pop_front();
            out(end);
        }
    }
}

/// Without the bytes: they are users' messages, and our credentials.
impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("staged", &self.staged).field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::settings::MsgIdMode;
    use crate::message::Message;

    fn encoder() -> Encoder {
        Encoder::new("_INBOX", MsgIdMode::None, &[7; 32])
    }

    fn slot(encoder: &Encoder, index: u32, payload: &[u8]) -> Slot {
        let message = Message::new("t", payload);
        let mut slot = Slot::new(index);
        slot.ephemeral = true;
        encoder.fill(&mut slot, &message, encoder.plan(&message, true).unwrap());
        slot
    }

    #[test]
    fn credentials_are_copied_nowhere_and_shown_nowhere() {
        let mut outbox = Outbox::default();
        outbox.push(b"CONNECT ");
        let secret = Zeroizing::new(b"hush".to_vec());
        let place = secret.as_ptr();
        outbox.push_secret(secret);
        outbox.push(b"\r\n");
        let mut pieces = [IoSlice::new(&[]); PIECES];
        assert_eq!(outbox.pieces(&mut pieces), 3);
        assert_eq!((&*pieces[1], pieces[1].as_ptr()), (&b"hush"[..], place));
        assert!(!format!("{outbox:?}").contains(format!("{:?}", b"hush").trim_matches(['[', ']'])));
        outbox.accepted(13, |_| {});
        assert_eq!((outbox.chunks.len(), outbox.head, outbox.unsent()), (1, 1, 1));
    }

    #[test]
    fn a_connection_that_is_always_behind_holds_no_more_than_what_is_unsent() {
        let mut outbox = Outbox::default();
        let encoder = encoder();
        let mut slot = slot(&encoder, 1, &[b'x'; 1000]);
        let held = |outbox: &Outbox| outbox.chunks.iter().map(|chunk| chunk.bytes().len()).sum::<usize>();
        for id in 0..20_000 {
            while !outbox.has_room() {
                // Never to the end.
                outbox.accepted(outbox.unsent() / 2, |_| {});
            }
            slot.id = id;
            outbox.push_frame(&encoder, &mut slot);
            assert!(held(&outbox) < outbox.unsent() + CHUNK + 1100, "{} bytes are unsent, and {} are held", outbox.unsent(), held(&outbox));
        }
        outbox.accepted(outbox.unsent(), |_| {});
        assert!(outbox.spares.iter().map(Vec::capacity).sum::<usize>() <= SPARES * 2 * CHUNK);
    }

    #[test]
    fn frames_are_out_when_their_last_byte_is() {
        let mut outbox = Outbox::default();
        outbox.push(b"PING\r\n");
        let encoder = encoder();
        let large = vec![b'b'; LARGE];
        for (index, payload) in [(1, &b"aaa"[..]), (2, &large), (3, b"ccc")] {
            let mut slot = slot(&encoder, index, payload);
            outbox.push_frame(&encoder, &mut slot);
            assert_eq!(Arc::strong_count(&slot.content.share_payload().0) > 2, payload.len() >= LARGE, "only large payloads are shared");
        }
        let mut written = Vec::new();
        let mut out = Vec::new();
        let mut step = 1;
        while outbox.unsent() > 0 {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = outbox.pieces(&mut pieces);
            let mut left = step;
            let mut taken = 0;
            for piece in &pieces[..count] {
                let n = piece.len().min(left);
                written.extend_from_slice(&piece[..n]);
                left -= n;
                taken += n;
            }
            outbox.accepted(taken, |end| out.push((end.slot, written.len())));
            step = step * 3 % 1009 + 1;
        }
        let expected = [b"PING\r\nPUB t 3\r\naaa\r\nPUB t 16384\r\n", &large[..], b"\r\nPUB t 3\r\nccc\r\n"].concat();
        assert!(written == expected);
        assert_eq!(out.iter().map(|o| o.0).collect::<Vec<_>>(), [1, 2, 3]);
        let ends = [20, expected.len() - 14, expected.len()];
        assert!(out[0].1 >= ends[0] && out[1].1 >= ends[1] && out[2].1 == ends[2], "{out:?}");
    }
}
