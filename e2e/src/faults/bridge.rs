//! Two sides that do not reach each other, and one node that reaches both: a majority for each side, if they were asked apart. Seen:
//! packets that were caught.

use std::time::Duration;

use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let nodes = world.shuffled();
        let (bridge, sides) = nodes.split_first().ok_or("there are no nodes")?;
        let (one, other) = sides.split_at(sides.len() / 2);
        wall_between(world, one, other, Kind::All)?;
        let on = format!("{} | {} | {}", world.names(one), world.names(&[*bridge]), world.names(other));
        hold_walls(world, on, hold).await
    })
}
