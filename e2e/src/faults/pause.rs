//! A node sleeps (SIGSTOP) and wakes again (SIGCONT) with all that it believed before: a leader wakes as one whom others have replaced.
//! Seen: the kernel says that the process is stopped.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        world.cluster.nodes[victim].process.pause();
        tokio::time::sleep(hold).await;
        let stopped = is_stopped(world, victim);
        world.cluster.nodes[victim].process.resume();
        let on = world.names(&[victim]);
        stopped.then_some(Struck { on, evidence: "state T".to_owned() }).ok_or_else(|| "it was not stopped".to_owned())
    })
}

/// Whether the kernel says that a node's process is stopped.
pub(super) fn is_stopped(world: &World, node: usize) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.cluster.nodes[node].process.pid()));
    // The state stands behind the name, which is in parentheses.
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}
