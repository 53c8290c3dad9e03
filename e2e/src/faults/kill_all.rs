//! `kill -9` of all nodes at once, which start again together: nobody remembers anything but his disk. Seen: all processes are others.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let before: Vec<u32> = world.cluster.nodes.iter().map(|node| node.process.pid()).collect();
        world.cluster.nodes.iter_mut().for_each(crate::Node::kill);
        tokio::time::sleep(hold / 4).await;
        world.cluster.spawn_all();
        world.cluster.ready_all().await;
        let after = world.cluster.nodes.iter().map(|node| node.process.pid());
        let same = after.filter(|pid| before.contains(pid)).count();
        let evidence = format!("{} processes killed and started", before.len());
        (same == 0).then_some(Struck { on: "all".to_owned(), evidence }).ok_or_else(|| "a process went on".to_owned())
    })
}
