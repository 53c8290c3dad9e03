//! A fresh node joins under load while a follower is cut off from its peers, and takes its seat, since beside a voter that seems dead nobody gets another.
//! The cut is mended, and, at once or after a while, the newcomer leaves for good. Seen: it voted while packets of the cut were caught, and
//! later it has no place.

use std::time::Duration;

use rand::RngExt;

use super::growth::{leaves, replicates, votes};
use super::{Strikes, Struck, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let cut = world.follower().await?;
        let others = world.others(&[cut]);
        let witness = world.one_of(&others);
        let node = world.add().ok_or("no machine to spare")?;
        // The newcomer knows nothing of it either.
        wall_between(world, &[cut], &world.others(&[cut]), Kind::All)?;
        world.start(node).await;
        let id = world.cluster.nodes[node].id(&world.http).await;
        let voted = votes(world, witness, id).await;
        let on = format!("{}, and {} joined", world.names(&[cut]), world.names(&[node]));
        // Whatever came of it, the walls go.
        let walls = hold_walls(world, on, hold / 2).await;
        voted?;
        let Struck { on, evidence } = walls?;
        if world.chance.random_bool(0.5) {
            tokio::time::sleep(hold / 2).await;
        }
        leaves(world, witness, id).await?;
        replicates(world, witness, id, false).await?;
        world.remove_last();
        Ok(Struck { on, evidence: format!("{evidence}; {id} voted by then, and left") })
    })
}
