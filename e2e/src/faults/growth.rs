//! A fresh node joins on a machine to spare, learns everything and votes if there is a seat; after a while it is taken out for good. Seen:
//! it is among the voters (the learners, when all five seats are taken), and later among nobody's.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;
use crate::until;

/// 60 s: it learns everything and waits for its seat, on a machine that does much else.
pub(super) const WITHIN: Duration = Duration::from_secs(60);

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let node = world.add().ok_or("no machine to spare")?;
        world.start(node).await;
        let id = world.cluster.nodes[node].id(&world.http).await;
        replicates(world, id, true).await?;
        tokio::time::sleep(hold).await;
        let leave = async || {
            let url = world.cluster.nodes[0].url(&format!("/cluster/members/{id}/leave"));
            let answer = world.http.post(url, &serde_json::json!({})).send().await.ok()?;
            (answer.is_ok() || answer.status == 404).then_some(())
        };
        until(WITHIN, leave).await.ok_or("it could not leave")?;
        replicates(world, id, false).await?;
        let on = world.names(&[node]);
        world.remove_last();
        Ok(Struck { on, evidence: format!("{id} had its place, and left") })
    })
}

/// 5 voters at most, when nobody says otherwise.
pub(super) const SEATS: usize = 5;

/// Waits until a node has its place, or none any more.
pub(super) async fn replicates(world: &World, id: uuid::Uuid, wanted: bool) -> Result<(), String> {
    let seated = world.all().len() <= SEATS;
    let found = until(WITHIN, async || {
        let status = world.cluster.nodes[0].status(&world.http).await?;
        let votes = status.voters.iter().any(|voter| voter.id == id);
        let learns = status.learners.iter().any(|learner| learner.id == id);
        let placed = if seated && wanted { votes } else { votes || learns };
        (placed == wanted).then_some(())
    });
    found.await.ok_or_else(|| format!("{id} {}", if wanted { "has no place" } else { "still has a place" }))
}
