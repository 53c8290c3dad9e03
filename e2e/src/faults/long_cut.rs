//! A follower is cut off, asleep or stopped for so long, while much is written, that the log which it lacks is gone: it is sent a snapshot. Seen: it says
//! that it receives one.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Strikes, Struck};
use crate::torture::World;
use crate::torture::ballast::Ballast;
use crate::until;

/// 40 MiB: two files of the log, of which whole ones are dropped, and what is kept behind the last snapshot.
const ENOUGH: usize = 40 << 20;
/// 4 s, in which a leader looks four times whether a snapshot is due.
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
        match way {
            "cut off" => world.net.cut(victim),
            "asleep" => world.cluster.nodes[victim].process.pause(),
            _ => drop(world.cluster.nodes[victim].stop().await),
        }
        let (since, mut ballast) = (Instant::now(), Ballast::default());
        let through = world.one_of(&world.others(&[victim]));
        while ballast.bytes < ENOUGH || since.elapsed() < LEAST.max(hold) {
            if since.elapsed() > WITHIN {
                break;
            }
            ballast.add(world, through).await;
        }
        let away = since.elapsed();
        match way {
            "cut off" => world.net.heal(victim),
            "asleep" => world.cluster.nodes[victim].process.resume(),
            _ => world.start(victim).await,
        }
        let told = until(WITHIN, async || (received(world) > before).then_some(())).await;
        let written = ballast.bytes >> 20;
        ballast.remove(world, through).await?;
        let evidence = format!("{way} for {:.1} s and {written} MiB, then sent a snapshot", away.as_secs_f64());
        let on = world.names(&[victim]);
        told.map(|()| Struck { on, evidence }).ok_or_else(|| format!("no snapshot after {written} MiB, {way}"))
    })
}
