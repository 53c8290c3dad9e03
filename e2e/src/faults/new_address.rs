//! A machine comes back with another address, and its node with the same disk. Seen: another node knows it under the new address.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let other = world.one_of(&world.others(&[victim]));
        let id = world.cluster.nodes[victim].id(&world.http).await;
        world.cluster.nodes[victim].kill();
        tokio::time::sleep(hold / 4).await;
        let address = world.net.readdress(victim)?;
        world.cluster.nodes[victim].moved(address.into());
        world.start(victim).await;
        let known = until(SOON, async || {
            let members = world.cluster.nodes[other].members(&world.http).await?;
            let member = members.members.iter().find(|member| member.id == id)?;
            member.http.starts_with(&format!("{address}:")).then_some(())
        });
        let (on, evidence) = (world.names(&[victim]), format!("known at {address}"));
        known.await.map(|()| Struck { on, evidence }).ok_or_else(|| format!("not known at {address}"))
    })
}
