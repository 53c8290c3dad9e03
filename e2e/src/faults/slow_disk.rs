//! Every sync of a disk takes 20 to 200 ms longer. Seen: the disk counts them.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let slow = Duration::from_millis(world.chance.random_range(20..200));
        let before = world.disk(victim)?.met().slowed;
        world.disk(victim)?.trouble(|trouble| trouble.slow = slow);
        tokio::time::sleep(hold).await;
        let slowed = world.disk(victim)?.met().slowed - before;
        world.disk(victim)?.trouble(|trouble| trouble.slow = Duration::ZERO);
        let (on, evidence) = (world.names(&[victim]), format!("{slowed} syncs took {slow:?} longer"));
        (slowed > 0).then_some(Struck { on, evidence }).ok_or_else(|| "nothing was synced".to_owned())
    })
}
