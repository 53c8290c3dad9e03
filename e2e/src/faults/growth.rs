//! A fresh node joins on a machine to spare, learns everything and votes if there is a seat; after a while it is taken out for good. Seen:
//! it is among the voters (the learners, when all five seats are taken), and later among nobody's.

use std::time::Duration;

use uuid::Uuid;

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
        replicates(world, 0, id, true).await?;
        tokio::time::sleep(hold).await;
        leaves(world, 0, id).await?;
        replicates(world, 0, id, false).await?;
        let on = world.names(&[node]);
        world.remove_last();
        Ok(Struck { on, evidence: format!("{id} had its place, and left") })
    })
}

/// 5 voters at most, when nobody says otherwise.
pub(super) const SEATS: usize = 5;

/// Asks, through this node, that one is taken out for good, until it is.
pub(super) async fn leaves(world: &World, through: usize, id: Uuid) -> Result<(), String> {
    let leave = async || {
        let url = world.cluster.nodes[through].url(&format!("/cluster/members/{id}/leave"));
        let answer = world.http.post(url, &serde_json::json!({})).send().await.ok()?;
        (answer.is_ok() || answer.status == 404).then_some(())
    };
    until(WITHIN, leave).await.ok_or_else(|| "it could not leave".to_owned())
}

/// Waits until a node has its place, or none any more, as this one says.
pub(super) async fn replicates(world: &World, says: usize, id: Uuid, wanted: bool) -> Result<(), String> {
    if wanted && world.all().len() <= SEATS {
        return votes(world, says, id).await;
    }
    let lack = if wanted { "has no place" } else { "still has a place" };
    place(world, says, id, |votes, learns| (votes || learns) == wanted).await.ok_or_else(|| format!("{id} {lack}"))
}

/// Waits until a node votes, as this one says.
pub(super) async fn votes(world: &World, says: usize, id: Uuid) -> Result<(), String> {
    place(world, says, id, |votes, _| votes).await.ok_or_else(|| format!("{id} does not vote"))
}

/// Waits until it votes, or learns, as it should.
async fn place(world: &World, says: usize, id: Uuid, should: impl Fn(bool, bool) -> bool) -> Option<()> {
    let found = until(WITHIN, async || {
        let status = world.cluster.nodes[says].status(&world.http).await?;
        let votes = status.voters.iter().any(|voter| voter.id == id);
        let learns = status.learners.iter().any(|learner| learner.id == id);
        should(votes, learns).then_some(())
    });
    found.await
}
