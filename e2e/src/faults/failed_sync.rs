//! A sync of the log fails once, and what it was to sync is gone, as when a system drops the pages that it could not write: the node has to
//! stop, since another sync would succeed without them. Seen: the disk failed one, and the process ended by itself with status 1 and the reason.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let before = world.disk(victim)?.met().failed_syncs;
        world.disk(victim)?.trouble(|trouble| trouble.sync_fails_once = Some("log/"));
        let ended = until(SOON, async || world.cluster.nodes[victim].process.exited()).await;
        let failed = world.disk(victim)?.met().failed_syncs - before;
        world.disk(victim)?.trouble(|trouble| trouble.sync_fails_once = None);
        let said = world.cluster.nodes[victim].process.has_logged("the log failed");
        let status = ended.and_then(|status| status.code());
        if ended.is_none() {
            world.cluster.nodes[victim].kill();
        }
        tokio::time::sleep(hold / 4).await;
        world.start(victim).await;
        let evidence = format!("{failed} sync failed, status {status:?}, the reason is in its log: {said}");
        let seen = failed == 1 && status == Some(1) && said;
        if seen { Ok(Struck { on: world.names(&[victim]), evidence }) } else { Err(evidence) }
    })
}
