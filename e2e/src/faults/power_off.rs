//! A machine loses its power: its network is gone first, so that nobody is told, and then its process. Its kernel keeps what was written;
//! the faults of disks are others. Seen: another process is ready afterwards, on a machine that can be reached.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        world.net.power_off(victim);
        world.cluster.nodes[victim].kill();
        tokio::time::sleep(hold).await;
        world.net.power_on(victim);
        world.start(victim).await;
        let id = world.cluster.nodes[victim].id(&world.http).await;
        Ok(Struck { on: world.names(&[victim]), evidence: format!("{id} answers again") })
    })
}
