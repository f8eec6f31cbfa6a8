//! The weather of one seed: what goes wrong between the client and its servers, and when the client itself stands still.

use super::rng::Rng;
use super::script::{MS, Profile};

/// How the network behaves. Odds are in thousandths.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// The system believes a socket to be empty after a short read, and full after a write that was not taken, until it has looked again.
    pub(super) stale: bool,
    /// How many reads and writes a thread gets before it must let the system look again.
    pub(super) budget: u32,
    pub(super) short_writes: u64,
    /// Names that cannot be resolved for the moment.
    pub(super) unresolved: u64,
    /// The most addresses that a name has.
    pub(super) addresses: u64,
    /// Addresses where nobody listens, and such where nobody answers. The last one of a name is good, but for `all_bad`.
    pub(super) refused: u64,
    pub(super) swallowed: u64,
    pub(super) all_bad: u64,
    /// The longest time that a name or an address takes.
    pub(super) slowness: u64,
    /// Pauses of the client between two rounds, at any moment: how likely in front of each, how many in all, and the longest.
    pub(super) pause: u64,
    pub(super) pauses: u32,
    pub(super) longest_pause: u64,
    /// Nothing of that begins after this time, but for what every system does.
    pub(super) heals_at: u64,
}

impl Weather {
    /// What every system does, and nothing else.
    pub(super) fn fair() -> Self {
        Weather {
            stale: true,
            budget: 128,
            short_writes: 0,
            unresolved: 0,
            addresses: 1,
            refused: 0,
            swallowed: 0,
            all_bad: 0,
            slowness: 0,
            pause: 0,
            pauses: 0,
            longest_pause: 0,
            heals_at: 0,
        }
    }

    pub(super) fn draw(seed: u64, profile: Profile, (ack_wait, give_up): (u64, u64), heals_at: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0EA7_4E25_0C4A_3000);
        let mut weather = Weather { heals_at, ..Weather::fair() };
        weather.stale = rng.chance(800);
        weather.budget = rng.pick(&[128, 128, 128, 40, 7, 2]);
        weather.short_writes = rng.pick(&[0, 500, 500, 900]);
        if profile == Profile::Calm {
            return weather;
        }
        if rng.chance(400) {
            weather.unresolved = rng.pick(&[0, 0, 50, 300]);
            weather.addresses = rng.pick(&[1, 2, 4]);
            weather.refused = rng.pick(&[0, 100, 500]);
            weather.swallowed = rng.pick(&[0, 0, 30, 200]);
            weather.all_bad = rng.pick(&[0, 50, 300]);
            weather.slowness = rng.pick(&[0, 2 * MS, 100 * MS]);
        }
        if rng.chance(400) {
            weather.pause = rng.pick(&[2, 20, 200]);
            weather.pauses = rng.between(1, 4) as u32;
            weather.longest_pause = rng.pick(&[ack_wait / 4, ack_wait, ack_wait * 3, give_up * 2]);
        }
        weather
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{MS, Profile, Weather};

    #[test]
    fn every_kind_of_weather_is_drawn() {
        let mut seen = BTreeSet::new();
        for seed in 0..500 {
            let weather = Weather::draw(seed, Profile::Brutal, (100 * MS, 600 * MS), MS);
            let kinds = [
                ("stale", weather.stale),
                ("budget", weather.budget < 128),
                ("short", weather.short_writes > 0),
                ("unresolved", weather.unresolved > 0),
                ("several", weather.addresses > 1),
                ("refused", weather.refused > 0),
                ("swallowed", weather.swallowed > 0),
                ("slow", weather.slowness > 0),
                ("pauses", weather.pauses > 0),
            ];
            seen.extend(kinds.iter().filter(|(_, drawn)| *drawn).map(|(kind, _)| *kind));
        }
        assert_eq!(seen.len(), 9, "{seen:?}");
        let calm = Weather::draw(1, Profile::Calm, (MS, MS), MS);
        assert_eq!((calm.refused, calm.swallowed, calm.pauses), (0, 0, 0));
    }
}
