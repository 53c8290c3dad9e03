//! One direction of the way between two machines.

use std::ops::RangeInclusive;

use rand::RngExt;
use rand::rngs::StdRng;

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
        Self { cut: false, datagrams_cut: false, streams_cut: false, delay: 1..=2, loss: 0.0, doubling: 0.0 }
    }
}

impl Link {
    pub(crate) fn passes_datagram(&self, chance: &mut StdRng) -> bool {
        !self.cut && !self.datagrams_cut && !lot(self.loss, chance)
    }

    pub(crate) fn passes_segment(&self, chance: &mut StdRng) -> bool {
        !self.cut && !self.streams_cut && !lot(self.loss, chance)
    }

    pub(crate) fn doubles(&self, chance: &mut StdRng) -> bool {
        lot(self.doubling, chance)
    }

    pub(crate) fn takes(&self, chance: &mut StdRng) -> Millis {
        chance.random_range(self.delay.clone())
    }
}

/// Draws only where there is something to draw.
fn lot(share: f64, chance: &mut StdRng) -> bool {
    share > 0.0 && chance.random_bool(share.min(1.0))
}
