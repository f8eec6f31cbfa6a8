//! One connection as the network sees it: bytes under way in both directions, their times, and its end.

use std::collections::{BTreeMap, VecDeque};

use super::rng::Rng;
use super::script::ConnPlan;
use super::truth::Reading;

/// What a read on the client's side gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Bytes(Vec<u8>),
    /// Nothing yet.
    Empty,
    /// The server closed; all that it wrote was read.
    End,
    /// The connection was reset.
    Reset,
}

/// What it means when the client has read a frame to its last byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// What the frame tells.
    pub(crate) means: Option<Reading>,
    /// The attempts in front of the PING that this PONG answers.
    pub(crate) fences: Vec<usize>,
    pub(crate) is_info: bool,
}

#[derive(Clone, Debug)]
struct Out {
    bytes: Vec<u8>,
    read: usize,
    note: Note,
}

/// Both directions of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) opened: u64,
    pub(crate) plan: ConnPlan,
    /// Pieces on their way to the server, each with the time at which the server may read it.
    inbound: VecDeque<(u64, Vec<u8>)>,
    unread: usize,
    /// Where the bytes taken by each write end, and when it was.
    accepted: Vec<(u64, u64)>,
    total: u64,
    /// A choppy network takes nothing until then.
    stalled_until: u64,
    /// Frames on their way to the client by their times of arrival; equal times in the order of sending.
    outbox: BTreeMap<(u64, u64), Out>,
    reading: Option<Out>,
    sent: u64,
    /// When the newest frame that keeps its order (INFO, PONG, -ERR, 503) arrives.
    in_order: u64,
    /// When the end arrives at the client, and whether it is a reset.
    end: Option<(u64, bool)>,
    /// The server is through with it.
    pub(crate) dead: bool,
}

impl Link {
    pub(crate) fn new(now: u64, plan: ConnPlan) -> Self {
        Self {
            opened: now,
            plan,
            inbound: VecDeque::new(),
            unread: 0,
            accepted: Vec::new(),
            total: 0,
            stalled_until: 0,
            outbox: BTreeMap::new(),
            reading: None,
            sent: 0,
            in_order: 0,
            end: None,
            dead: false,
        }
    }

    pub(super) fn is_deaf(&self, at: u64) -> bool {
        self.plan.deaf_after.is_some_and(|after| at >= self.opened + after)
    }

    /// Takes as many bytes of the client as the network has room for; `None` when the end has arrived.
    pub(crate) fn accept(&mut self, now: u64, bytes: &[u8], rng: &mut Rng) -> Option<usize> {
        if self.end.is_some_and(|(at, _)| at <= now) {
            return None;
        }
        if now < self.stalled_until || bytes.is_empty() {
            return Some(0);
        }
        let mut len = bytes.len().min(self.plan.capacity.saturating_sub(self.unread));
        if let Some(most) = self.plan.choppy {
            len = len.min(rng.between(1, most as u64) as usize);
            self.stalled_until = if rng.chance(500) { now + rng.between(1, 200_000) } else { 0 };
        }
        if len > 0 {
            self.total += len as u64;
            self.unread += len;
            self.accepted.push((self.total, now));
            let due = (now + self.plan.latency_up).max(self.inbound.back().map_or(0, |(due, _)| *due));
            self.inbound.push_back((due, bytes[..len].to_vec()));
        }
        Some(len)
    }

    /// When the network took the byte at this offset.
    pub(crate) fn accepted_at(&self, offset: u64) -> u64 {
        let at = self.accepted.partition_point(|&(end, _)| end <= offset);
        self.accepted.get(at).map_or(0, |&(_, when)| when)
    }

    /// When the server can read the next piece.
    pub(crate) fn readable_at(&self) -> Option<u64> {
        self.inbound.front().map(|(due, _)| *due).filter(|&due| !self.dead && !self.is_deaf(due))
    }

    /// The next piece, at most this long.
    pub(crate) fn take(&mut self, most: u64) -> Vec<u8> {
        let Some((due, mut piece)) = self.inbound.pop_front() else { return Vec::new() };
        if piece.len() as u64 > most {
            let rest = piece.split_off(most as usize);
            self.inbound.push_front((due, rest));
        }
        self.unread -= piece.len();
        piece
    }

    /// All that the server has not read.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        self.unread = 0;
        self.inbound.drain(..).flat_map(|(_, piece)| piece).collect()
    }

    /// The client is gone: of what the server has not read only a share (in thousandths) arrives, and later. Gives what is lost.
    pub(crate) fn orphan(&mut self, share: u64, later: u64) -> Vec<u8> {
        let mut keep = (self.unread as u64 * share / 1000) as usize;
        let mut lost = Vec::new();
        for (due, piece) in &mut self.inbound {
            *due += later;
            lost.extend(piece.drain(keep.min(piece.len())..));
            keep -= piece.len();
        }
        self.inbound.retain(|(_, piece)| !piece.is_empty());
        self.unread -= lost.len();
        lost
    }

    /// Sends a frame whose place among the others does not matter to the server.
    pub(crate) fn send(&mut self, now: u64, bytes: Vec<u8>, note: Note) {
        self.put(now + self.plan.latency_down, bytes, note);
    }

    /// Sends a frame of the server's read loop: in the order of what it read (X2), and at least `extra` later.
    pub(crate) fn send_in_order(&mut self, now: u64, extra: u64, bytes: Vec<u8>, note: Note) {
        self.in_order = self.in_order.max(now + self.plan.latency_down + extra);
        self.put(self.in_order, bytes, note);
    }

    fn put(&mut self, due: u64, bytes: Vec<u8>, note: Note) {
        if self.end.is_none() && !self.is_deaf(due) {
            self.sent += 1;
            self.outbox.insert((due, self.sent), Out { bytes, read: 0, note });
        }
    }

    /// The server closes. What it sent before can be read (X5).
    pub(crate) fn close(&mut self, now: u64) {
        self.finish(self.in_order.max(now + self.plan.latency_down), false);
    }

    /// The connection is cut. Of what was on its way all, a torn part or nothing can be read.
    pub(crate) fn cut(&mut self, now: u64, rng: &mut Rng) {
        let clean = self.plan.clean_end;
        self.finish(now + self.plan.latency_down, !clean);
        if !clean && rng.chance(500) {
            self.outbox.clear();
        } else if !clean && let Some(mut last) = self.outbox.last_entry() {
            let out = last.get_mut();
            let keep = rng.index(out.bytes.len());
            out.bytes.truncate(keep);
            out.note = Note::default();
        }
    }

    fn finish(&mut self, at: u64, reset: bool) {
        self.dead = true;
        if self.end.is_none() && !self.is_deaf(at) {
            self.end = Some((at, reset));
            self.outbox.retain(|&(due, _), _| due <= at);
        }
    }

    /// What the client reads now, and the notes of the frames that it has read to their ends.
    pub(crate) fn read(&mut self, now: u64, max: usize, rng: &mut Rng) -> (Output, Vec<Note>) {
        let max = self.plan.choppy.map_or(max, |most| max.min(rng.between(1, most as u64) as usize));
        let (mut bytes, mut notes) = (Vec::new(), Vec::new());
        while bytes.len() < max {
            if self.reading.is_none() {
                self.reading = self.outbox.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove());
            }
            let Some(out) = &mut self.reading else { break };
            let piece = &out.bytes[out.read..];
            let piece = &piece[..piece.len().min(max - bytes.len())];
            bytes.extend_from_slice(piece);
            out.read += piece.len();
            if out.read == out.bytes.len() {
                notes.extend(self.reading.take().map(|out| out.note));
            }
        }
        let output = match self.end {
            _ if !bytes.is_empty() => Output::Bytes(bytes),
            Some((at, reset)) if at <= now && self.outbox.is_empty() => {
                if reset {
                    Output::Reset
                } else {
                    Output::End
                }
            }
            _ => Output::Empty,
        };
        (output, notes)
    }

    /// Whether a read on the client's side would give something, be it the end.
    pub(crate) fn is_readable(&self, now: u64) -> bool {
        self.reading.is_some() || self.outbox.first_key_value().is_some_and(|((due, _), _)| *due <= now) || self.end.is_some_and(|(at, _)| at <= now)
    }

    /// The frames that have arrived at the client and were not read to their ends.
    pub(crate) fn unread(&self, now: u64) -> impl Iterator<Item = &Note> {
        self.reading.iter().chain(self.outbox.range(..=(now, u64::MAX)).map(|(_, out)| out)).map(|out| &out.note)
    }

    /// Whether a write on the client's side would be taken, or refused for good.
    pub(crate) fn is_writable(&self, now: u64) -> bool {
        self.end.is_some_and(|(at, _)| at <= now) || (now >= self.stalled_until && self.unread < self.plan.capacity)
    }

    /// The next time after `now` at which the client's side changes.
    pub(crate) fn next_change(&self, now: u64) -> Option<u64> {
        let arrival = self.outbox.range((now + 1, 0)..).next().map(|((due, _), _)| *due);
        [arrival, self.end.map(|(at, _)| at), Some(self.stalled_until)].into_iter().flatten().filter(|&at| at > now).min()
    }
}
