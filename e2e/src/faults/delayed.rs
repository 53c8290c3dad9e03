//! A machine's cable holds every frame back, for at least 5 to 60 ms each way and up to 100 ms more, drawn for each; none overtakes another.
//! Seen: frames that were held back.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck, hold_wire};
use crate::torture::World;
use crate::wire::Trouble;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let least = Duration::from_millis(world.chance.random_range(5..60));
        let delay = least..least + Duration::from_millis(world.chance.random_range(10..100));
        let on = format!("{}, {delay:?}", world.names(&[victim]));
        let counts = hold_wire(world, victim, &Trouble { delay, ..Trouble::default() }, hold).await?.all();
        let average = counts.delays.checked_div(u32::try_from(counts.delayed).unwrap_or(u32::MAX));
        let average = average.filter(|average| *average >= least).ok_or("nothing was held back")?;
        Ok(Struck { on, evidence: format!("{} frames held back, {average:.0?} on average", counts.delayed) })
    })
}
