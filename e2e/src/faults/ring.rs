//! Every node reaches its two neighbours only: everyone sees a majority, each another one. Seen: packets that were caught.

use std::time::Duration;

use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let nodes = world.shuffled();
        for (at, &one) in nodes.iter().enumerate() {
            for (far, &other) in nodes.iter().enumerate().skip(at + 2) {
                if at != 0 || far != nodes.len() - 1 {
                    wall_between(world, &[one], &[other], Kind::All)?;
                }
            }
        }
        hold_walls(world, world.names(&nodes), hold).await
    })
}
