//! A machine's cable is pulled: neither its peers nor its clients reach it, and nobody is told. Seen: a question to it gets no answer.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        world.net.cut(victim);
        tokio::time::sleep(hold).await;
        let url = world.cluster.nodes[victim].url("/livez");
        let answer = world.http.get(url).within(Duration::from_millis(300)).send().await;
        world.net.heal(victim);
        let on = world.names(&[victim]);
        answer
            .is_err()
            .then_some(Struck { on, evidence: "no answer".to_owned() })
            .ok_or_else(|| "it answers".to_owned())
    })
}
