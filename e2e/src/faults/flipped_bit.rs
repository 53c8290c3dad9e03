//! A bit flips on the disk of a node that is down, in a file of its log, its state or what else it keeps: it has to refuse the file by name, to
//! mend it, or not to need it, and must never serve it. Seen: the byte before and after; and what the node said of it.

use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::until;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    damage(world, hold, |bytes, chance| flip(bytes, chance))
}

/// Flips a bit. What it was, for people.
pub(super) fn flip(bytes: &mut [u8], chance: &mut StdRng) -> Option<String> {
    // What was never written is not read either.
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let at = *written.get(chance.random_range(0..written.len().max(1)))?;
    let before = bytes[at];
    bytes[at] ^= 1 << chance.random_range(0..8);
    Some(format!("byte {at} is {:#04x} instead of {before:#04x}", bytes[at]))
}

type Change = fn(&mut Vec<u8>, &mut StdRng) -> Option<String>;

/// Damages a file of a node that is down, and sees what comes of it. It gets an empty disk then: one that refuses asks for it.
pub(super) fn damage(world: &mut World, hold: Duration, change: Change) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        world.cluster.nodes[victim].kill();
        let (file, what) = damage_one(world, victim, change)?;
        tokio::time::sleep(hold / 4).await;
        let found = start_damaged(world, victim, &file).await?;
        let on = world.names(&[victim]);
        Ok(Struck { on, evidence: format!("{}: {what}; {found}", file.display()) })
    })
}

/// Damages any file. Which, and how.
pub(super) fn damage_one(world: &mut World, node: usize, change: Change) -> Result<(PathBuf, String), String> {
    let disk = world.disks.get(node).ok_or("this node has no disk of its own")?;
    let mut files = disk.files();
    while !files.is_empty() {
        let file = files.swap_remove(world.chance.random_range(0..files.len()));
        if let Some(what) = disk.rot(&file, |bytes| change(bytes, &mut world.chance)).flatten() {
            return Ok((file, what));
        }
    }
    Err("there is nothing to damage".to_owned())
}

/// What became of it. What is served is for the judges.
pub(super) async fn start_damaged(world: &mut World, node: usize, file: &std::path::Path) -> Result<String, String> {
    world.cluster.nodes[node].spawn();
    let ready = until(SOON, async || {
        let process = &mut world.cluster.nodes[node].process;
        process.ready_now().map(|_| true).or_else(|| process.exited().map(|_| false))
    });
    let ready = ready.await.ok_or("it neither got ready nor ended")?;
    if ready {
        world.cluster.nodes[node].ready().await;
        world.found_at(node);
        // All that it holds is read, as far as it lets itself be read; it may end with that.
        let read = world.copy(node).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if read.is_ok() && world.cluster.nodes[node].is_running() {
            // What nobody has needed so far may be needed in the middle of another fault, which would be blamed.
            world.cluster.nodes[node].kill();
            world.cluster.nodes[node].wipe();
            world.start(node).await;
            return Ok("it serves; filled anew".to_owned());
        }
    }
    // A part of the path: the state engine names its folder.
    let process = &mut world.cluster.nodes[node].process;
    let named =
        file.iter().skip(1).map(|part| part.to_string_lossy()).find(|part| process.has_logged(&format!("/{part}")));
    let status = process.exited().and_then(|status| status.code());
    if process.is_running() {
        process.kill();
    }
    let named = named.ok_or_else(|| format!("{} is damaged and not named; status {status:?}", file.display()))?;
    world.cluster.nodes[node].wipe();
    world.start(node).await;
    Ok(format!("refused ({named} is named, status {status:?}), and filled anew"))
}
