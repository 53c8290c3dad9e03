//! The registry loses its memory and is asked anew by everyone: no second cluster may come of it. Seen: its folder was removed, and the
//! cluster is the same as before.

use std::time::Duration;

use uuid::Uuid;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let (leader, victim) = (world.leader().await?, world.follower().await?);
        let before = cluster_id(world, leader).await.ok_or("the leader is of no cluster")?;
        world.cluster.registry.process.kill();
        world.cluster.registry.wipe();
        world.cluster.nodes[victim].kill();
        world.cluster.registry.start().await;
        world.start(victim).await;
        tokio::time::sleep(hold).await;
        // It may have an empty disk itself, and be let in only now.
        let after = until(SOON, async || cluster_id(world, victim).await).await;
        let evidence = "an empty folder".to_owned();
        (after == Some(before))
            .then_some(Struck { on: world.names(&[victim]), evidence })
            .ok_or_else(|| format!("{before}, then {after:?}"))
    })
}

async fn cluster_id(world: &World, node: usize) -> Option<Uuid> {
    world.cluster.nodes[node].members(&world.http).await?.cluster_id
}
