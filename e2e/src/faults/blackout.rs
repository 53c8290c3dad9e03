//! All machines lose their power at one moment, and their disks what was not synced: what was acknowledged is on disks now, or nowhere. Seen:
//! each disk says how much was taken back.

use std::time::Duration;

use super::unsynced_lost::evidence;
use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let all = world.all();
        let mut lost = Vec::new();
        for &node in &all {
            lost.push(evidence(world.lose_power(node, false)?)?);
        }
        tokio::time::sleep(hold / 4).await;
        all.iter().for_each(|&node| world.cluster.nodes[node].spawn());
        for &node in &all {
            world.cluster.nodes[node].ready().await;
            world.found_at(node);
        }
        Ok(Struck { on: world.names(&all), evidence: lost.join("; ") })
    })
}
