//! Whether a majority still follows this leader, asked anew for each read index (Ongaro's dissertation, section 6.4).
//!
//! openraft's own proof (`ReadPolicy::ReadIndex` of 0.10.0-alpha.37) is none: an answer to entries confirms the newest request that ends at
//! the same entry, by the time at which that was sent, though it may not have been answered. News of a commit is such a request. So a leader that slept, that finds
//! an answer from before its sleep in a socket and has sent such news since, takes itself for confirmed, and tells what is no longer so.
//!
//! Each round here asks over streams of its own, and counts answers to its own requests only. To the others they are heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, sleep_until};

use super::append_lane::AppendLane;
use super::peers::Peers;
use super::types::{NodeId, Raft, Vote};
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
    committed: u64,
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
            self.voters.iter_mut().map(|(id, voter)| async { (*id, voter.follows(&standing.vote).await) }).collect();
        let mut follow = BTreeSet::from([self.me]);
        while !standing.is_majority(&follow) {
            match answers.next().await {
                Some((id, true)) => _ = follow.insert(id),
                Some((_, false)) => {}
                None => return Err(Refusal::NoMajority),
            }
        }
        Ok(standing.committed)
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
                    committed: last.index,
                    configs: state.membership_state.effective().get_joint_config().clone(),
                }),
                _ => Err((vote.committed && leader != me).then_some(leader.0)),
            }
        });
        look.await.map_err(|_| Refusal::NotLeader(None))?.map_err(Refusal::NotLeader)
    }
}

impl Standing {
    fn is_majority(&self, nodes: &BTreeSet<NodeId>) -> bool {
        self.configs.iter().all(|config| config.intersection(nodes).count() * 2 > config.len())
    }
}

impl Voter {
    /// Whether it says, asked now, that it follows whom this vote is for.
    async fn follows(&mut self, vote: &Vote) -> bool {
        sleep_until(self.rests_until).await;
        let request = AppendEntriesRequest { vote: *vote, prev_log_id: None, leader_commit: None, entries: Vec::new() };
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
