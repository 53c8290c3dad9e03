//! The hybrid logical clock, whose stamps are the incarnation numbers.
//!
//! A stamp follows the wall clock while that goes forward, and counts on from the last stamp while it does not (Kulkarni
//! et al., "Logical Physical Clocks", 2014). What hybrid clocks are known to get wrong is kept out here: the counter
//! carries into the milliseconds instead of wrapping, and a foreign clock that is wrong cannot drag ours along.

use std::fmt;
use std::time::Duration;

use crate::time::Wall;

/// A hybrid logical time: 48 bits of milliseconds since the Unix epoch over 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

const COUNTER_BITS: u32 = 16;

/// The year 10889.
const MAX_MS: u64 = (1 << (64 - COUNTER_BITS)) - 1;

/// 2026-01-01. A clock before it is wrong, and must not make all other stamps look absurd.
const BIRTH_OF_THE_PROTOCOL: u64 = 1_767_225_600_000;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Ten years: no clock that is merely wrong by a time zone, a month or a year is shut out.
const ABSURD_AHEAD: Duration = YEAR.saturating_mul(10);

/// Five years: our own clock is not followed further beyond the last stamp that we know of. Others would not believe it, and the stamp
/// would stay on our disk when the clock has long been set right. A machine that was switched off for so long counts on from where it was, and
/// goes with the time again once it has heard somebody.
const FOLLOWED_AHEAD: Duration = YEAR.saturating_mul(5);

impl Stamp {
    /// Before all others: "never".
    pub const ZERO: Self = Self(0);

    /// From the 64 bits that go over the wire and to the disk.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The first stamp of a wall-clock millisecond; the last millisecond there is for what lies beyond it.
    #[must_use]
    pub const fn at(wall: Wall) -> Self {
        let ms = wall.as_millis();
        Self(if ms > MAX_MS { MAX_MS } else { ms } << COUNTER_BITS)
    }

    /// The milliseconds.
    #[must_use]
    pub const fn wall(self) -> Wall {
        Wall::from_millis(self.0 >> COUNTER_BITS)
    }

    /// The counter.
    #[must_use]
    pub const fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The next one. A full counter carries into the milliseconds; the very last stamp has no next and stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The highest stamp that is taken off the wire: years ahead of `wall`, so that nobody can push a member to the end
    /// of time, beyond which it could not refute.
    #[must_use]
    pub(super) fn believable(wall: Wall) -> Self {
        let from = wall.as_millis().max(BIRTH_OF_THE_PROTOCOL);
        Self::at(Wall::from_millis(from.saturating_add(millis(ABSURD_AHEAD))))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> COUNTER_BITS, self.counter())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The clock: the last stamp that it gave or was pushed to.
#[derive(Debug, Clone)]
pub(super) struct Hlc {
    last: Stamp,
    drift_bound: Duration,
}

/// A foreign stamp was further ahead than the bound; our clock did not follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drift;

impl Hlc {
    /// A clock whose stamps all come after `last`.
    pub(super) const fn new(last: Stamp, drift_bound: Duration) -> Self {
        Self { last, drift_bound }
    }

    /// A fresh stamp: above every one that this clock gave, and above `above`, whatever the wall clock says.
    pub(super) fn tick(&mut self, wall: Wall, above: Stamp) -> Stamp {
        let known = self.last.max(above);
        let leap = wall.as_millis().saturating_sub(known.wall().as_millis());
        let follows = known == Stamp::ZERO || leap <= millis(FOLLOWED_AHEAD);
        self.last = if follows { Stamp::at(wall).max(known.next()) } else { known.next() };
        self.last
    }

    /// Lets a foreign stamp push the clock, as far as the bound.
    pub(super) fn observe(&mut self, wall: Wall, heard: Stamp) -> Result<(), Drift> {
        if heard.wall().as_millis() > wall.as_millis().saturating_add(millis(self.drift_bound)) {
            return Err(Drift);
        }
        self.last = self.last.max(heard);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND: Duration = Duration::from_millis(500);

    #[test]
    fn a_full_counter_carries() {
        let full = Stamp::from_bits((7 << 16) | 0xffff);
        assert_eq!(full.next(), Stamp::at(Wall::from_millis(8)));
        assert_eq!(Stamp::from_bits(u64::MAX).next(), Stamp::from_bits(u64::MAX));
        assert_eq!(Stamp::at(Wall::from_millis(u64::MAX)).counter(), 0);
    }

    #[test]
    fn a_million_stamps_in_one_millisecond_stay_apart() {
        let mut clock = Hlc::new(Stamp::ZERO, BOUND);
        let mut last = Stamp::ZERO;
        for _ in 0..1_000_000 {
            let next = clock.tick(Wall::from_millis(5), Stamp::ZERO);
            assert!(next > last);
            last = next;
        }
        assert_eq!(last.wall(), Wall::from_millis(5 + 1_000_000 / 65_536));
    }

    #[test]
    fn a_leap_of_many_years_is_not_followed() {
        let (today, leap) = (Wall::from_millis(BIRTH_OF_THE_PROTOCOL), Wall::from_millis(2 * BIRTH_OF_THE_PROTOCOL));
        let mut clock = Hlc::new(Stamp::ZERO, BOUND);
        let first = clock.tick(today, Stamp::ZERO);
        assert_eq!(clock.tick(leap, Stamp::ZERO), first.next());
        assert_eq!(clock.tick(leap, Stamp::at(leap)), Stamp::at(leap).next(), "unless we are accused of as much");
        let year = Wall::from_millis(BIRTH_OF_THE_PROTOCOL + millis(YEAR));
        assert_eq!(Hlc::new(first, BOUND).tick(year, Stamp::ZERO), Stamp::at(year));
    }

    #[test]
    fn a_clock_that_is_far_ahead_does_not_drag_ours_along() {
        let mut clock = Hlc::new(Stamp::ZERO, BOUND);
        let wall = Wall::from_millis(1_000);
        assert_eq!(clock.observe(wall, Stamp::at(Wall::from_millis(1_501))), Err(Drift));
        assert_eq!(clock.tick(wall, Stamp::ZERO), Stamp::at(wall));
        assert_eq!(clock.observe(wall, Stamp::at(Wall::from_millis(1_500))), Ok(()));
        assert_eq!(clock.tick(wall, Stamp::ZERO), Stamp::at(Wall::from_millis(1_500)).next());
    }

    #[test]
    fn a_clock_before_the_protocol_believes_the_others() {
        let today = Stamp::at(Wall::from_millis(BIRTH_OF_THE_PROTOCOL + 1));
        assert!(today < Stamp::believable(Wall::from_millis(0)));
        assert!(Stamp::from_bits(u64::MAX) > Stamp::believable(Wall::from_millis(BIRTH_OF_THE_PROTOCOL)));
    }

    proptest! {
        #[test]
        fn stamps_only_rise(start: u64, steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 1..64)) {
            // Far enough from the end of time that there is a next one for every step.
            let start = Stamp::from_bits(start >> 2);
            let mut clock = Hlc::new(start, BOUND);
            let mut last = start;
            for (wall, heard, refute) in steps {
                let wall = Wall::from_millis(wall >> 20);
                let heard = Stamp::from_bits(heard >> 2);
                let pushed = clock.observe(wall, heard).is_ok();
                let next = clock.tick(wall, if refute { heard } else { Stamp::ZERO });
                prop_assert!(next > last, "{next} after {last}");
                prop_assert!(!(pushed || refute) || next > heard, "{next} after hearing {heard}");
                last = next;
            }
        }

        #[test]
        fn the_bits_keep_the_order(a: u64, b: u64) {
            let (a, b) = (Stamp::from_bits(a), Stamp::from_bits(b));
            prop_assert_eq!(a.cmp(&b), (a.wall(), a.counter()).cmp(&(b.wall(), b.counter())));
        }
    }
}
