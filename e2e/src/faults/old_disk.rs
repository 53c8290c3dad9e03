//! A node gets back a copy of its disk that is a few seconds old, as from a backup: it has forgotten what it acknowledged and for whom it
//! voted, and must not count as if it had not. Seen: the copy's log is another, and the node says that its disk is an old copy.

use std::time::Duration;

use super::pause::is_stopped;
use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::folder::replace;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.follower().await?;
        let (folder, backup) = (world.cluster.nodes[victim].dir().to_owned(), world.cluster.folder("backup"));
        world.cluster.nodes[victim].process.pause();
        // A copy of one moment: what is still being written would be in one file and not in another.
        let stopped = until(SOON, async || is_stopped(world, victim).then_some(())).await;
        let copied = replace(&folder, &backup);
        world.cluster.nodes[victim].process.resume();
        stopped.ok_or("it was not stopped")?;
        copied.map_err(|error| error.to_string())?;
        tokio::time::sleep(hold).await;
        world.cluster.nodes[victim].kill();
        replace(&backup, &folder).map_err(|error| error.to_string())?;
        world.start(victim).await;
        let said = until(SOON, async || world.cluster.nodes[victim].process.has_logged("old copy").then_some(()));
        let said = said.await;
        // It may start anew within its process.
        world.cluster.nodes[victim].ready().await;
        let on = world.names(&[victim]);
        said.map(|()| Struck { on, evidence: "it says so".to_owned() }).ok_or_else(|| "it did not say so".to_owned())
    })
}
