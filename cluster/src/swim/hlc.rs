//! The hybrid logical clock, whose stamps are the incarnation numbers.

use std::fmt;

use crate::time::Wall;

/// A hybrid logical time: 48 bits of milliseconds since the Unix epoch over 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

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

    /// The first stamp of a wall-clock millisecond.
    #[must_use]
    pub const fn at(wall: Wall) -> Self {
        let ms = wall.as_millis();
        Self(if ms > MAX_MS { MAX_MS } else { ms } << 16)
    }

    /// The milliseconds.
    #[must_use]
    pub const fn wall(self) -> Wall {
        Wall::from_millis(self.0 >> 16)
    }

    /// The counter.
    #[must_use]
    pub const fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

const MAX_MS: u64 = (1 << 48) - 1;

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.counter())
    }
}
