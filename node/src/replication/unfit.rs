//! Moves the leadership away from a node whose disk is full or does not answer: it serves reads, but can order no writes. And from one that was
//! taken out for good while somebody else led.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::{Replication, settings};

/// How often the disk is asked: a small part of what it takes for one to count as hanging.
const LOOK: Duration = Duration::from_millis(100);
/// After a hand-over, or a try, this one is not followed by another for so long: where every disk is bad the leadership does not go
/// round in circles, since each move costs a few milliseconds.
const PAUSE: Duration = Duration::from_secs(15);

/// Runs until the node stops.
pub(super) async fn run(replication: Weak<Replication>) {
    let mut tried: Option<Instant> = None;
    let mut hung = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(this) = replication.upgrade() else { return };
        let stalled = this.storage.stalled();
        if hung != stalled.is_some() {
            hung = stalled.is_some();
            match stalled {
                Some(since) => {
                    log::error!("the disk has not answered for {since:?}; this node does not stand until it does")
                }
                None => log::info!("the disk answers again"),
            }
        }
        let why = match stalled {
            Some(_) => "its disk does not answer",
            None if this.storage.log().is_full() => "its disk is full",
            None if this.is_configured(&settings::removed(this.me())) => "it was taken out for good",
            None => continue,
        };
        let due = tried.is_none_or(|at| at.elapsed() >= PAUSE);
        if !due || this.leader() != Some(this.me()) {
            continue;
        }
        tried = Some(Instant::now());
        log::warn!("this node leads, and {why}: handing over to another voter");
        if let Err(refusal) = this.hand_over(None).await {
            log::warn!("nobody took over ({refusal:?}); it is tried again");
        }
    }
}
