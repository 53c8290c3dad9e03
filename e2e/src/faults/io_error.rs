//! Every write to a disk fails with EIO: the node has to stop with the reason, and goes on when the disk is well again. Seen: writes failed, and
//! the process ended by itself with status 1.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let before = world.disk(victim)?.met().failed;
        world.disk(victim)?.trouble(|trouble| trouble.writes_fail = true);
        let ended = until(SOON, async || world.cluster.nodes[victim].process.exited()).await;
        let failed = world.disk(victim)?.met().failed - before;
        world.disk(victim)?.trouble(|trouble| trouble.writes_fail = false);
        let status = ended.and_then(|status| status.code());
        if ended.is_none() {
            world.cluster.nodes[victim].kill();
        }
        tokio::time::sleep(hold / 4).await;
        world.start(victim).await;
        let evidence = format!("{failed} writes failed, status {status:?}");
        let seen = failed > 0 && status == Some(1);
        if seen { Ok(Struck { on: world.names(&[victim]), evidence }) } else { Err(evidence) }
    })
}
