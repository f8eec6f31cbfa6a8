//! What a proxy does to all its connections, in one value that each direction watches.

use std::time::Duration;

/// What a connection is like, in both directions. The default passes bytes on as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How long each byte is under way. At most 256 KiB are under way at once; then the sender has to wait.
    pub delay: Duration,
    /// How fast it is, in bytes per second. Senders have to wait.
    pub bytes_per_second: Option<u64>,
    /// How many bytes are written at a time: 1 with a rate is a drip.
    pub slice: Option<usize>,
}

impl Link {
    /// How many of `rest` bytes to write at a time. With a rate it is what takes 20 ms, so that its changes are felt soon.
    pub(super) fn slice(&self, rest: usize) -> usize {
        let paced = self.bytes_per_second.map_or(usize::MAX, |rate| usize::try_from(rate / 50).unwrap_or(usize::MAX).max(1));
        rest.min(paced).min(self.slice.unwrap_or(usize::MAX))
    }

    /// How long it takes for so many bytes.
    pub(super) fn time_for(&self, bytes: usize) -> Duration {
        self.bytes_per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate as f64))
    }
}

/// Up is from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Up,
    Down,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Side::Up => Side::Down,
            Side::Down => Side::Up,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    #[default]
    Pass,
    /// Nothing is read and nothing written.
    Hold,
    /// All is read and thrown away.
    Discard,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    pub(super) up: Gate,
    pub(super) down: Gate,
    pub(super) link: Link,
    pub(super) keep: bool,
}

impl Settings {
    pub(super) fn gate(&self, side: Side) -> Gate {
        match side {
            Side::Up => self.up,
            Side::Down => self.down,
        }
    }

    /// Whether this side is read: a hold that keeps the client's bytes reads them, to have them when the client is gone.
    pub(super) fn reads(&self, side: Side) -> bool {
        self.gate(side) != Gate::Hold || self.keeps(side)
    }

    pub(super) fn keeps(&self, side: Side) -> bool {
        self.keep && side == Side::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_what_is_left_what_was_asked_for_or_what_takes_20_ms() {
        let link = |bytes_per_second, slice| Link { delay: Duration::ZERO, bytes_per_second, slice };
        let links = [link(None, None), link(None, Some(3)), link(Some(5_000), None), link(Some(5_000), Some(3)), link(Some(1), None)];
        assert_eq!(links.map(|link| link.slice(1_000)), [1_000, 3, 100, 3, 1]);
        assert_eq!(link(None, Some(3)).slice(2), 2);
        assert_eq!(link(Some(5_000), None).time_for(100), Duration::from_millis(20));
        assert_eq!(link(None, Some(3)).time_for(100), Duration::ZERO);
    }
}
