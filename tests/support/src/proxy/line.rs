//! What one direction of a connection still has to write, in the order of its times.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How a direction ends, once all before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The other side has said farewell.
    Farewell,
    /// Both sides see a reset.
    Reset,
}

/// Bytes that are written one after the other: whole frames, unless somebody wants it otherwise.
#[derive(Debug)]
pub(super) struct Piece {
    due: Instant,
    turn: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) end: Option<End>,
}

/// Pieces for one writer, from a reader and from whoever else has something to say.
#[derive(Debug)]
pub(super) struct Line {
    waiting: Mutex<Waiting>,
    more: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Waiting {
    pieces: BinaryHeap<Piece>,
    bytes: usize,
    /// When the last piece in line is due: none that keeps its place may be due before it, though the delay has become shorter.
    last_due: Instant,
    turns: u64,
}

impl Line {
    pub(super) fn new() -> Self {
        let waiting = Waiting { pieces: BinaryHeap::new(), bytes: 0, last_due: Instant::now(), turns: 0 };
        Line { waiting: Mutex::new(waiting), more: Notify::new(), room: Notify::new() }
    }

    /// Adds bytes at the end, to be written after `delay`.
    pub(super) fn push(&self, bytes: Vec<u8>, delay: Duration) {
        if !bytes.is_empty() {
            self.add(bytes, None, delay, true);
        }
    }

    /// The same for bytes that others overtake.
    pub(super) fn push_late(&self, bytes: Vec<u8>, delay: Duration) {
        self.add(bytes, None, delay, false);
    }

    /// Ends the direction behind all that is in line.
    pub(super) fn end(&self, end: End, delay: Duration) {
        self.add(Vec::new(), Some(end), delay, true);
    }

    /// Waits until fewer than `limit` bytes are in line.
    pub(super) async fn room(&self, limit: usize) {
        while self.lock().bytes >= limit {
            self.room.notified().await;
        }
    }

    /// Waits for the next piece that is due.
    pub(super) async fn next(&self) -> Piece {
        loop {
            let due = {
                let mut waiting = self.lock();
                match waiting.pieces.peek().map(|piece| piece.due) {
                    Some(due) if due <= Instant::now() => {
                        if let Some(piece) = waiting.pieces.pop() {
                            waiting.bytes -= piece.bytes.len();
                            self.room.notify_one();
                            return piece;
                        }
                        None
                    }
                    due => due,
                }
            };
            match due {
                None => self.more.notified().await,
                Some(due) => tokio::select! {
                    () = self.more.notified() => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    fn add(&self, bytes: Vec<u8>, end: Option<End>, delay: Duration, in_line: bool) {
        let mut waiting = self.lock();
        let mut due = Instant::now() + delay;
        if in_line {
            due = due.max(waiting.last_due);
            waiting.last_due = due;
        }
        waiting.turns += 1;
        waiting.bytes += bytes.len();
        let turn = waiting.turns;
        waiting.pieces.push(Piece { due, turn, bytes, end });
        self.more.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The greatest is the next: the earliest, and of two that are due together the one that came first.
impl Ord for Piece {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.turn).cmp(&(self.due, self.turn))
    }
}

impl PartialOrd for Piece {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Piece {}
