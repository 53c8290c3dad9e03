//! The streams that peers have open here: who holds how many, and whose oldest goes when there are too many.
//!
//! A peer needs one stream of each kind, and for a while a second one while the first is given up. Whoever opens more is broken or hostile, or
//! its former streams hang on a connection that is gone and nobody has noticed: so it is always the newest that stays.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use tokio::task::AbortHandle;
use uuid::Uuid;

/// 16 streams of one kind from one member: four dials beside each other are the most that ours does, and the last may not have ended yet.
const OF_ONE_MEMBER: usize = 16;
/// 1,024 from one address: several hundred members on one machine. What a member calls itself is its own word, where it comes from is not.
const FROM_ONE_ADDRESS: usize = 1_024;
/// How many have to come until those that ended are forgotten.
const SWEEP_EVERY: usize = 256;

/// Whose streams there are.
#[derive(Debug, Default)]
pub(super) struct Guests {
    members: BTreeMap<(Uuid, u8), VecDeque<AbortHandle>>,
    addresses: BTreeMap<IpAddr, VecDeque<AbortHandle>>,
    came: usize,
}

impl Guests {
    /// A stream was opened, and this serves it. Ends the oldest of whoever has too many.
    pub(super) fn came(&mut self, from: Uuid, kind: u8, address: IpAddr, serving: AbortHandle) {
        self.came += 1;
        if self.came.is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
        let of_member = crowd(self.members.entry((from, kind)).or_default(), serving.clone(), OF_ONE_MEMBER);
        let from_address = crowd(self.addresses.entry(address).or_default(), serving, FROM_ONE_ADDRESS);
        if of_member || from_address {
            log::debug!("{from} at {address} has too many streams of kind {kind} open here; the oldest was ended");
        }
    }

    fn sweep(&mut self) {
        let still = |streams: &mut VecDeque<AbortHandle>| {
            streams.retain(|stream| !stream.is_finished());
            !streams.is_empty()
        };
        self.members.retain(|_, streams| still(streams));
        self.addresses.retain(|_, streams| still(streams));
    }
}

/// Whether one had to go.
fn crowd(streams: &mut VecDeque<AbortHandle>, next: AbortHandle, most: usize) -> bool {
    if streams.len() >= most {
        streams.retain(|stream| !stream.is_finished());
    }
    let oldest = if streams.len() >= most { streams.pop_front() } else { None };
    streams.push_back(next);
    oldest.inspect(AbortHandle::abort).is_some()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Whether each of so many streams, opened one after another, still stands.
    async fn standing(open: usize, from: impl Fn(usize) -> Uuid) -> Vec<bool> {
        let mut guests = Guests::default();
        let mut tasks = Vec::new();
        for n in 0..open {
            let task = tokio::spawn(std::future::pending::<()>());
            guests.came(from(n), 17, Ipv4Addr::LOCALHOST.into(), task.abort_handle());
            tasks.push(task);
        }
        // Each turn ends some dozens of what was aborted.
        for _ in 0..open {
            tokio::task::yield_now().await;
        }
        tasks.iter().map(|task| !task.is_finished()).collect()
    }

    #[tokio::test]
    async fn the_newest_streams_of_a_member_stay() {
        let standing = standing(100, |_| Uuid::from_u128(1)).await;
        assert!(standing[..100 - OF_ONE_MEMBER].iter().all(|stands| !stands));
        assert!(standing[100 - OF_ONE_MEMBER..].iter().all(|stands| *stands));
    }

    #[tokio::test]
    async fn who_calls_itself_many_names_has_one_address() {
        let many = FROM_ONE_ADDRESS + 10;
        let standing = standing(many, |n| Uuid::from_u128(n as u128)).await;
        assert_eq!(standing.iter().filter(|stands| **stands).count(), FROM_ONE_ADDRESS);
        assert!(standing[many - 1]);
    }

    #[tokio::test]
    async fn what_ended_is_forgotten() {
        let mut guests = Guests::default();
        for n in 0..SWEEP_EVERY {
            let task = tokio::spawn(async {});
            let handle = task.abort_handle();
            task.await.unwrap();
            guests.came(Uuid::from_u128(n as u128), 16, Ipv4Addr::LOCALHOST.into(), handle);
        }
        assert!(guests.members.len() <= 1 && guests.addresses.len() <= 1);
    }
}
