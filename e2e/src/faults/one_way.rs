//! A node is heard by its peers and does not hear them, or the reverse; clients reach it. Seen: packets that were caught.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, hold_walls};
use crate::firewall::{self, Kind};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let others = world.others(&[victim]);
        let deaf = world.chance.random_bool(0.5);
        let wall = if deaf { firewall::deafen } else { firewall::silence };
        wall(&world.net, victim, &others, Kind::All)?;
        let way = if deaf { "deaf" } else { "mute" };
        hold_walls(world, format!("{}, {way}", world.names(&[victim])), hold).await
    })
}
