//! The leader is killed or cut off while the voters are being changed: a node joins and leaves again, or, where all seats are taken, one takes the place of
//! one whose disk is lost. Seen: asked right before, the leader said that the newcomer only learns though it is to vote, or that the one that leaves has
//! its place still; now and then also that a later leader found a joint membership, and finished it.

use std::time::Duration;

use muster_client::api::cluster::Role;
use rand::RngExt;
use uuid::Uuid;

use super::growth::{SEATS, WITHIN, replicates};
use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

/// 6 tries: a change may be over before the leader is struck.
const TRIES: usize = 6;
/// 2.2 s: what a lone learner waits for another one, and a little more, so that its promotion is met as well.
const PROMOTED: Duration = Duration::from_millis(2_200);
/// 100 ms: who leaves with nobody in the way is gone by then.
const GONE: Duration = Duration::from_millis(100);
/// What a leader says that found a joint membership.
const FINISHED: &str = "finished an interrupted change of the voters";

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let (joint, mut met) = (finished(world), Vec::new());
        for _ in 0..TRIES {
            let told = if world.all().len() < SEATS {
                join_and_leave(world, hold).await?
            } else {
                take_a_place(world, hold).await?
            };
            met.extend(told);
            if !met.is_empty() {
                break;
            }
        }
        let joint = finished(world).saturating_sub(joint);
        let evidence = format!("{}; {joint} joint memberships finished later", met.join(", "));
        (!met.is_empty())
            .then_some(Struck { on: "the leader".to_owned(), evidence })
            .ok_or_else(|| "no change was under way".to_owned())
    })
}

/// How often leaders have finished what others had begun.
fn finished(world: &World) -> usize {
    world.cluster.nodes.iter().map(|node| node.process.whole_log().matches(FINISHED).count()).sum()
}

async fn join_and_leave(world: &mut World, hold: Duration) -> Result<Vec<String>, String> {
    let node = world.add().ok_or("no machine to spare")?;
    world.start(node).await;
    let id = world.cluster.nodes[node].id(&world.http).await;
    let mut met = Vec::new();
    until(SOON, async || seen(world, id).await?).await.ok_or("the newcomer has no place")?;
    met.extend(interrupt(world, hold, PROMOTED, id, Place::Learns).await?);
    replicates(world, 0, id, true).await?;
    let leaving = tokio::spawn(leave(world, id));
    met.extend(interrupt(world, hold, GONE, id, Place::Votes).await?);
    // Whether it was heard or not: what has begun goes on, and what has not is asked for again.
    let _ = leaving.await;
    let gone = until(WITHIN, async || {
        let place = seen(world, id).await?;
        if place.is_some() {
            leave(world, id).await;
        }
        place.is_none().then_some(())
    });
    gone.await.ok_or("it could not leave")?;
    replicates(world, 0, id, false).await?;
    world.remove_last();
    Ok(met)
}

async fn take_a_place(world: &mut World, hold: Duration) -> Result<Vec<String>, String> {
    let victim = world.follower().await?;
    world.cluster.nodes[victim].kill();
    world.cluster.nodes[victim].wipe();
    world.start(victim).await;
    let id = world.cluster.nodes[victim].id(&world.http).await;
    until(SOON, async || seen(world, id).await?).await.ok_or("the newcomer has no place")?;
    // The one before is replaced when it has been dead for three seconds.
    let met = interrupt(world, hold, PROMOTED + Duration::from_secs(1), id, Place::Learns).await?;
    replicates(world, 0, id, true).await?;
    Ok(met.into_iter().collect())
}

/// Asks once that a node is taken out for good.
fn leave(world: &World, id: Uuid) -> impl Future<Output = bool> + use<> {
    let call =
        world.http.post(world.cluster.nodes[0].url(&format!("/cluster/members/{id}/leave")), &serde_json::json!({}));
    async move { call.send().await.is_ok_and(|answer| answer.is_ok()) }
}

/// What a leader says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Learns,
    Votes,
}

/// What whoever leads says of it, if anybody does.
async fn seen(world: &World, id: Uuid) -> Option<Option<Place>> {
    for node in world.all() {
        if let Some(place) = seen_by(world, node, id).await {
            return Some(place);
        }
    }
    None
}

async fn seen_by(world: &World, leader: usize, id: Uuid) -> Option<Option<Place>> {
    let status = world.cluster.nodes[leader].status(&world.http).await?;
    if status.role != Some(Role::Leader) {
        return None;
    }
    let among = |replicas: &[muster_client::api::cluster::Replica]| replicas.iter().any(|replica| replica.id == id);
    let votes = among(&status.voters).then_some(Place::Votes);
    Some(votes.or_else(|| among(&status.learners).then_some(Place::Learns)))
}

/// Strikes the leader within that time; what it was doing if the node had this place still when it was struck.
async fn interrupt(
    world: &mut World,
    hold: Duration,
    within: Duration,
    id: Uuid,
    still: Place,
) -> Result<Option<String>, String> {
    let leader = world.leader().await?;
    let wait = within.mul_f64(world.chance.random_range(0.0..1.0));
    tokio::time::sleep(wait).await;
    let place = seen_by(world, leader, id).await;
    let how = if world.chance.random_bool(0.5) {
        world.cluster.nodes[leader].kill();
        tokio::time::sleep(hold).await;
        world.start(leader).await;
        "killed"
    } else {
        world.net.cut(leader);
        tokio::time::sleep(hold).await;
        world.net.heal(leader);
        "cut off"
    };
    let doing = match still {
        Place::Learns => "a node was to vote",
        Place::Votes => "a node was leaving",
    };
    Ok((place == Some(Some(still))).then(|| format!("{} {how} while {doing}", world.names(&[leader]))))
}
