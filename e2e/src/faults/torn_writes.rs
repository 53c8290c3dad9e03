//! A machine loses its power while its disk writes in an order of its own: of what was not synced each write is there, or not, or in part, by
//! whole sectors. Seen: the disk says how many were taken back or torn.

use std::time::Duration;

use super::{Strikes, unsynced_lost};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    unsynced_lost::lose(world, hold, true)
}
