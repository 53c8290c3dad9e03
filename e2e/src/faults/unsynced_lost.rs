//! A machine loses its power, and its disk what was written and not synced. Seen: the disk says how much was taken back, and another process
//! is ready afterwards.

use std::time::Duration;

use super::{Strikes, Struck};
use crate::disk::Lost;
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    lose(world, hold, false)
}

/// With `torn`, each write that was not synced may be there in whole or in part.
pub(super) fn lose(world: &mut World, hold: Duration, torn: bool) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        world.net.power_off(victim);
        let lost = world.lose_power(victim, torn)?;
        tokio::time::sleep(hold).await;
        world.net.power_on(victim);
        world.start(victim).await;
        evidence(lost).map(|evidence| Struck { on: world.names(&[victim]), evidence })
    })
}

/// A node always has written something that it need not sync: the log's marks, the state's journal.
pub(super) fn evidence(lost: Lost) -> Result<String, String> {
    let some = lost.writes + lost.torn + lost.names > 0;
    some.then(|| told(lost)).ok_or_else(|| "everything was synced".to_owned())
}

/// For people.
pub(super) fn told(lost: Lost) -> String {
    let Lost { writes, torn, names } = lost;
    format!("{writes} writes and {names} names lost, {torn} writes torn")
}
