//! A node's time of day, or that of every node, jumps away and back several times a second. Seen: the `Date` of its answers is right once and wrong once.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::clock_jump::any;
use super::{Strikes, Struck};
use crate::clock::{self, Shift};
use crate::cluster::SOON;
use crate::torture::World;

/// One node.
pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        strobe(world, hold, vec![victim]).await
    })
}

/// All of them.
pub(super) fn strike_all(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let all = world.all();
        strobe(world, hold, all).await
    })
}

async fn strobe(world: &mut World, hold: Duration, nodes: Vec<usize>) -> Result<Struck, String> {
    let shifts: Vec<Shift> = nodes.iter().map(|_| any(world)).collect();
    let mut seen = vec![(false, false); nodes.len()];
    let (since, mut jumps) = (Instant::now(), 0);
    while since.elapsed() < hold || seen.iter().any(|seen| *seen != (true, true)) {
        if since.elapsed() > hold + SOON {
            return Err(format!("{} told right and wrong times: {seen:?}, {shifts:?}", world.names(&nodes)));
        }
        for (node, shift) in nodes.iter().zip(&shifts) {
            let away = world.chance.random_bool(0.5);
            world.clock(*node)?.set(if away { *shift } else { Shift::NONE });
            jumps += 1;
        }
        tokio::time::sleep(Duration::from_millis(world.chance.random_range(20..150))).await;
        for ((node, shift), seen) in nodes.iter().zip(&shifts).zip(&mut seen) {
            if let Some(told) = clock::ask(&world.http, &world.cluster.nodes[*node]).await {
                seen.0 |= !told.is_wrong();
                seen.1 |= told.is_wrong() && told.may_be(*shift);
            }
        }
    }
    for node in &nodes {
        world.clock(*node)?.set(Shift::NONE);
    }
    let away = shifts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Ok(Struck { on: world.names(&nodes), evidence: format!("{away}, set {jumps} times") })
}
