//! Every read of a disk fails with EIO, first while its node runs, which may not notice, then when it starts: it has to stop with the reason, and
//! goes on when the disk is well again. Seen: reads failed, and the process ended by itself with status 1.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let before = world.disk(victim)?.met().failed;
        world.disk(victim)?.trouble(|trouble| trouble.reads_fail = true);
        tokio::time::sleep(hold).await;
        let process = &mut world.cluster.nodes[victim].process;
        let running = process.is_running();
        if running {
            process.kill();
            process.spawn();
        }
        let ended = until(SOON, async || world.cluster.nodes[victim].process.exited()).await;
        let failed = world.disk(victim)?.met().failed - before;
        world.disk(victim)?.trouble(|trouble| trouble.reads_fail = false);
        let status = ended.and_then(|status| status.code());
        if ended.is_none() {
            world.cluster.nodes[victim].kill();
        }
        world.start(victim).await;
        let when = if running { "when it started" } else { "while it ran" };
        let evidence = format!("{failed} reads failed, status {status:?} {when}");
        let seen = failed > 0 && status == Some(1);
        if seen { Ok(Struck { on: world.names(&[victim]), evidence }) } else { Err(evidence) }
    })
}
