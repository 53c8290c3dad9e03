//! A node gets back a copy of its disk that is a few seconds old, as from a backup: it has forgotten what it acknowledged and for whom it
//! voted, and must not count as if it had not. Seen: the node says that its disk is an old copy, and is another now.

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
        let before = world.cluster.nodes[victim].id(&world.http).await;
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
        said.await.ok_or("it did not say so")?;
        // It starts anew within its process, as another.
        let anew = until(SOON, async || {
            let now = world.cluster.nodes[victim].members(&world.http).await?.local;
            (now != before).then_some(now)
        });
        let now = anew.await.ok_or("it said so, and did not start anew")?;
        Ok(Struck { on: world.names(&[victim]), evidence: format!("it says so, and {before} is {now} now") })
    })
}
