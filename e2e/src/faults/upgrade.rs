//! A node that still runs the program of an earlier release is stopped, or killed, and goes on with today's, on the same disk. Once there is none left,
//! any node is started again. Seen: what the kernel says its process runs, before and after.

use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck};
use crate::binaries;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let mut victim = world.victim().await?;
        let earlier: Vec<usize> = world.earlier.iter().copied().collect();
        if !earlier.is_empty() && !earlier.contains(&victim) {
            victim = world.one_of(&earlier);
        }
        let before = runs(world, victim)?;
        let how = if world.chance.random_bool(0.5) {
            let status = world.cluster.nodes[victim].stop().await;
            status.success().then_some("SIGTERM").ok_or_else(|| format!("it was told to stop: {status}"))?
        } else {
            world.cluster.nodes[victim].kill();
            "kill -9"
        };
        tokio::time::sleep(hold / 4).await;
        let today = binaries::program("muster-node");
        world.cluster.nodes[victim].process.run_as(today.clone());
        world.start(victim).await;
        let after = runs(world, victim)?;
        let was_earlier = world.earlier.remove(&victim);
        let today = today.canonicalize().map_err(|error| error.to_string())?;
        let evidence = match was_earlier {
            true => format!("{how}; {}, then {}", before.display(), after.display()),
            false => format!("{how}; today's again, since no earlier one is left"),
        };
        let seen = after == today && (before == today) != was_earlier;
        if seen { Ok(Struck { on: world.names(&[victim]), evidence }) } else { Err(evidence) }
    })
}

/// The program that a node's process runs.
fn runs(world: &World, node: usize) -> Result<PathBuf, String> {
    let exe = format!("/proc/{}/exe", world.cluster.nodes[node].process.pid());
    std::fs::read_link(&exe).map_err(|error| format!("{exe}: {error}"))
}
