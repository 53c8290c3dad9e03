//! A node's time of day jumps further ahead than its incarnations follow, by more than five years and up to a hundred, or back to 1970, and the node is
//! killed and started by that clock. Seen: what `clock-jump` shows, and an incarnation that stayed on this side of five years.

use std::time::{Duration, SystemTime};

use rand::RngExt;

use super::Strikes;
use super::clock_jump::jump;
use crate::clock::Shift;
use crate::torture::World;

const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Five years: what incarnations follow at most (`docs/identity.md`).
const FOLLOWED: u32 = 5;
/// A hundred years: the kernel takes no clock that is much further ahead.
const FARTHEST: u32 = 100;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let shift = if world.chance.random_bool(0.25) {
            // Into the first day of 1970: nothing is before it.
            Shift::Behind(now - Duration::from_secs(world.chance.random_range(60..86_400)))
        } else {
            // Beyond what an earlier jump by a year may have left on the disk.
            Shift::Ahead(YEAR * world.chance.random_range(FOLLOWED + 2..FARTHEST))
        };
        let mut struck = jump(world, hold, vec![(victim, shift)], Some(victim)).await?;
        let id = world.cluster.nodes[victim].id(&world.http).await;
        let other = world.others(&[victim]).first().copied().unwrap_or(victim);
        let members = world.cluster.nodes[other].members(&world.http).await.ok_or("nobody knows it")?;
        let member = members.members.iter().find(|member| member.id == id).ok_or("nobody knows it")?;
        // 16 bits of counter below the milliseconds.
        let stamp = Duration::from_millis(member.incarnation >> 16);
        if stamp > now + YEAR * FOLLOWED {
            return Err(format!("its incarnation followed its clock: {} days since 1970", stamp.as_secs() / 86_400));
        }
        struck.evidence.push_str("; its incarnation stayed");
        Ok(struck)
    })
}
