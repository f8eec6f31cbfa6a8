//! Who was refused hears of room (poll mode): a bounded note of what was refused, until it would be let in.
//!
//! A publish that does not wait leaves a note where it was refused: with the window, with its rule, or with its topic. Whatever makes room looks at the notes, and
//! rings once when one of them would be let in. Who tries again and is refused again leaves a note again: so nobody is forgotten, and nothing rings without need.

use super::{Full, Request, Share, State, Window};
use crate::sync::MutexGuard;

/// Hears that a publish that was refused would be let in now. Called with no lock of the window's held.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self);
}

/// Publishes that were refused for one reason: the least bytes that one of them needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused(Option<usize>);

impl Refused {
    pub(super) fn any(self) -> bool {
        self.0.is_some()
    }

    pub(super) fn take(&mut self) -> Refused {
        Refused(self.0.take())
    }

    pub(super) fn add(&mut self, other: Refused) {
        self.0 = match (self.0, other.0) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

impl Share {
    /// The same for all that wait for this share, and never 0.
    pub(super) fn number(self, request: Request<'_>) -> u64 {
        match self {
            Share::Rule => u64::from(request.rule) + 1,
            // FNV-1a, above the rules' numbers, and with room for a sign.
            Share::Topic => {
                let hash = request.topic.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
                hash >> 2 | 1 << 62
            }
        }
    }
}

impl State {
    /// One was refused, and wants to hear of room.
    pub(super) fn note_refused(&mut self, full: Full, request: Request<'_>) {
        let place = match full {
            Full::Messages | Full::Bytes => Some(&mut self.refused),
            Full::Share(Share::Rule) => self.rules.get_mut(request.rule as usize).map(|rule| &mut rule.refused),
            Full::Share(Share::Topic) => self.full_topics.get_mut(request.topic),
        };
        if let Some(place) = place {
            place.add(Refused(Some(request.bytes)));
        }
    }
}

impl Window {
    /// Whom to tell of room.
    pub(crate) fn tell_room_to(&self, bell: std::sync::Weak<dyn Bell>) {
        // Once: a window has one desk.
        let _ = self.bell.set(bell);
    }

    /// Ends a change that may have made room: rings if one that was refused would be let in.
    pub(super) fn tell_refused(&self, mut state: MutexGuard<'_, State>) {
        let Some(bytes) = state.refused.0 else { return };
        if state.used < self.max_messages && state.used_bytes + bytes <= self.max_bytes && !self.goes_after_another(&state, super::NEWCOMER) {
            state.refused.take();
            drop(state);
            self.ring();
        }
    }

    /// What was refused would not be refused for the same reason any more, for all of them.
    pub(super) fn tell_all_refused(&self, mut state: MutexGuard<'_, State>) {
        let mut any = state.refused.take().any();
        for rule in &mut state.rules {
            any |= rule.refused.take().any();
        }
        for refused in state.full_topics.values_mut() {
            any |= refused.take().any();
        }
        drop(state);
        if any {
            self.ring();
        }
    }

    /// Topics may have other rules now, and so other shares.
    pub(crate) fn rules_changed(&self) {
        self.tell_all_refused(self.state());
    }

    #[cold]
    fn ring(&self) {
        if let Some(bell) = self.bell.get().and_then(std::sync::Weak::upgrade) {
            bell.ring();
        }
    }
}
