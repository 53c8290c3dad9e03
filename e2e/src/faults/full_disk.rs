//! A node's disk is full for a while, on a file system of its own (in memory), which something else has filled: reads go on, writes go
//! elsewhere or are refused, and all comes back by itself when there is room. Seen: the node says that its disk is full, and later that it
//! is not. Once up to less than what a node keeps in reserve, and once to the brim at one blow, before it can have noticed.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::folder::{copy, replace};
use crate::torture::World;
use crate::until;

/// 512 MiB: room for what a node has after a run of some minutes.
const SIZE: &str = "size=512m";

/// 4 KiB: the blocks of that file system, which its free room is counted in.
const BLOCK: u64 = 4096;
/// 16 MiB, a quarter of what a node keeps in reserve.
const SOME: u64 = 16 << 20;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    fill_up(world, hold, SOME)
}

pub(super) fn strike_to_the_brim(world: &mut World, hold: Duration) -> Strikes<'_> {
    fill_up(world, hold, 0)
}

fn fill_up(world: &mut World, hold: Duration, left: u64) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let (folder, aside) = (world.cluster.nodes[victim].dir().to_owned(), world.cluster.folder("aside"));
        world.cluster.nodes[victim].kill();
        replace(&folder, &aside).map_err(|error| error.to_string())?;
        system("mount", &["-t", "tmpfs", "-o", SIZE, "none"], &folder)?;
        let struck = on_its_own(world, victim, &aside, hold, left).await;
        // Whatever came of it, nothing stays mounted.
        if world.cluster.nodes[victim].is_running() {
            world.cluster.nodes[victim].kill();
        }
        let moved = replace(&folder, &aside);
        system("umount", &[], &folder)?;
        moved.and_then(|()| replace(&aside, &folder)).map_err(|error| error.to_string())?;
        world.start(victim).await;
        struck.map(|evidence| Struck { on: world.names(&[victim]), evidence })
    })
}

async fn on_its_own(
    world: &mut World,
    victim: usize,
    from: &Path,
    hold: Duration,
    left: u64,
) -> Result<String, String> {
    let folder = world.cluster.nodes[victim].dir().to_owned();
    copy(from, &folder).map_err(|error| error.to_string())?;
    world.start(victim).await;
    world.whole(SOON).await?;
    let (ballast, process) = (folder.join("ballast"), world.cluster.nodes[victim].process.pid());
    let filled = fill(&ballast, left).map_err(|error| error.to_string())?;
    let said = until(SOON, async || is_full(world, victim).await.filter(|full| *full));
    let said = said.await.is_some();
    tokio::time::sleep(hold).await;
    std::fs::remove_file(&ballast).map_err(|error| error.to_string())?;
    let over = until(SOON, async || is_full(world, victim).await.filter(|full| !full));
    let over = over.await.is_some();
    let lives = world.cluster.nodes[victim].is_running() && world.cluster.nodes[victim].process.pid() == process;
    match (said, over) {
        _ if !lives => Err("the node stopped".to_owned()),
        (true, true) => Ok(format!("{} MiB in the way, and it said so", filled >> 20)),
        (false, _) => Err("it did not say that its disk is full".to_owned()),
        (true, false) => Err("its disk is still full to it when there is room".to_owned()),
    }
}

async fn is_full(world: &World, node: usize) -> Option<bool> {
    world.cluster.nodes[node].status(&world.http).await.map(|status| status.disk.full)
}

/// Writes until there is only so much room left.
fn fill(path: &Path, left: u64) -> std::io::Result<u64> {
    let mut file = std::fs::File::create(path)?;
    let block = vec![0; 64 << 10];
    let mut written = 0;
    loop {
        if left > 0 && rustix::fs::fstatfs(&file)?.f_bavail * BLOCK <= left {
            return Ok(written);
        }
        match file.write(&block) {
            Ok(count) => written += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(written),
            Err(error) => return Err(error),
        }
    }
}

fn system(program: &str, args: &[&str], on: &Path) -> Result<(), String> {
    match Command::new(program).args(args).arg(on).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
