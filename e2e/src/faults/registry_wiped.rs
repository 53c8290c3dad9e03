//! The registry loses its memory and is asked anew by everyone: no second cluster may come of it. Seen: its folder was removed, and the
//! cluster is the same as before.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        world.cluster.registry.process.kill();
        world.cluster.registry.wipe();
        let victim = world.follower().await?;
        let before = world.cluster.nodes[victim].members(&world.http).await.and_then(|members| members.cluster_id);
        world.cluster.nodes[victim].kill();
        world.cluster.registry.start().await;
        world.start(victim).await;
        tokio::time::sleep(hold).await;
        let after = world.cluster.nodes[victim].members(&world.http).await.and_then(|members| members.cluster_id);
        let evidence = "an empty folder".to_owned();
        let same = before.is_some() && before == after;
        same.then_some(Struck { on: world.names(&[victim]), evidence })
            .ok_or_else(|| format!("{before:?}, then {after:?}"))
    })
}
