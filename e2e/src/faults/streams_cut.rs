//! A node's streams are cut off while its gossip goes on: the others hear that it lives, and it replicates nothing. Seen: packets that
//! were caught.

use std::time::Duration;

use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        wall_between(world, &[victim], &world.others(&[victim]), Kind::Streams)?;
        hold_walls(world, world.names(&[victim]), hold).await
    })
}
