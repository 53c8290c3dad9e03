//! A node's disk is full for a while, on a file system of its own (in memory), which something else has filled: reads go on, writes go
//! elsewhere, and all comes back by itself when there is room. Seen: the node says that its disk is full, and later that it is not; meanwhile it
//! answers reads, writes go through all nodes, itself included, and another leads, whoever led before. Once up to less than what a node keeps in reserve, and once to the brim at one blow, before it can have noticed.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::stalled_disk::led_by_one_of;
use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::folder::{copy, replace};
use crate::http::Answer;
use crate::judges::live::RESUMES_WITHIN;
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
        let led = world.leader().await? == victim;
        let (folder, aside) = (world.cluster.nodes[victim].dir().to_owned(), world.cluster.folder("aside"));
        world.cluster.nodes[victim].kill();
        replace(&folder, &aside).map_err(|error| error.to_string())?;
        system("mount", &["-t", "tmpfs", "-o", SIZE, "none"], &folder)?;
        let struck = on_its_own(world, Victim { node: victim, led }, &aside, hold, left).await;
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

/// Who is struck, and whether it led before it was given a file system of its own, and is to lead again.
struct Victim {
    node: usize,
    led: bool,
}

async fn on_its_own(
    world: &mut World,
    Victim { node: victim, led }: Victim,
    from: &Path,
    hold: Duration,
    left: u64,
) -> Result<String, String> {
    let folder = world.cluster.nodes[victim].dir().to_owned();
    copy(from, &folder).map_err(|error| error.to_string())?;
    world.start(victim).await;
    world.whole(SOON).await?;
    if led {
        world.hand_to(victim).await?;
    }
    // What it wrote itself, it has and can show.
    let known = world.cluster.nodes[victim].url(&format!("/kv/probe/{victim}"));
    let wrote = world.writes_through(&[victim], RESUMES_WITHIN).await;
    let has = until(SOON, async || world.http.get(&known).send().await.ok().filter(Answer::is_ok));
    if !wrote || has.await.is_none() {
        return Err("what is written through the node is not there".to_owned());
    }
    let (ballast, process) = (folder.join("ballast"), world.cluster.nodes[victim].process.pid());
    let filled = fill(&ballast, left).map_err(|error| error.to_string())?;
    let said = until(SOON, async || is_full(world, victim).await.filter(|full| *full));
    let said = said.await.is_some();
    let since = Instant::now();
    let others = world.others(&[victim]);
    let another = until(RESUMES_WITHIN, async || led_by_one_of(world, &others).await.then(|| since.elapsed())).await;
    tokio::time::sleep(hold.saturating_sub(since.elapsed())).await;
    let all = world.cluster.running();
    let went_on = world.writes_through(&all, RESUMES_WITHIN).await;
    let read = world.http.get(&known).within(Duration::from_secs(5)).send().await;
    std::fs::remove_file(&ballast).map_err(|error| error.to_string())?;
    let over = until(SOON, async || is_full(world, victim).await.filter(|full| !full));
    let over = over.await.is_some();
    let lives = world.cluster.nodes[victim].is_running() && world.cluster.nodes[victim].process.pid() == process;
    let Some(another) = another else { return Err(format!("nobody else led within {RESUMES_WITHIN:?}")) };
    let wrong = [
        (!lives, "the node stopped"),
        (!said, "it did not say that its disk is full"),
        (!went_on, "no writes through all nodes while one disk is full"),
        (!read.is_ok_and(|answer| answer.is_ok()), "a read at the full node was not answered with what was there"),
        (!over, "its disk is still full to it when there is room"),
    ];
    let what = if led { "it led, another" } else { "another" };
    let evidence = format!("{} MiB in the way; {what} led after {} ms; it read", filled >> 20, another.as_millis());
    wrong.iter().find(|(is, _)| *is).map_or(Ok(evidence), |(_, what)| Err((*what).to_owned()))
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
