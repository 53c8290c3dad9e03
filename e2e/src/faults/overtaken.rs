//! A machine's cable holds every frame back for up to 5 to 60 ms, drawn for each, and whichever is due first goes first. Seen: frames that were
//! overtaken.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck, hold_wire};
use crate::torture::World;
use crate::wire::Trouble;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let delay = Duration::ZERO..Duration::from_millis(world.chance.random_range(5..60));
        let on = format!("{}, {delay:?}", world.names(&[victim]));
        let trouble = Trouble { delay, overtaking: true, flips: None };
        let counts = hold_wire(world, victim, &trouble, hold).await?.all();
        let evidence = format!("{} of {} frames overtaken", counts.overtaken, counts.left);
        (counts.overtaken > 0).then_some(Struck { on, evidence }).ok_or_else(|| "nothing was overtaken".to_owned())
    })
}
