//! Who was refused hears of room (poll mode): a bounded note of what was refused, until it would be let in.
//!
//! A publish that does not wait leaves a note where it was refused: with the window, with its rule, or with its topic. Whatever makes room looks at the notes, and
//! rings once when one of them would be let in. Who tries again and is refused again leaves a note again: so nobody is forgotten, and nothing rings without need.

/// Hears that a publish that was refused would be let in now. Called with no lock of the window's held.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self);
}

/// Publishes that were refused for one reason: the least bytes that one of them needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused(Option<usize>);

impl Refused {
    pub(super) fn of(bytes: usize) -> Self {
        Refused(Some(bytes))
    }

    /// The least bytes that one of them needs, if there is any.
    pub(super) fn bytes(self) -> Option<usize> {
        self.0
    }

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
