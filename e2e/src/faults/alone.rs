//! The leader no longer reaches any peer, nor they it; its clients still do, so it is asked to acknowledge what it must not. Seen: packets
//! that were caught.

use std::time::Duration;

use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let leader = world.leader().await?;
        wall_between(world, &[leader], &world.others(&[leader]), Kind::All)?;
        hold_walls(world, world.names(&[leader]), hold).await
    })
}
