//! A bit flips on the disk of a node that runs: whatever it reads of that it has to refuse; when it starts again it refuses the file by name, mends
//! it, or does not need it. Seen: the byte before and after; and what the node said of it.

use std::time::Duration;

use super::flipped_bit::{damage_one, flip, start_damaged};
use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let (file, what) = damage_one(world, victim, |bytes, chance| flip(bytes, chance))?;
        tokio::time::sleep(hold).await;
        let process = &mut world.cluster.nodes[victim].process;
        let by_itself = process.exited().map(|status| format!("it ended by itself ({:?}); ", status.code()));
        if by_itself.is_none() {
            process.kill();
        }
        let found = start_damaged(world, victim, &file).await?;
        let evidence = format!("{}: {what}; {}{found}", file.display(), by_itself.unwrap_or_default());
        Ok(Struck { on: world.names(&[victim]), evidence })
    })
}
