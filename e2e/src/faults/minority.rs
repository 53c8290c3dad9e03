//! No fault that anything should stand, but a control: a follower is cut off from its peers and recovered as if their disks were lost, so that it
//! acknowledges writes alone while the majority does as well. Seen: both sides acknowledged a write.

use std::process::Command;
use std::time::Duration;

use super::{Strikes, Struck, wall_between};
use crate::binaries;
use crate::firewall::Kind;
use crate::judges::live::RESUMES_WITHIN;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let alone = world.follower().await?;
        let others = world.others(&[alone]);
        let status = world.cluster.nodes[alone].status(&world.http).await.ok_or("the follower does not answer")?;
        let cluster = status.cluster_id.ok_or("the follower is part of no cluster")?.to_string();
        wall_between(world, &[alone], &others, Kind::All)?;
        world.cluster.nodes[alone].kill();
        // On the machine that is cut off: where the others answer, the command refuses.
        let mut recover = Command::new("ip");
        recover.args(["netns", "exec", &world.net.namespace(alone)]).arg(binaries::program("muster-node"));
        recover.args(["recover", "--confirm", &cluster, "--data-dir"]).arg(world.cluster.nodes[alone].dir());
        let told = recover.output().map_err(|error| format!("ip: {error}"))?;
        if !told.status.success() {
            return Err(format!("recover: {}", String::from_utf8_lossy(&told.stderr).trim()));
        }
        // Before the others hear that another cluster takes their place.
        let majority = world.writes_through(&others, RESUMES_WITHIN).await;
        world.start(alone).await;
        let minority = world.writes_through(&[alone], RESUMES_WITHIN).await;
        tokio::time::sleep(hold).await;
        match (majority, minority) {
            (true, true) => Ok(Struck { on: world.names(&[alone]), evidence: "both sides acknowledged".to_owned() }),
            (false, _) => Err("the majority acknowledges nothing".to_owned()),
            (true, false) => Err("a node that was recovered acknowledges nothing".to_owned()),
        }
    })
}
