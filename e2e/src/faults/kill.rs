//! `kill -9` of a node, of the leader as often as not; it stays dead for a while. Seen: the process ended by the signal, and a later start
//! of the same node got ready.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let dead = world.cluster.nodes[victim].process.pid();
        world.cluster.nodes[victim].kill();
        tokio::time::sleep(hold).await;
        world.start(victim).await;
        let alive = world.cluster.nodes[victim].process.pid();
        let evidence = format!("process {dead} killed, {alive} started");
        (dead != alive)
            .then_some(Struck { on: world.names(&[victim]), evidence })
            .ok_or_else(|| "the same process".to_owned())
    })
}
