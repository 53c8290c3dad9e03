//! A follower is cut off, asleep or stopped for so long, while much is written, that the log which it lacks is gone: it is sent a snapshot. Seen: no
//! other's log reaches back to where it left, and it says that it receives one.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Strikes, Struck};
use crate::cluster::SOON;
use crate::torture::World;
use crate::torture::ballast::Ballast;
use crate::until;

/// 40 MiB: two files of the log, of which whole ones are dropped, and what is kept behind the last snapshot.
const ENOUGH: usize = 40 << 20;
/// 4 s, in which a node looks four times whether a snapshot is due.
const LEAST: Duration = Duration::from_secs(4);
/// 60 s for what takes a few: it must be missed, found, and sent everything.
const WITHIN: Duration = Duration::from_secs(60);
/// What a node says when it is sent a snapshot.
const RECEIVES: &str = "receiving a snapshot up to";

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.follower().await?;
        let received = |world: &World| world.cluster.nodes[victim].process.whole_log().matches(RECEIVES).count();
        let (before, ways) = (received(world), ["cut off", "asleep", "stopped"]);
        let way = ways[world.chance.random_range(0..ways.len())];
        // 2.3.0 keeps its log for half a minute for one that is silent.
        let way = if world.earlier.is_empty() { way } else { "stopped" };
        match way {
            "cut off" => world.net.cut(victim),
            "asleep" => world.cluster.nodes[victim].process.pause(),
            _ => drop(world.cluster.nodes[victim].stop().await),
        }
        let (since, mut ballast) = (Instant::now(), Ballast::default());
        let others = world.others(&[victim]);
        let through = world.one_of(&others);
        // An earlier release does not tell; then the snapshot has to.
        let tell: Vec<usize> = others.iter().copied().filter(|node| !world.earlier.contains(node)).collect();
        let left = until(SOON, async || index(world, &tell, "last_log").await).await.map_or(u64::MAX, |(_, last)| last);
        let gone = async |world: &World| index(world, &tell, "purged").await.is_some_and(|(least, _)| least > left);
        while ballast.bytes < ENOUGH || since.elapsed() < LEAST.max(hold) || !gone(world).await {
            if since.elapsed() > WITHIN {
                break;
            }
            ballast.add(world, through).await;
        }
        let gone = gone(world).await;
        let away = since.elapsed();
        match way {
            "cut off" => world.net.heal(victim),
            "asleep" => world.cluster.nodes[victim].process.resume(),
            _ => world.start(victim).await,
        }
        let told = until(WITHIN, async || (received(world) > before).then_some(())).await;
        let written = ballast.bytes >> 20;
        ballast.remove(world, through).await?;
        let story = format!("{way} for {:.1} s and {written} MiB", away.as_secs_f64());
        match (gone, told) {
            (true, Some(())) => {
                Ok(Struck { on: world.names(&[victim]), evidence: format!("{story}, then sent a snapshot") })
            }
            (true, None) => Err(format!("{story}, and no snapshot")),
            (false, _) => Err(format!("{story}, and another's log still reaches back to then")),
        }
    })
}

/// The least and the greatest of the indices that these nodes tell; `None` unless all do.
async fn index(world: &World, nodes: &[usize], which: &str) -> Option<(u64, u64)> {
    let series = format!("muster_raft_{which}_index");
    let (mut least, mut greatest) = (u64::MAX, 0);
    for &node in nodes {
        let index = world.cluster.nodes[node].metric(&world.http, &series).await?;
        (least, greatest) = (least.min(index), greatest.max(index));
    }
    Some((least, greatest))
}
