//! A firewall before a node is started anew and knows none of its streams any more: they come to nothing, and neither end is told; new ones come
//! through. Seen: how many streams stood, and packets that were caught.

use std::time::Duration;

use super::{Strikes, Struck, hold_walls, if_built};
use crate::firewall;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let streams = if_built(world, firewall::forget(&world.net, victim))?;
        if streams == 0 {
            return Err(format!("no stream of {} stood", world.names(&[victim])));
        }
        let Struck { on, evidence } = hold_walls(world, world.names(&[victim]), hold).await?;
        Ok(Struck { on, evidence: format!("{streams} streams forgotten, {evidence}") })
    })
}
