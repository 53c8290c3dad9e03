//! Two sides that do not reach each other, one of which is a majority; clients reach both. Seen: packets that were caught.

use std::time::Duration;

use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let nodes = world.shuffled();
        let (one, other) = nodes.split_at(nodes.len() / 2);
        wall_between(world, one, other, Kind::All)?;
        hold_walls(world, format!("{} | {}", world.names(one), world.names(other)), hold).await
    })
}
