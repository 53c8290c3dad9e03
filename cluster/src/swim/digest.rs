//! A fingerprint of what is known, kept up to date in O(1) for each change: the sum of a hash of every row, in all and by
//! buckets of ids.
//!
//! A row's hash covers what converges: the life and the removal that others are told of. A suspicion passes, and how it ends is
//! covered. It keeps honest members in step; it proves nothing against a liar, who could as well tell lies in full.

use std::sync::Arc;

use uuid::Uuid;

use super::lww::{Reason, Row};

/// Buckets that are kept; fewer go over the wire when there are few rows.
pub(super) const BUCKETS: usize = 1_024;

/// The fewest that go over the wire.
pub(super) const LEAST_BUCKETS: usize = 16;

/// Rows to a bucket on the wire, about: the hashes of a bucket's rows cost three times what the bucket's does.
const ROWS_TO_A_BUCKET: usize = 8;

/// The finaliser of `SplitMix64` (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn id_hash(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    mix(mix(high) ^ low)
}

/// The hash of a row, with its removal or without. A row of which nothing is told counts nothing.
pub(super) fn row_hash(id: Uuid, row: &Row, with_removal: bool) -> u64 {
    let removal = row.removal().filter(|_| with_removal);
    if row.life.is_none() && removal.is_none() {
        return 0;
    }
    let (stamp, boot) = row.life.as_ref().map_or((0, 0), |life| (life.stamp.to_bits(), life.boot));
    let (removed, reason) = removal.map_or((0, 0), |removal| {
        let reason = match removal.reason {
            Reason::Failed => 1,
            Reason::Left => 2,
        };
        (removal.stamp.to_bits(), reason)
    });
    [stamp, boot, removed, reason].into_iter().fold(id_hash(id), |hash, part| mix(hash ^ part))
}

/// Into which of `count` buckets an id falls; `count` is a power of two.
pub(super) fn bucket_of(id: Uuid, count: usize) -> usize {
    (id_hash(id) % count.max(1) as u64) as usize
}

/// How many buckets are worth telling of that many rows.
pub(super) fn buckets_for(rows: usize) -> usize {
    (rows / ROWS_TO_A_BUCKET).next_power_of_two().clamp(LEAST_BUCKETS, BUCKETS)
}

/// The sums. Members that share a base share them until they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    all: u64,
    buckets: Arc<[u64; BUCKETS]>,
}

impl Default for Sums {
    fn default() -> Self {
        Self { all: 0, buckets: Arc::new([0; BUCKETS]) }
    }
}

impl Sums {
    /// A row's hash was `before` and is `after`.
    pub(super) fn replace(&mut self, id: Uuid, before: u64, after: u64) {
        if before == after {
            return;
        }
        let by = after.wrapping_sub(before);
        self.all = self.all.wrapping_add(by);
        if let Some(bucket) = Arc::make_mut(&mut self.buckets).get_mut(bucket_of(id, BUCKETS)) {
            *bucket = bucket.wrapping_add(by);
        }
    }

    /// Of all rows.
    pub(super) const fn all(&self) -> u64 {
        self.all
    }

    /// By `count` buckets, a power of two and at most [`BUCKETS`].
    pub(super) fn folded(&self, count: usize) -> Vec<u64> {
        let mut folded = vec![0_u64; count.clamp(1, BUCKETS)];
        let len = folded.len();
        for (at, sum) in self.buckets.iter().enumerate() {
            folded[at % len] = folded[at % len].wrapping_add(*sum);
        }
        folded
    }
}
