//! The two clocks of this machine, read together. The only place of the driver that reads any.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::{Mono, Now, Wall};
use crate::world;

/// Reads time for one driver; its monotonic time counts from its making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(super) fn now(self) -> Now {
        // A clock set before 1970 reads as 1970: the stamps' own rules deal with clocks that are behind.
        let wall = Wall::from_millis(u64::try_from(world::wall_clock().as_millis()).unwrap_or(u64::MAX));
        Now { mono: Mono::new(self.origin.elapsed()), wall }
    }

    /// The instant to sleep until; a deadline beyond the end of time is a day away, and then another.
    pub(super) fn instant(self, at: Mono) -> Instant {
        let farthest = Instant::now() + Duration::from_secs(24 * 3600);
        self.origin.checked_add(at.since_origin()).map_or(farthest, |instant| instant.min(farthest))
    }
}
