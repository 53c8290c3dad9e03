//! The registry is gone for a while, and a node restarts meanwhile: it remembers its peers. Seen: the registry ended, and the node is of the
//! same cluster as before.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        world.cluster.registry.process.kill();
        let victim = world.follower().await?;
        let before = world.cluster.nodes[victim].members(&world.http).await.and_then(|members| members.cluster_id);
        world.cluster.nodes[victim].kill();
        world.start(victim).await;
        tokio::time::sleep(hold).await;
        let gone = world.http.get(format!("{}/livez", world.cluster.registry.url())).send().await.is_err();
        world.cluster.registry.start().await;
        let after = world.cluster.nodes[victim].members(&world.http).await.and_then(|members| members.cluster_id);
        let sound = gone && before.is_some() && before == after;
        let evidence = "refused connections".to_owned();
        sound
            .then_some(Struck { on: world.names(&[victim]), evidence })
            .ok_or_else(|| format!("{gone} {before:?} {after:?}"))
    })
}
