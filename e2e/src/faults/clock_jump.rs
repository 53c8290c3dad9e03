//! A node's time of day jumps by two seconds to a year, forward or back, and comes back to the truth later; or that of every node, each by as much as it
//! likes. As often as not a node is killed meanwhile, and started by the wrong clock. Seen: the `Date` of its answers is one that a right clock cannot
//! tell.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck};
use crate::clock::{self, Shift};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

/// 2 s: a `Date` has whole seconds, so that less would not show.
const LEAST: f64 = 2.0;
const YEAR: f64 = 365.0 * 86_400.0;

/// One node.
pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let shifts = vec![(victim, any(world))];
        let restarted = world.chance.random_bool(0.5).then_some(victim);
        jump(world, hold, shifts, restarted).await
    })
}

/// All of them.
pub(super) fn strike_all(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let shifts: Vec<(usize, Shift)> = world.all().into_iter().map(|node| (node, any(world))).collect();
        let restarted = if world.chance.random_bool(0.5) { Some(world.victim().await?) } else { None };
        jump(world, hold, shifts, restarted).await
    })
}

/// Any shift: hours are drawn as often as seconds and months.
pub(super) fn any(world: &mut World) -> Shift {
    let by = Duration::from_secs_f64(world.chance.random_range(LEAST.ln()..YEAR.ln()).exp());
    if world.chance.random_bool(0.5) { Shift::Ahead(by) } else { Shift::Behind(by) }
}

/// Sets clocks, holds them, looks at what the nodes tell, and sets them right.
pub(super) async fn jump(
    world: &mut World,
    hold: Duration,
    shifts: Vec<(usize, Shift)>,
    restarted: Option<usize>,
) -> Result<Struck, String> {
    for (node, shift) in &shifts {
        world.clock(*node)?.set(*shift);
    }
    tokio::time::sleep(hold / 2).await;
    if let Some(node) = restarted {
        world.cluster.nodes[node].kill();
        world.start(node).await;
    }
    tokio::time::sleep(hold / 2).await;
    let mut evidence = Vec::new();
    for (node, shift) in &shifts {
        let told = until(SOON, async || {
            let told = clock::ask(&world.http, &world.cluster.nodes[*node]).await?;
            (told.is_wrong() && told.may_be(*shift)).then_some(told)
        });
        let told = told.await.ok_or_else(|| format!("{} does not tell a time {shift}", world.names(&[*node])))?;
        evidence.push(told.shift().to_string());
    }
    for (node, _) in &shifts {
        world.clock(*node)?.set(Shift::NONE);
    }
    if let Some(node) = restarted {
        evidence.push(format!("{} started by it", world.names(&[node])));
    }
    let nodes: Vec<usize> = shifts.iter().map(|(node, _)| *node).collect();
    Ok(Struck { on: world.names(&nodes), evidence: evidence.join(", ") })
}
