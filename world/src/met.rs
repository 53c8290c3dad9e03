//! What packets met on their way: how one sees that something was really in the way.

use std::ops::{AddAssign, Sub};

/// Of one direction of the way between two machines, since the run began. What a stream sends again counts again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Where nothing came through.
    pub cut: u64,
    /// Datagrams, where these did not.
    pub datagrams_cut: u64,
    /// Segments of streams, where these did not.
    pub streams_cut: u64,
    /// Lost by lot.
    pub lost: u64,
    /// That took longer than on a good local network.
    pub delayed: u64,
    /// Datagrams that came twice.
    pub doubled: u64,
}

impl AddAssign for Met {
    fn add_assign(&mut self, more: Self) {
        self.cut += more.cut;
        self.datagrams_cut += more.datagrams_cut;
        self.streams_cut += more.streams_cut;
        self.lost += more.lost;
        self.delayed += more.delayed;
        self.doubled += more.doubled;
    }
}

impl Sub for Met {
    type Output = Self;

    /// What was met since `before`.
    fn sub(self, before: Self) -> Self {
        Self {
            cut: self.cut - before.cut,
            datagrams_cut: self.datagrams_cut - before.datagrams_cut,
            streams_cut: self.streams_cut - before.streams_cut,
            lost: self.lost - before.lost,
            delayed: self.delayed - before.delayed,
            doubled: self.doubled - before.doubled,
        }
    }
}
