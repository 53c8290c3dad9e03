//! A disk answers nothing for a while, and then goes on as if nothing had been: its node can neither vote nor acknowledge, and when it leads
//! another has to take over meanwhile. Seen: calls waited for the disk, and during the stall another led and writes went through the others.

use std::time::{Duration, Instant};

use super::{Strikes, Struck};
use crate::judges::live::RESUMES_WITHIN;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let before = world.disk(victim)?.met().stalled;
        world.disk(victim)?.trouble(|trouble| trouble.stalled = true);
        let since = Instant::now();
        let others = world.others(&[victim]);
        let led = until(RESUMES_WITHIN, async || led_by_one_of(world, &others).await.then(|| since.elapsed())).await;
        tokio::time::sleep(hold.saturating_sub(since.elapsed())).await;
        let went_on = world.writes_through(&others, RESUMES_WITHIN).await;
        let waited = world.disk(victim)?.met().stalled - before;
        world.disk(victim)?.trouble(|trouble| trouble.stalled = false);
        let Some(led) = led else { return Err(format!("nobody else led within {RESUMES_WITHIN:?}")) };
        let evidence = format!("{waited} calls waited, another led after {} ms", led.as_millis());
        match (waited, went_on) {
            (0, _) => Err("nothing waited for the disk".to_owned()),
            (_, false) => Err(format!("no writes through the others for {RESUMES_WITHIN:?} while one disk stalls")),
            (_, true) => Ok(Struck { on: world.names(&[victim]), evidence }),
        }
    })
}

/// Whether one of these says that it leads, and all of them believe it.
pub(super) async fn led_by_one_of(world: &World, nodes: &[usize]) -> bool {
    let mut leaders = Vec::new();
    for &node in nodes {
        let Some(status) = world.cluster.nodes[node].status(&world.http).await else { return false };
        leaders.push((status.id, status.leader));
    }
    leaders.iter().any(|(id, _)| leaders.iter().all(|(_, leader)| *leader == Some(*id)))
}
