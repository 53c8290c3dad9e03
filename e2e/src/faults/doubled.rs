//! Every packet of every machine is sent twice. Seen: packets that were doubled.

use std::time::Duration;

use super::{Strikes, hold_walls};
use crate::firewall;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        for machine in world.all() {
            firewall::double(&world.net, machine)?;
        }
        hold_walls(world, "all".to_owned(), hold).await
    })
}
