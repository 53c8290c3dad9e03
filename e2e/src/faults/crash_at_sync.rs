//! A machine loses its power at exactly its so-manieth sync from now: right before what it was to sync is on the disk, or right after, when
//! nobody has been told yet. What was not synced is lost, half of the time torn. Seen: the disk says at which sync of which file it died, and
//! another process is ready afterwards.

use std::time::Duration;

use rand::RngExt;

use super::unsynced_lost::told;
use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::disk::Death;
use crate::torture::World;
use crate::until;

/// 12: what a few writes, a vote or a mark take, in their order.
const SYNCS: u64 = 12;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let (sync, done) = (world.chance.random_range(1..=SYNCS), world.chance.random_bool(0.5));
        let death = Death { sync, done, but: None };
        let torn = world.chance.random_bool(0.5);
        let before = world.cluster.nodes[victim].process.pid();
        world.disk(victim)?.trouble(|trouble| trouble.dies = Some(death));
        let died = until(SOON, async || world.disks[victim].died()).await;
        // Killed first, so that nothing is done with what the disk answers then.
        world.net.power_off(victim);
        world.cluster.nodes[victim].process.send_kill();
        world.disk(victim)?.trouble(|trouble| trouble.dies = None);
        let lost = world.lose_power(victim, torn)?;
        tokio::time::sleep(hold).await;
        world.net.power_on(victim);
        world.start(victim).await;
        let died = died.ok_or_else(|| format!("fewer than {} syncs", death.sync))?;
        if world.cluster.nodes[victim].process.pid() == before {
            return Err("the same process".to_owned());
        }
        let (side, path) = (if death.done { "after" } else { "before" }, died.path.display());
        let evidence = format!("right {side} sync {} of {path}: {}", death.sync, told(lost));
        Ok(Struck { on: world.names(&[victim]), evidence })
    })
}
