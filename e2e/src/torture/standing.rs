//! What the nodes say once all is quiet, beside keys and values: when keys were made and of what type they are, the configuration, and who
//! belongs to the cluster. Idempotency keys are nowhere shown; see [`super::replay`].

use muster_client::api::cluster::{Config, Replica, Status};
use muster_client::api::kv::Page;
use uuid::Uuid;

use super::record::Standing;
use super::world::{OWN, World};
use crate::cluster::SOON;
use crate::until;

/// 200 keys of each node, the same ones everywhere, are asked for their types: listings do not tell.
const TYPES: usize = 200;

/// Of every node that runs, once they say the same of the cluster; when they do not, what they said last.
///
/// # Errors
/// When one does not answer.
pub(super) async fn standings(world: &mut World) -> Result<Vec<Standing>, String> {
    let running = world.cluster.running();
    let mut standings = Vec::new();
    // What the last fault set going may not have reached everybody yet.
    let _ = until(SOON, async || {
        standings.clear();
        for &node in &running {
            standings.push(of_cluster(world, node).await?);
        }
        standings.windows(2).all(|pair| Standing { node: pair[1].node, ..pair[0].clone() } == pair[1]).then_some(())
    })
    .await;
    if standings.len() < running.len() {
        return Err(format!("{} does not say how the cluster is", world.names(&running[standings.len()..])));
    }
    for standing in &mut standings {
        of_keys(world, standing).await?;
    }
    Ok(standings)
}

async fn of_cluster(world: &World, node: usize) -> Option<Standing> {
    let Status { cluster_id, term, leader, voters, learners, applied_index, .. } =
        world.cluster.nodes[node].status(&world.http).await?;
    let config = world.http.get(world.cluster.nodes[node].url("/cluster/config")).send().await.ok()?;
    let Config { voters: seats, replace_after } = config.parsed()?;
    let ids = |replicas: Vec<Replica>| {
        let mut ids: Vec<Uuid> = replicas.into_iter().map(|replica| replica.id).collect();
        ids.sort_unstable();
        ids
    };
    let (voters, learners) = (ids(voters), ids(learners));
    let (created, types) = Default::default();
    let config = format!("{seats} voters, replaced after {replace_after}");
    Some(Standing { node, cluster_id, term, leader, voters, learners, config, applied_index, created, types })
}

async fn of_keys(world: &World, standing: &mut Standing) -> Result<(), String> {
    let node = &world.cluster.nodes[standing.node];
    let mut after: Option<String> = None;
    loop {
        let mut call = world.http.get(node.url("/kv")).query("limit", 1000).query("keys_only", true);
        if let Some(after) = &after {
            call = call.query("start_after", after);
        }
        let answer = call.send().await.map_err(|lost| lost.reason)?;
        let page: Page = answer.parsed().ok_or_else(|| answer.text())?;
        let judged = page.items.into_iter().filter(|item| !item.key.starts_with(OWN));
        standing.created.extend(judged.map(|item| (item.key, item.create_revision)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let every = standing.created.len().div_ceil(TYPES).max(1);
    for (key, _) in standing.created.iter().step_by(every) {
        let answer = world.http.head(node.url(&format!("/kv/{key}"))).send().await.map_err(|lost| lost.reason)?;
        standing.types.push((key.clone(), answer.header("content-type").unwrap_or_default().to_owned()));
    }
    Ok(())
}
