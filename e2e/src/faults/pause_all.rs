//! All nodes sleep at once and wake one after another: whatever each knew of the others is old. Seen: the kernel says that they are stopped.

use std::time::Duration;

use rand::RngExt;

use super::pause::is_stopped;
use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        world.cluster.nodes.iter().for_each(|node| node.process.pause());
        tokio::time::sleep(hold).await;
        let stopped = world.all().into_iter().filter(|&node| is_stopped(world, node)).count();
        for node in world.shuffled() {
            world.cluster.nodes[node].process.resume();
            tokio::time::sleep(Duration::from_millis(world.chance.random_range(0..300))).await;
        }
        let evidence = format!("{stopped} in state T");
        (stopped == world.all().len())
            .then_some(Struck { on: "all".to_owned(), evidence })
            .ok_or_else(|| "some went on".to_owned())
    })
}
