//! A node's gossip is cut off while its streams stand: the others take it for dead, and it is not. Gossip's probes over TCP get through.
//! Seen: datagrams that were caught.

use std::time::Duration;

use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        wall_between(world, &[victim], &world.others(&[victim]), Kind::Datagrams)?;
        hold_walls(world, world.names(&[victim]), hold).await
    })
}
