//! A node loses its disk and starts with an empty one: a stranger with its name, that learns everything and takes the seat of the one that
//! is gone. Seen: it has another identity.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let before = world.cluster.nodes[victim].id(&world.http).await;
        world.cluster.nodes[victim].kill();
        world.cluster.nodes[victim].wipe();
        tokio::time::sleep(hold / 4).await;
        world.start(victim).await;
        let after = world.cluster.nodes[victim].id(&world.http).await;
        let (on, evidence) = (world.names(&[victim]), format!("{before} is {after} now"));
        (before != after).then_some(Struck { on, evidence }).ok_or_else(|| "the same identity".to_owned())
    })
}
