//! A fresh node joins on a machine to spare, learns everything and votes; after a while it is taken out for good. Seen: it is among the
//! voters, and later among nobody's.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;
use crate::until;

/// 60 s: it learns everything and waits for its seat, on a machine that does much else.
const WITHIN: Duration = Duration::from_secs(60);

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let node = world.add().ok_or("no machine to spare")?;
        world.start(node).await;
        let id = world.cluster.nodes[node].id(&world.http).await;
        votes(world, id, true).await?;
        tokio::time::sleep(hold).await;
        let leave = async || {
            let url = world.cluster.nodes[0].url(&format!("/cluster/members/{id}/leave"));
            let answer = world.http.post(url, &serde_json::json!({})).send().await.ok()?;
            (answer.is_ok() || answer.status == 404).then_some(())
        };
        until(WITHIN, leave).await.ok_or("it could not leave")?;
        votes(world, id, false).await?;
        let on = world.names(&[node]);
        world.remove_last();
        Ok(Struck { on, evidence: format!("{id} voted, and left") })
    })
}

async fn votes(world: &World, id: uuid::Uuid, wanted: bool) -> Result<(), String> {
    let found = until(WITHIN, async || {
        let status = world.cluster.nodes[0].status(&world.http).await?;
        (status.voters.iter().any(|voter| voter.id == id) == wanted).then_some(())
    });
    found.await.ok_or_else(|| format!("{id} {}", if wanted { "does not vote" } else { "still votes" }))
}
