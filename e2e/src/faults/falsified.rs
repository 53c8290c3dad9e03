//! A bit flips in what a machine and its peers say to each other, in one packet of 5 to 100, and the checksum is put right again: a bad network card or
//! switch, which no kernel notices. Clients are spared: HTTP has no checksum, and what they are told would be wrong whatever a node does. Seen: packets
//! that were falsified; and nodes count what they refused of it.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck, hold_wire};
use crate::torture::World;
use crate::wire::{Flip, Flips, Trouble};

/// By sums, and by seals where there are keys.
const REASONS: [&str; 3] = ["damaged", "bad_seal", "malformed_preface"];

/// How many datagrams and streams the nodes have given up so far since what was on them was changed.
async fn refused(world: &World) -> u64 {
    let mut sum = 0;
    for node in &world.cluster.nodes {
        for reason in REASONS {
            sum += node.dropped(&world.http, reason).await.unwrap_or(0);
        }
    }
    sum
}

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let (victim, one_in) = (world.victim().await?, world.chance.random_range(5..100));
        let on = format!("{}, one packet of {one_in}", world.names(&[victim]));
        let flips = Flips { one_in, kind: Flip::Unnoticed, spared: world.net.host() };
        let trouble = Trouble { flips: Some(flips), ..Trouble::default() };
        let before = refused(world).await;
        let counts = hold_wire(world, victim, &trouble, hold).await?.all();
        let refused = refused(world).await.saturating_sub(before);
        let evidence = format!("{} of {} packets falsified, {refused} times refused", counts.flipped, counts.left);
        (counts.flipped > 0).then_some(Struck { on, evidence }).ok_or_else(|| "nothing was falsified".to_owned())
    })
}
