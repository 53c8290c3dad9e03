//! The registry loses its memory and is asked anew by everyone: no second cluster may come of it. Seen: it says that it has learned of the cluster from
//! a node, having remembered nothing, and the cluster is the same as before.

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
        if after != Some(before) {
            return Err(format!("{before}, then {after:?}"));
        }
        let registry = &world.cluster.registry.process;
        if registry.has_logged("remembered ") {
            return Err("it remembered what it should have lost".to_owned());
        }
        let evidence = format!("Learned cluster {before}");
        let learned = until(SOON, async || registry.has_logged(&evidence).then_some(())).await;
        let on = format!("the registry, {}", world.names(&[victim]));
        learned.map(|()| Struck { on, evidence }).ok_or_else(|| "it has learned of no cluster".to_owned())
    })
}

async fn cluster_id(world: &World, node: usize) -> Option<Uuid> {
    world.cluster.nodes[node].members(&world.http).await?.cluster_id
}
