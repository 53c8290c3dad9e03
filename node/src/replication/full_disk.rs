//! Moves the leadership away from a node whose disk is full: it serves reads and votes on, but can order no writes.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::Replication;

/// How often the disk is asked: as often as it looks for room itself.
const LOOK: Duration = Duration::from_millis(500);
/// After a hand-over, or a try, this one is not followed by another for so long: where every disk is full the leadership does not go
/// round in circles, since each move costs a few milliseconds.
const PAUSE: Duration = Duration::from_secs(15);

/// Runs until the node stops.
pub(super) async fn run(replication: Weak<Replication>) {
    let mut tried: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(this) = replication.upgrade() else { return };
        let due = tried.is_none_or(|at| at.elapsed() >= PAUSE);
        if !due || !this.storage.log().is_full() || this.leader() != Some(this.me()) {
            continue;
        }
        tried = Some(Instant::now());
        log::warn!("the disk of this node is full and it leads: handing over to another voter");
        if let Err(refusal) = this.hand_over(None).await {
            log::warn!("nobody took over ({refusal:?}); writes are refused until there is room");
        }
    }
}
