//! Fences: PINGs between frames, whose PONGs prove what the server has read.
//!
//! Replies come in wire order (X2): when the PONG of a PING is here, so is every permission error of the frames before that PING. So a message is sent again only
//! behind a fence, and permission errors, which name a subject but no message, are counted between two fences.

use std::collections::VecDeque;

use crate::base::time::Nanos;
use crate::wire::{Denials, Named};

/// While frames are written, a fence follows at most this often.
const EVERY: Nanos = 50_000_000;
/// Subjects with permission errors that one interval remembers. The errors of more are counted without their names.
const MOST_SUBJECTS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Fences {
    /// PINGs staged: the mark of frames staged now.
    raised: u64,
    /// PONGs read: marks below this are closed.
    closed: u64,
    last_raised: Nanos,
    /// Frames were staged under the current mark.
    open: bool,
    wanted: bool,
    /// Frames without a reply subject under the current mark.
    silent: u32,
    /// The same of the marks whose PONGs are awaited, the oldest first.
    silent_before: VecDeque<u32>,
    denials: Denials,
}

impl Fences {
    /// The mark of a frame that is staged now.
    pub(crate) fn mark(&mut self) -> u64 {
        self.open = true;
        self.raised
    }

    /// The frame that is staged now has no reply subject: nothing but a permission error can answer it.
    pub(crate) fn note_silent(&mut self, is_silent: bool) {
        self.silent += u32::from(is_silent);
    }

    /// Frames were staged since the last PING.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// A fence must follow as soon as possible.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether to send a PING now, and if not, when to ask again.
    pub(crate) fn due(&self, now: Nanos, in_flight: bool) -> Result<(), Nanos> {
        if self.wanted {
            return Ok(());
        }
        if !self.open || !in_flight {
            return Err(Nanos::MAX);
        }
        let at = self.last_raised + EVERY;
        if at <= now { Ok(()) } else { Err(at) }
    }

    /// A PING was staged, because it was due.
    pub(crate) fn raise(&mut self, now: Nanos) {
        self.last_raised = now;
        self.part();
    }

    /// A PING was staged, whenever that may be.
    pub(crate) fn part(&mut self) {
        self.raised += 1;
        self.open = false;
        self.wanted = false;
        self.silent_before.push_back(std::mem::take(&mut self.silent));
    }

    /// Whether a PONG is awaited.
    pub(crate) fn awaited(&self) -> bool {
        self.closed < self.raised
    }

    /// A frame was refused; it is one of those under the lowest open mark. The subject is the server's name for it, empty if that is none; `said` are its words.
    /// Returns whether they are new under this mark.
    pub(crate) fn refused(&mut self, subject: &str, said: &str) -> bool {
        let denials = &mut self.denials;
        denials.total = denials.total.saturating_add(1);
        self.wanted |= self.closed >= self.raised;
        let subject = if denials.names.len() < MOST_SUBJECTS || denials.names.contains_key(subject) { subject } else { "" };
        if let Some(named) = denials.names.get_mut(subject) {
            named.count = named.count.saturating_add(1);
            return false;
        }
        let place = denials.names.len() as u32;
        denials.names.insert(subject.into(), Named { count: 1, place, said: said.into() });
        true
    }

    /// A PONG came: its mark, and what was refused under it. `None` for a PONG that nobody asked for.
    pub(crate) fn close(&mut self) -> Option<(u64, Denials)> {
        if !self.awaited() {
            return None;
        }
        let mark = self.closed;
        self.closed += 1;
        let mut denials = std::mem::take(&mut self.denials);
        denials.silent = self.silent_before.pop_front().unwrap_or(0);
        Some((mark, denials))
    }
}

/// The subject in `Permissions Violation for Publish to "…"`. Go's `%q` quoting, undone.
pub(crate) fn quoted(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('"')?;
    let mut subject = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(subject),
            '\\' => {
                let digits = match chars.next()? {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    't' => {
                        subject.push('\t');
                        continue;
                    }
                    // Control characters, which no topic of ours has.
                    'a' | 'b' | 'f' | 'n' | 'r' | 'v' => return None,
                    other => {
                        subject.push(other);
                        continue;
                    }
                };
                let mut code = 0;
                for _ in 0..digits {
                    code = code * 16 + chars.next()?.to_digit(16)?;
                }
                subject.push(char::from_u32(code)?);
            }
            other => subject.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_belong_to_the_interval_they_came_in() {
        let mut fences = Fences::default();
        assert_eq!(fences.due(0, true), Err(Nanos::MAX), "nothing was sent");
        assert_eq!(fences.mark(), 0);
        assert_eq!(fences.due(EVERY - 1, true), Err(EVERY));
        assert_eq!(fences.due(EVERY, true), Ok(()));
        assert_eq!(fences.due(EVERY, false), Err(Nanos::MAX), "nothing is in flight");
        fences.raise(EVERY);
        assert_eq!(fences.mark(), 1);
        assert!(fences.refused("a", "no a"));
        assert!(!fences.refused("a", "no a"));
        assert_eq!(fences.due(EVERY + 1, true), Err(2 * EVERY), "a fence is under way already");
        let (mark, denials) = fences.close().unwrap_or_default();
        assert_eq!((mark, denials.total, denials.names.get("a").map(|named| (named.count, &*named.said))), (0, 2, Some((2, "no a"))));
        assert!(fences.close().is_none());
        assert!(fences.refused("b", ""));
        assert_eq!(fences.due(EVERY + 1, true), Ok(()), "at once");
    }

    #[test]
    fn frames_without_a_reply_are_counted_under_their_mark() {
        let mut fences = Fences::default();
        for silent in [[true, false, true], [false, false, false], [false, true, false]] {
            for is_silent in silent {
                fences.mark();
                fences.note_silent(is_silent);
            }
            assert!(fences.is_open());
            fences.part();
            assert!(!fences.is_open());
        }
        let closed: Vec<(u64, u32)> = std::iter::from_fn(|| fences.close()).map(|(mark, denials)| (mark, denials.silent)).collect();
        assert_eq!(closed, [(0, 2), (1, 0), (2, 1)]);
        assert_eq!(fences.due(1, true), Err(Nanos::MAX), "a fence stands behind all of it");
    }

    #[test]
    fn errors_without_a_name_count_and_more_names_than_are_remembered() {
        let mut fences = Fences::default();
        fences.mark();
        fences.raise(1);
        for n in 0..MOST_SUBJECTS + 50 {
            fences.refused(&n.to_string(), "said");
        }
        fences.refused("", "another");
        fences.refused("7", "said");
        let (_, denials) = fences.close().unwrap_or_default();
        assert_eq!((denials.total as usize, denials.names.len()), (MOST_SUBJECTS + 52, MOST_SUBJECTS + 1));
        assert_eq!((denials.names[""].count, denials.names["7"].count), (51, 2));
    }

    #[test]
    fn go_quoting() {
        assert_eq!(quoted(r#"Publish to "a.b""#).as_deref(), Some("a.b"));
        assert_eq!(quoted(r#"Publish to "a\"\\\u00e9ü""#).as_deref(), Some("a\"\\éü"));
        assert_eq!(quoted(r#"Publish to "a"#), None);
        assert_eq!(quoted(r#"Publish to "\uD800""#), None);
        assert_eq!(quoted(r#"Publish to "a\nb""#), None);
        assert_eq!(quoted("no quotes"), None);
    }
}
