//! One direction of the way between two machines.

use std::ops::RangeInclusive;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::met::Met;
use crate::world::Millis;

/// What happens to a packet on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Nothing comes through.
    pub cut: bool,
    /// Datagrams alone do not come through.
    pub datagrams_cut: bool,
    /// Streams alone do not come through.
    pub streams_cut: bool,
    /// How long a packet takes.
    pub delay: RangeInclusive<Millis>,
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// The share of datagrams that come twice, 0 to 1.
    pub doubling: f64,
}

impl Default for Link {
    /// A good local network.
    fn default() -> Self {
        Self { cut: false, datagrams_cut: false, streams_cut: false, delay: 1..=GOOD, loss: 0.0, doubling: 0.0 }
    }
}

impl Link {
    pub(crate) fn passes_datagram(&self, met: &mut Met, chance: &mut StdRng) -> bool {
        met.datagrams_cut += u64::from(self.datagrams_cut);
        self.passes(self.datagrams_cut, met, chance)
    }

    pub(crate) fn passes_segment(&self, met: &mut Met, chance: &mut StdRng) -> bool {
        met.streams_cut += u64::from(self.streams_cut);
        self.passes(self.streams_cut, met, chance)
    }

    fn passes(&self, its_kind_is_cut: bool, met: &mut Met, chance: &mut StdRng) -> bool {
        met.cut += u64::from(self.cut);
        if self.cut || its_kind_is_cut {
            return false;
        }
        let lost = lot(self.loss, chance);
        met.lost += u64::from(lost);
        !lost
    }

    pub(crate) fn doubles(&self, met: &mut Met, chance: &mut StdRng) -> bool {
        let doubled = lot(self.doubling, chance);
        met.doubled += u64::from(doubled);
        doubled
    }

    pub(crate) fn takes(&self, met: &mut Met, chance: &mut StdRng) -> Millis {
        let takes = chance.random_range(self.delay.clone());
        met.delayed += u64::from(takes > GOOD);
        takes
    }
}

/// A packet takes no longer on a good local network.
const GOOD: Millis = 2;

/// Draws only where there is something to draw.
fn lot(share: f64, chance: &mut StdRng) -> bool {
    share > 0.0 && chance.random_bool(share.min(1.0))
}
