//! Every machine loses some of what it hears from its peers, 5 to 40 packets of a hundred. Seen: packets that were lost.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, hold_walls, if_built};
use crate::firewall;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let percent = world.chance.random_range(5..40);
        let lose = |machine| firewall::lose(&world.net, machine, &world.others(&[machine]), percent);
        if_built(world, world.all().into_iter().try_for_each(lose))?;
        hold_walls(world, format!("all, {percent} %"), hold).await
    })
}
