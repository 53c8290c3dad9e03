//! While one node is cut off from its peers, another one is lost with its disk, and a fresh one takes its place: a majority of the voters is left, and no
//! more. Seen: the fresh one votes before the cut is mended, and packets that were caught.

use std::time::Duration;

use super::growth::WITHIN;
use super::{Strikes, hold_walls, wall_between};
use crate::firewall::Kind;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let nodes = world.shuffled();
        let (alone, others) = (nodes[0], world.others(&[nodes[0]]));
        wall_between(world, &[alone], &others, Kind::All)?;
        tokio::time::sleep(hold / 2).await;
        let lost = world.one_of(&others);
        world.cluster.nodes[lost].kill();
        world.cluster.nodes[lost].wipe();
        world.start(lost).await;
        let id = world.cluster.nodes[lost].id(&world.http).await;
        let votes = until(WITHIN, async || {
            let status = world.cluster.nodes[lost].status(&world.http).await?;
            status.voters.iter().any(|voter| voter.id == id).then_some(())
        });
        let votes = votes.await;
        let on = format!("{}, and {} with its disk", world.names(&[alone]), world.names(&[lost]));
        let mut struck = hold_walls(world, on, hold / 2).await?;
        struck.evidence.push_str("; the fresh one voted by then");
        votes.map(|()| struck).ok_or_else(|| "the fresh one did not vote while another was cut off".to_owned())
    })
}
