//! Ages: how old messages are, when the machine may have slept.

use crate::base::time::{Clock, Nanos};
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::handler::Handler;

/// The least that the machine's clocks must differ to be called a jump.
const JUMP: Nanos = 1_000_000_000;

/// How long the clocks are not compared, and how far they may differ meanwhile.
const APART: Nanos = 10_000_000;

/// Two clocks: the monotonic one, which stops while the machine is suspended, and the wall clock, which may be set. P4 counts whichever ran further.
pub(super) struct Ages {
    last: Nanos,
    wall: Nanos,
    age: Nanos,
}

impl Ages {
    pub(super) fn new(clock: &Clock) -> Self {
        Ages { last: 0, wall: clock.wall(), age: 0 }
    }

    /// Tells the handler what time it is.
    pub(super) fn tell(&mut self, shared: &Shared, lane: &Lane, handler: &mut Handler) {
        let (now, wall) = (shared.clock.now(), shared.clock.wall());
        let (passed, monotonic) = (wall.saturating_sub(self.wall), now - self.last);
        // The two are compared now and then, for each comparison adds what lies between the two questions; but at once when the machine has slept: what is sent
        // again in the first moment after that is judged by its age, too.
        if monotonic > APART || passed > monotonic + APART || self.last == 0 {
            if passed > monotonic + JUMP && self.last > 0 && lane.is_first() {
                handler.clock_jumped((passed - monotonic) / 1_000_000_000);
            }
            self.age += passed.max(monotonic);
            self.wall = wall;
            self.last = now;
        }
        handler.set_time(now, self.age + (now - self.last));
    }
}
