//! Whether a majority still follows this leader, asked anew for each read index (Ongaro's dissertation, section 6.4).
//!
//! openraft's own proof (`ReadPolicy::ReadIndex` of 0.10.0-alpha.37) is none: an answer to entries confirms the newest request that ends
//! at the same entry, at the time at which that one was sent, answered or not. News of a commit is such a request. So a leader that slept
//! may send news, find an answer from before its sleep in a socket, and take itself for confirmed (`whole/tests/sleeper.rs`).
//!
//! Each round here asks over streams of its own, and counts answers to its own requests only. To the others they are heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, sleep_until};

use super::append_lane::AppendLane;
use super::peers::Peers;
use super::types::{LogId, NodeId, Raft, Vote};
use super::wire::Refusal;

/// A voter that did not answer is asked again after 50 ms: one that is dead must not be dialled for every read.
const REST: Duration = Duration::from_millis(50);

/// Asks the other voters.
pub(super) struct Majority {
    me: NodeId,
    raft: Raft,
    peers: Peers,
    voters: BTreeMap<NodeId, Voter>,
}

struct Voter {
    lane: AppendLane,
    rests_until: Instant,
}

/// What a leader is at one moment.
struct Standing {
    vote: Vote,
    /// Covers all that was acknowledged by then.
    committed: LogId,
    /// The voters; two sets while they change, of which each must have a majority.
    configs: Vec<BTreeSet<NodeId>>,
}

impl Majority {
    pub(super) fn new(me: NodeId, raft: Raft, peers: Peers) -> Self {
        Self { me, raft, peers, voters: BTreeMap::new() }
    }

    /// The read index of this moment, once a majority has confirmed that nobody led after this node by then. Takes as long as that takes. Cancel-safe.
    pub(super) async fn confirm(&mut self) -> Result<u64, Refusal> {
        let standing = self.standing().await?;
        let others: BTreeSet<NodeId> = standing.configs.iter().flatten().copied().filter(|id| *id != self.me).collect();
        self.voters.retain(|id, _| others.contains(id));
        for id in others {
            let fresh = || Voter { lane: AppendLane::new(self.peers.clone(), id), rests_until: Instant::now() };
            self.voters.entry(id).or_insert_with(fresh);
        }
        let mut answers: FuturesUnordered<_> =
            self.voters.iter_mut().map(|(id, voter)| async { (*id, voter.follows(&standing).await) }).collect();
        let mut follow = BTreeSet::from([self.me]);
        while !standing.is_majority(&follow) {
            match answers.next().await {
                Some((id, true)) => _ = follow.insert(id),
                Some((_, false)) => {}
                None => return Err(Refusal::NoMajority),
            }
        }
        Ok(standing.committed.index)
    }

    /// What the engine is now, if it leads and has committed in its term: before that it may not know all that was committed in earlier ones.
    async fn standing(&self) -> Result<Standing, Refusal> {
        let me = self.me;
        let look = self.raft.with_raft_state(move |state| {
            let vote = *state.vote_ref();
            let leader = vote.leader_id.voted_for;
            let committed = state.local_committed().filter(|last| last.leader_id.term == vote.leader_id.term);
            match committed {
                Some(last) if vote.committed && leader == me => Ok(Standing {
                    vote,
                    committed: *last,
                    configs: state.membership_state.effective().get_joint_config().clone(),
                }),
                _ => Err((vote.committed && leader != me).then_some(leader.0)),
            }
        });
        look.await.map_err(|_| Refusal::NotLeader(None))?.map_err(Refusal::NotLeader)
    }
}

impl Standing {
    /// Whether these nodes are a majority of every set of voters.
    fn is_majority(&self, nodes: &BTreeSet<NodeId>) -> bool {
        self.configs.iter().all(|config| config.intersection(nodes).count() * 2 > config.len())
    }
}

impl Voter {
    /// Whether it says, asked now, that it follows this leader. Hears on the way what is committed: its readers may wait for just that.
    async fn follows(&mut self, leader: &Standing) -> bool {
        sleep_until(self.rests_until).await;
        let (vote, leader_commit) = (leader.vote, Some(leader.committed));
        let request = AppendEntriesRequest { vote, prev_log_id: None, leader_commit, entries: Vec::new() };
        let follows = match self.lane.stream(stream::iter([request])).await {
            Ok(mut answers) => matches!(answers.next().await, Some(Ok(Ok(_)))),
            Err(_) => false,
        };
        if !follows {
            self.rests_until = Instant::now() + REST;
        }
        follows
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::types::log_id;
    use super::*;
    use crate::storage::Position;

    fn nodes<const N: usize>(numbers: [u128; N]) -> BTreeSet<NodeId> {
        numbers.into_iter().map(|number| NodeId(Uuid::from_u128(number))).collect()
    }

    fn standing<const N: usize>(configs: [BTreeSet<NodeId>; N]) -> Standing {
        let committed = log_id(Position { term: 1, index: 9 });
        Standing { vote: Vote::new_committed(1, NodeId::default()), committed, configs: configs.into() }
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters_and_of_nobody_else() {
        let three = standing([nodes([1, 2, 3])]);
        assert!(!three.is_majority(&nodes([1])));
        assert!(!three.is_majority(&nodes([1, 8, 9])), "learners");
        assert!(three.is_majority(&nodes([1, 3])));
        assert!(standing([nodes([1])]).is_majority(&nodes([1])), "a lone voter");
        assert!(!standing([nodes([1, 2])]).is_majority(&nodes([1])), "half is none");
        assert!(
            !standing([nodes([2, 3])]).is_majority(&nodes([1, 2])),
            "a leader that is being taken out does not count"
        );
    }

    #[test]
    fn while_voters_change_both_sets_must_have_a_majority() {
        let joint = standing([nodes([1, 2, 3]), nodes([1, 4, 5])]);
        assert!(!joint.is_majority(&nodes([1, 2, 3])) && !joint.is_majority(&nodes([1, 4, 5])));
        assert!(joint.is_majority(&nodes([1, 2, 4])));
    }
}
