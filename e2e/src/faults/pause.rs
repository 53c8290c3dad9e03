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

/// Whether the kernel says that all threads of a node's process are stopped. A signal takes a moment to reach those that are writing.
pub(super) fn is_stopped(world: &World, node: usize) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", world.cluster.nodes[node].process.pid())) else {
        return false;
    };
    let stopped = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        // The state stands behind the name, which is in parentheses.
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    };
    threads.into_iter().all(stopped)
}
