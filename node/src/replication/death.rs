//! Whether a leader whose stream broke is dead for certain: its host refuses a fresh connection.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::peers::{OpenFailure, Peers};
use super::types::NodeId;
use super::wire::CALL_STREAM;

/// A process that is being killed closes its sockets one after the other, its streams often before the port that it listens on: until
/// that has gone as well, its host takes a connection and resets it. Asked again after 3 ms: below what an election takes, and far
/// above what a refused connection costs.
const AGAIN: Duration = Duration::from_millis(3);

/// Asks until the host refuses, `patience` is over, or the leader answers. True if it refused: nobody listens there any more.
pub(crate) async fn is_certain(peers: &Peers, leader: NodeId, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        match peers.open(leader, CALL_STREAM).await {
            Err(OpenFailure::Refused(why)) => {
                log::info!("the leader {leader} is gone: {why}");
                return true;
            }
            // The connection was reset, or nothing came: it may be dying.
            Err(OpenFailure::Unreachable(why)) if Instant::now() + AGAIN < deadline => {
                log::debug!("the leader {leader} may be dying: {why}");
                sleep(AGAIN).await;
            }
            Err(why) => {
                log::debug!("no certainty about the leader {leader}: {why}");
                return false;
            }
            // It lives.
            Ok(_) => return false,
        }
    }
}
