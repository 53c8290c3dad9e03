//! A file of a node that is down ends too early, as after a repair of its file system: the node has to refuse it by name, to mend it, or not to
//! need it. Seen: the length before and after; and what the node said of it.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, flipped_bit};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    flipped_bit::damage(world, hold, |bytes, chance| {
        let before = bytes.len();
        bytes.truncate(chance.random_range(0..before.max(1)));
        (bytes.len() < before).then(|| format!("{} of {before} bytes are left", bytes.len()))
    })
}
