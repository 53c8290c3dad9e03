//! A node is told to stop (SIGTERM), as for an upgrade, and starts again. Seen: it ended well, with the exit status 0.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let status = world.cluster.nodes[victim].stop().await;
        tokio::time::sleep(hold / 4).await;
        world.start(victim).await;
        let (on, evidence) = (world.names(&[victim]), format!("{status}"));
        status.success().then_some(Struck { on, evidence: evidence.clone() }).ok_or(evidence)
    })
}
