//! Whether every node remembers what it is to remember: acknowledged writes are sent again with their idempotency keys, through every node, while
//! each voter leads in turn. The memory itself is nowhere shown; what it answers is. The sendings are on record, and the judge `once` holds them
//! against what was answered before.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_client::api::cluster::Replica;
use uuid::Uuid;

use super::operation::{Call, Micros, Seen};
use super::script::Hand;
use super::world::World;
use crate::cluster::SOON;
use crate::until;

/// 8 writes for each pair of nodes, spread over what is still remembered.
const WRITES: usize = 8;
/// Two minutes less than nodes remember: what is asked last is asked later.
const REMEMBERED: Duration = Duration::from_secs(8 * 60);

/// Sends them. How often.
///
/// # Errors
/// When a voter cannot be handed the leadership, or a write is not answered.
pub(super) async fn replay(world: &mut World) -> Result<usize, String> {
    let calls = remembered(world);
    let mut sent = 0;
    for leader in voters(world).await? {
        world.hand_to(leader).await?;
        for node in world.cluster.running() {
            let worker = world.prober(node);
            for call in &calls {
                let answered = until(SOON, async || is_definite(&worker.perform(call, 0).await).then_some(()));
                let asked = || format!("{call:?}, sent again through {}", world.names(&[node]));
                answered
                    .await
                    .ok_or_else(|| format!("{} while {} leads, is not answered", asked(), world.names(&[leader])))?;
                sent += 1;
            }
        }
    }
    Ok(sent)
}

fn is_definite(seen: &Seen) -> bool {
    matches!(seen, Seen::Wrote { .. } | Seen::Refused { .. })
}

/// Some of the writes that nodes are to remember, each by the first of its sendings that was acknowledged. Those of the client library are of
/// another type, and so would be other requests.
fn remembered(world: &World) -> Vec<Call> {
    let since = world.recorder.now().saturating_sub(REMEMBERED.as_micros() as Micros);
    let record = world.recorder.so_far();
    let mut keys = BTreeSet::new();
    let candidates = record.operations.iter().filter(|done| done.ended > since && done.node.is_some());
    let acked = candidates.filter(|done| done.seen.is_acked() && done.call.again().is_some_and(|key| keys.insert(key)));
    let calls: Vec<Call> = acked.map(|done| done.call.clone()).collect();
    let every = calls.len().div_ceil(WRITES).max(1);
    calls.into_iter().step_by(every).collect()
}

/// The nodes that vote.
async fn voters(world: &mut World) -> Result<Vec<usize>, String> {
    let leader = world.leader().await?;
    let status = world.cluster.nodes[leader].status(&world.http).await.ok_or("the leader does not answer")?;
    let voters: Vec<Uuid> = status.voters.into_iter().map(|Replica { id, .. }| id).collect();
    let mut nodes = Vec::new();
    for node in world.cluster.running() {
        if voters.contains(&world.cluster.nodes[node].id(&world.http).await) {
            nodes.push(node);
        }
    }
    Ok(nodes)
}
