//! What this node says of its replication: for `/cluster/status`, `/readyz`, and people who ask why nobody leads.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_cluster::election::Activity;
use muster_cluster::swim::MemberState;
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ServerState};
use tokio::time::Instant;
use uuid::Uuid;

use super::peers::Reach;
use super::{Replication, policy};

/// A voter has been reached lately when it acknowledged a heartbeat this recently.
const REACHED: Duration = Duration::from_secs(1);

/// Figures of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_log_index: u64,
    /// Index of the last entry known as committed.
    pub committed_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// Index of the last entry that the last snapshot covers; 0 before there was one.
    pub snapshot_index: u64,
    /// Index of the last entry that the log holds no more; 0 while it holds all.
    pub purged_index: u64,
    /// Whether this node leads, votes, or only replicates; `None` before it is a member.
    pub role: Option<EngineRole>,
    /// Why the engine has stopped, if it has.
    pub stopped: Option<String>,
}

/// What the node is in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineRole {
    /// Orders writes.
    Leader,
    /// Votes.
    Voter,
    /// Replicates.
    Learner,
}

impl Replication {
    /// Figures now.
    pub fn figures(&self) -> Figures {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let me = super::NodeId(self.me());
        let role = if metrics.state == ServerState::Leader {
            Some(EngineRole::Leader)
        } else if membership.voter_ids().any(|id| id == me) {
            Some(EngineRole::Voter)
        } else {
            membership.get_node(&me).map(|_| EngineRole::Learner)
        };
        let index = |log_id: &Option<super::types::LogId>| log_id.map_or(0, |log_id| log_id.index);
        Figures {
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(&metrics.cluster_committed),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            role,
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }

    /// Since when the present leader is known.
    pub fn leader_since(&self) -> Option<Instant> {
        let leadership = self.leadership.borrow();
        leadership.leader.map(|_| leadership.since)
    }

    /// The last log index that each other replica holds; only on the leader.
    pub fn matched(&self) -> BTreeMap<Uuid, Option<u64>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return BTreeMap::new() };
        replication.iter().map(|(id, log_id)| (id.0, log_id.map(|log_id| log_id.index))).collect()
    }

    /// Whether the leader's heartbeats reached a replica lately; only on the leader.
    pub(super) fn reached(&self, id: Uuid) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heartbeat = metrics.heartbeat.as_ref().and_then(|all| all.get(&super::NodeId(id)).copied().flatten());
        heartbeat.is_some_and(|at| at.elapsed() < REACHED)
    }

    /// How far the snapshots on their way from here are, in percent, by receiver.
    pub fn snapshots(&self) -> BTreeMap<Uuid, u8> {
        let progress = self.snapshots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        progress.iter().map(|(id, percent)| (id.0, *percent)).collect()
    }

    /// How the last tries to reach each peer went.
    pub fn reach(&self) -> BTreeMap<Uuid, Reach> {
        self.peers.reach().into_iter().map(|(id, reach)| (id.0, reach)).collect()
    }

    /// How many more voters may fail before writes stop, by what this node sees.
    pub fn failures_tolerated(&self) -> usize {
        let voters = self.voters();
        let live = voters.iter().filter(|id| self.seen_alive(**id)).count();
        policy::failures_tolerated(voters.len(), live)
    }

    fn seen_alive(&self, id: Uuid) -> bool {
        let alive = |entry: &crate::roster::Entry| entry.state == MemberState::Alive;
        id == self.me() || self.roster.borrow().members.get(&id).is_some_and(alive)
    }

    /// Why no leader answered, for people: nobody leads, or who does was not reached.
    pub fn why_unanswered(&self) -> String {
        let why = self.why_no_leader();
        match self.leader() {
            _ if self.figures().stopped.is_some() => why,
            Some(leader) => format!("{} leads and was not reached in time", self.roster.borrow().name(leader)),
            None => format!("nobody leads: {why}"),
        }
    }

    /// Why nobody leads, for people.
    pub fn why_no_leader(&self) -> String {
        if let Some(why) = self.figures().stopped {
            return format!("this node's engine has stopped: {why}");
        }
        if self.cluster_id().is_none() {
            return "this node has no cluster yet: it waits to be founded or to be let in".to_owned();
        }
        if !self.may_vote() {
            return self.why_no_vote();
        }
        let voters = self.voters();
        let live = voters.iter().filter(|id| self.seen_alive(**id)).count();
        let needed = voters.len() / 2 + 1;
        let count = format!("{live} of {} voters are alive, {needed} are needed", voters.len());
        let names = || {
            let roster = self.roster.borrow();
            let dead = voters.iter().filter(|id| !self.seen_alive(**id));
            dead.map(|id| roster.name(*id)).collect::<Vec<_>>().join(", ")
        };
        if live < needed {
            return format!("{count}; not seen: {}", names());
        }
        let doing = match *self.activity.borrow() {
            Activity::Idle => "this node does not vote and has not heard of a leader",
            Activity::Leading => "this node led, and no majority of the voters answers it any more",
            Activity::Following => "the leader does not answer; an election follows",
            Activity::Listening => "waiting for a leader to be heard before an election begins",
            Activity::NoMajority => "this node cannot reach a majority of the voters on the peer port",
            Activity::OthersFollow => "other voters still follow the last leader, which this node cannot reach",
            Activity::Unanswered => "no other voter answers this node's questions",
            Activity::Pausing | Activity::Asking | Activity::Deferring | Activity::Campaigning => {
                "an election is under way"
            }
        };
        format!("{doing} ({count})")
    }
}
