//! A node's time of day, or that of every node, goes half or twice as fast; then it is right again at one blow. Seen: the `Date` of its answers is one
//! that a right clock cannot tell.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Strikes, Struck};
use crate::clock::{self, Shift, Told};
use crate::cluster::SOON;
use crate::torture::World;

/// 5 ms between two steps: a clock that is set so often runs evenly to whoever reads it now and then.
const STEP: Duration = Duration::from_millis(5);
/// 200 ms between two looks at what the nodes tell.
const LOOK: Duration = Duration::from_millis(200);
/// 1 s: what a `Date` is certain to show.
const PLAIN: Duration = Duration::from_secs(1);

/// One node.
pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        drift(world, hold, vec![victim]).await
    })
}

/// All of them.
pub(super) fn strike_all(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let all = world.all();
        drift(world, hold, all).await
    })
}

async fn drift(world: &mut World, hold: Duration, nodes: Vec<usize>) -> Result<Struck, String> {
    let fast: Vec<bool> = nodes.iter().map(|_| world.chance.random_bool(0.5)).collect();
    let (since, mut looked) = (Instant::now(), Instant::now());
    let mut told: Vec<Option<Told>> = vec![None; nodes.len()];
    let plain = |told: &Told| told.is_wrong() && told.shift().size() > PLAIN;
    while since.elapsed() < hold || told.iter().any(|told| !told.as_ref().is_some_and(plain)) {
        if since.elapsed() > hold + SOON {
            return Err(format!("{} told: {told:?}", world.names(&nodes)));
        }
        for (node, fast) in nodes.iter().zip(&fast) {
            let gone = since.elapsed();
            world.clock(*node)?.set(if *fast { Shift::Ahead(gone) } else { Shift::Behind(gone / 2) });
        }
        tokio::time::sleep(STEP).await;
        if looked.elapsed() > LOOK {
            for (node, told) in nodes.iter().zip(&mut told) {
                *told = clock::ask(&world.http, &world.cluster.nodes[*node]).await;
            }
            looked = Instant::now();
        }
    }
    for node in &nodes {
        world.clock(*node)?.set(Shift::NONE);
    }
    let told: Vec<String> = told.iter().flatten().map(|told| told.shift().to_string()).collect();
    Ok(Struck { on: world.names(&nodes), evidence: told.join(", ") })
}
