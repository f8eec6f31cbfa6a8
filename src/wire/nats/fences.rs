//! Fences: PINGs between frames, whose PONGs prove what the server has read.
//!
//! Replies come in wire order (X2): when the PONG of a PING is here, so is every permission error of the frames before that PING. So a message is sent again only
//! behind a fence, and permission errors, which name a subject but no message, are matched by counting between two fences.

use std::collections::HashMap;

use crate::wire::Nanos;

/// While frames are written, a fence follows at most this often.
const EVERY: Nanos = 50_000_000;
/// Subjects with permission errors that one interval remembers; a server that sends more gets DENIED at `ack_wait`, not exact answers.
const MOST_SUBJECTS: usize = 4096;

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
    refusals: HashMap<Box<str>, u32>,
}

impl Fences {
    /// The mark of a frame that is staged now.
    pub(crate) fn mark(&mut self) -> u64 {
        self.open = true;
        self.raised
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

    /// A PING was staged.
    pub(crate) fn raise(&mut self, now: Nanos) {
        self.raised += 1;
        self.last_raised = now;
        self.open = false;
        self.wanted = false;
    }

    /// Whether a PONG is awaited.
    pub(crate) fn awaited(&self) -> bool {
        self.closed < self.raised
    }

    /// A publish to this subject was refused; it is one of those under the lowest open mark.
    pub(crate) fn refused(&mut self, subject: &str) {
        if let Some(count) = self.refusals.get_mut(subject) {
            *count += 1;
        } else if self.refusals.len() < MOST_SUBJECTS {
            self.refusals.insert(subject.into(), 1);
        }
        self.wanted |= !self.awaited();
    }

    /// A PONG came: its mark, and what was refused under it. `None` for a PONG that nobody asked for.
    pub(crate) fn close(&mut self) -> Option<(u64, HashMap<Box<str>, u32>)> {
        if !self.awaited() {
            return None;
        }
        let mark = self.closed;
        self.closed += 1;
        Some((mark, std::mem::take(&mut self.refusals)))
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
        fences.refused("a");
        fences.refused("a");
        assert_eq!(fences.due(EVERY + 1, true), Err(2 * EVERY), "a fence is under way already");
        let (mark, refused) = fences.close().unwrap_or_default();
        assert_eq!((mark, refused.get("a")), (0, Some(&2)));
        assert!(fences.close().is_none());
        fences.refused("b");
        assert_eq!(fences.due(EVERY + 1, true), Ok(()), "at once");
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
