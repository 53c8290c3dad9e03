//! A machine loses its power: its network is gone first, so that nobody is told, and then its process. Its kernel keeps what was written;
//! the faults of disks are others. Seen: a question to it gets no answer while its process still runs, and another process answers afterwards.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        world.net.power_off(victim);
        let url = world.cluster.nodes[victim].url("/livez");
        let answer = world.http.get(url).within(Duration::from_millis(300)).send().await;
        let (before, ran) = (world.cluster.nodes[victim].process.pid(), world.cluster.nodes[victim].is_running());
        world.cluster.nodes[victim].kill();
        tokio::time::sleep(hold).await;
        world.net.power_on(victim);
        world.start(victim).await;
        let id = world.cluster.nodes[victim].id(&world.http).await;
        let after = world.cluster.nodes[victim].process.pid();
        let evidence = format!("process {before} ran and did not answer, {id} answers as {after}");
        match answer {
            Ok(_) => Err("it answered without power".to_owned()),
            Err(_) if !ran => Err("its process had ended before".to_owned()),
            Err(_) if before == after => Err("the same process".to_owned()),
            Err(_) => Ok(Struck { on: world.names(&[victim]), evidence }),
        }
    })
}
