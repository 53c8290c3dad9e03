//! Two faults at once: every machine loses 5 to 20 packets of a hundred that it hears from its peers, and meanwhile a node is killed, paused or
//! started again, or the leadership handed over and over. Seen: what the other fault shows, and packets that were lost.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck, if_built, kill, open_walls, pause, restart, transfer};
use crate::firewall;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let percent = world.chance.random_range(5..20);
        let lose = |machine| firewall::lose(&world.net, machine, &world.others(&[machine]), percent);
        if_built(world, world.all().into_iter().try_for_each(lose))?;
        let others = [
            ("kill", kill::strike as super::Strike),
            ("pause", pause::strike),
            ("restart", restart::strike),
            ("transfer", transfer::strike),
        ];
        let (name, other) = others[world.chance.random_range(0..others.len())];
        let struck = other(world, hold).await;
        let lost: u64 = world.all().into_iter().map(|machine| firewall::caught(&world.net, machine)).sum();
        open_walls(world);
        let Struck { on, evidence } = struck?;
        let evidence = format!("{name}: {evidence}; {lost} packets lost ({percent} %)");
        if lost > 0 { Ok(Struck { on, evidence }) } else { Err(evidence) }
    })
}
