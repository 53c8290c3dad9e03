//! What only the leader does: handing over, and taking nodes out for good. Other nodes carry the request to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_cluster::swim::MemberState;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::VoteRequest;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::call_lane::CallError;
use super::types::{LogId, NodeId, Vote};
use super::wire::{AdminCall, AdminRefusal, Answer, Call, Refusal};
use super::{Replication, policy, settings};
use crate::kv::{Operation, Write};

/// A planned hand-over takes a few milliseconds; one that takes this long has failed.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a named successor may take to show that it can take over: a leader that was just elected has not heard from all yet.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a request waits for the membership to change before it says that it goes on by itself.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for the leader's answer: the removal and a hand-over before it.
const CARRY_TIMEOUT: Duration = Duration::from_secs(13);
/// How long it waits for somebody to lead: longer than an election, shorter than callers usually wait, so that they hear that nothing was
/// done instead of nothing.
const LEADER_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(50);

/// Why something that only the leader does was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminFailure {
    /// No such member. Nothing was done.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what stands. Nothing was done.
    #[error("{0}")]
    Conflict(String),
    /// Nobody leads, or who leads was not reached in time. Nothing was done.
    #[error("{0}; nothing was done")]
    NoLeader(String),
    /// Begun, not seen to end in time.
    #[error("{0}")]
    Timeout(String),
}

fn stopped() -> AdminRefusal {
    AdminRefusal::Conflict("the engine has stopped".to_owned())
}

impl Replication {
    /// Hands the leadership to `to`, or to the voter that is best placed.
    pub async fn transfer(self: &Arc<Self>, to: Option<Uuid>) -> Result<(), AdminFailure> {
        self.admin(AdminCall::TransferLeader(to)).await
    }

    /// Takes a live member out for good.
    pub async fn leave(self: &Arc<Self>, id: Uuid) -> Result<(), AdminFailure> {
        self.admin(AdminCall::Leave(id)).await
    }

    /// Takes a dead member out for good.
    pub async fn remove(self: &Arc<Self>, id: Uuid) -> Result<(), AdminFailure> {
        self.admin(AdminCall::Remove(id)).await
    }

    /// Has the leader do it, whoever that is by the time.
    async fn admin(self: &Arc<Self>, call: AdminCall) -> Result<(), AdminFailure> {
        let deadline = Instant::now() + LEADER_TIMEOUT;
        loop {
            let result = match self.leader() {
                Some(leader) if leader == self.me() => self.admin_here(call.clone()).await,
                Some(leader) => {
                    let lane = self.peers.calls(NodeId(leader));
                    match lane.call(Call::Admin(call.clone()), CARRY_TIMEOUT).await {
                        Ok(Answer::Admin(result)) => result,
                        Ok(_) | Err(CallError::Unsent(_) | CallError::Overloaded) => Err(AdminRefusal::NotLeader(None)),
                        Err(CallError::Lost(why)) => Err(AdminRefusal::Timeout(format!(
                            "the leader gave no answer ({why}); whether it was done shows in the members"
                        ))),
                    }
                }
                None => Err(AdminRefusal::NotLeader(None)),
            };
            return match result {
                Ok(()) => Ok(()),
                Err(AdminRefusal::NotLeader(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Err(AdminRefusal::NotLeader(_)) => Err(AdminFailure::NoLeader(self.why_unanswered())),
                Err(AdminRefusal::NotFound(why)) => Err(AdminFailure::NotFound(why)),
                Err(AdminRefusal::Conflict(why)) => Err(AdminFailure::Conflict(why)),
                Err(AdminRefusal::Timeout(why)) => Err(AdminFailure::Timeout(why)),
            };
        }
    }

    /// Does it as the leader.
    pub(super) async fn admin_here(self: &Arc<Self>, call: AdminCall) -> Result<(), AdminRefusal> {
        if self.leader() != Some(self.me()) {
            return Err(AdminRefusal::NotLeader(self.leader()));
        }
        match call {
            AdminCall::TransferLeader(to) => self.hand_over(to).await,
            AdminCall::Leave(id) => self.take_out(id, true).await,
            AdminCall::Remove(id) => self.take_out(id, false).await,
            AdminCall::YouHaveLeft => Ok(()),
        }
    }

    /// Hands over and waits until another leads.
    pub(super) async fn hand_over(self: &Arc<Self>, to: Option<Uuid>) -> Result<(), AdminRefusal> {
        let wanted = to;
        let roster = self.roster.borrow().clone();
        let voters = self.voters();
        let to = match to {
            Some(to) if to == self.me() => return Ok(()),
            Some(to) if !voters.contains(&to) => {
                let name = roster.name(to);
                return Err(match roster.members.get(&to) {
                    Some(_) => AdminRefusal::Conflict(format!("{name} does not vote, and only a voter can lead")),
                    None => AdminRefusal::NotFound(format!("there is no member {to}")),
                });
            }
            Some(to) => {
                let deadline = Instant::now() + SUCCESSOR_TIMEOUT;
                while let Err(why) = self.may_take_over(to) {
                    if Instant::now() >= deadline {
                        let name = roster.name(to);
                        return Err(AdminRefusal::Conflict(format!("{name} {why}; this node goes on leading")));
                    }
                    tokio::time::sleep(RETRY).await;
                }
                to
            }
            None => self.best_successor(&voters).ok_or_else(|| {
                AdminRefusal::Conflict(
                    "there is no other live voter with room on its disk to hand over to; this node goes on leading"
                        .to_owned(),
                )
            })?,
        };
        // On its own: whoever asked may go, and what is half done must not stay so.
        let passing = tokio::spawn(self.clone().pass_on(to, voters));
        match timeout(TRANSFER_TIMEOUT, passing).await.map(|ended| ended.unwrap_or_else(|_| Err(stopped()))) {
            Ok(Ok(successor)) if wanted.is_none_or(|wanted| wanted == successor) => {
                log::info!("handed the leadership over to {}", roster.name(successor));
                Ok(())
            }
            Ok(Ok(successor)) => Err(AdminRefusal::Conflict(format!(
                "{} did not take over in time; {} leads now",
                roster.name(to),
                roster.name(successor)
            ))),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(AdminRefusal::Timeout(format!(
                "{} did not take over within {TRANSFER_TIMEOUT:?}; whoever leads now shows in the members",
                roster.name(to)
            ))),
        }
    }

    /// Passes the leadership on until somebody has it: who. There is no way back for the engine, which takes no writes and sends no
    /// heartbeats from the first try on; so a successor that dies at that moment must not be the last word. Each gets as long as the
    /// engine gives it to bring its log to the disk, and nobody is asked twice: who is slow would begin anew each time.
    async fn pass_on(self: Arc<Self>, first: Uuid, mut untried: BTreeSet<Uuid>) -> Result<Uuid, AdminRefusal> {
        let me = self.me();
        let mut leadership = self.leadership.clone();
        let mut another = async || {
            leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != me)).await.map(|now| now.leader)
        };
        let Some((term, _)) = self.led().await? else { return Err(AdminRefusal::NotLeader(self.leader())) };
        let mut next = Some(first);
        while let Some(to) = next {
            untried.remove(&to);
            self.raft.trigger().transfer_leader(NodeId(to)).await.map_err(|_| stopped())?;
            if let Ok(leader) = timeout(self.options.election_timeout / 2, another()).await {
                return leader.ok().flatten().ok_or_else(stopped);
            }
            next = self.best_successor(&untried);
            if let Some(next) = next {
                log::info!("the successor did not take over; handing over to {next} instead");
            }
        }
        self.step_down(first, term).await?;
        // It may be this node that is elected again.
        match timeout(TRANSFER_TIMEOUT, another()).await {
            Ok(leader) => leader.ok().flatten().ok_or_else(stopped),
            Err(_) => {
                Err(AdminRefusal::Timeout("nobody else leads yet; whoever leads now shows in the members".to_owned()))
            }
        }
    }

    /// The term that this node leads, and where its log ends.
    async fn led(&self) -> Result<Option<(u64, Option<LogId>)>, AdminRefusal> {
        let me = NodeId(self.me());
        let led = self.raft.with_raft_state(move |state| {
            let vote = *state.vote_ref();
            (vote.committed && vote.leader_id.voted_for == me)
                .then(|| (vote.leader_id.term, state.log_ids.last().copied()))
        });
        led.await.map_err(|_| stopped())
    }

    /// Leads no more, whoever comes next: a leader that has begun to hand over can do nothing else, and its answers to questions of freshness
    /// would keep the others from electing. The engine steps down for a candidate of a later term, and takes one that its leader has
    /// named in spite of its lease; so this votes for the successor, which may never have asked. That it did so is told to nobody.
    async fn step_down(&self, successor: Uuid, term: u64) -> Result<(), AdminRefusal> {
        // Elected anew meanwhile, it leads as well as anybody.
        if let Some((_, last)) = self.led().await?.filter(|(led, _)| *led == term) {
            log::warn!("nobody took the leadership over in time; this node leads no more, and an election follows");
            let mut request = VoteRequest::new(Vote::new(term + 1, NodeId(successor)), last);
            request.leadership_transfer = true;
            self.raft.vote(request).await.map_err(|_| stopped())?;
        }
        Ok(())
    }

    /// A leader that hands over takes no writes from then on, so it does not hand over to who cannot take them soon.
    fn may_take_over(&self, to: Uuid) -> Result<(), String> {
        if !self.reached(to) {
            return Err("does not answer".to_owned());
        }
        if self.witness.rooms.is_full(to) {
            return Err("has a full disk".to_owned());
        }
        let last = self.figures().last_log_index;
        match self.matched().get(&to).copied().flatten() {
            Some(index) if last.saturating_sub(index) <= policy::CAUGHT_UP => Ok(()),
            Some(index) => Err(format!("is {} entries behind", last.saturating_sub(index))),
            None => Err("has not been sent the log yet".to_owned()),
        }
    }

    /// The live voter with the most of the log, and among those the highest priority. Not one whose disk is full: it could order no writes.
    fn best_successor(&self, voters: &BTreeSet<Uuid>) -> Option<Uuid> {
        let roster = self.roster.borrow().clone();
        let matched = self.matched();
        let live = |id: &&Uuid| {
            roster.members.get(*id).is_some_and(|entry| entry.state == MemberState::Alive) || self.reached(**id)
        };
        let rank = |id: &Uuid| {
            let index = matched.get(id).copied().flatten();
            (index, roster.members.get(id).map(|entry| entry.card.priority), *id)
        };
        let others = voters.iter().filter(|id| **id != self.me() && !self.witness.rooms.is_full(**id));
        others.filter(live).copied().max_by_key(rank)
    }

    /// Notes in the replicated configuration that the node is out for good; the [steward](super::steward) does the rest.
    async fn take_out(self: &Arc<Self>, id: Uuid, wants_live: bool) -> Result<(), AdminRefusal> {
        let roster = self.roster.borrow().clone();
        let name = roster.name(id);
        let (voters, replicas) = (self.voters(), self.replicas());
        if !replicas.contains(&id) && !roster.members.contains_key(&id) {
            return Err(AdminRefusal::NotFound(format!("there is no member {id}")));
        }
        let live = |id: &Uuid| {
            *id == self.me() || roster.members.get(id).is_some_and(|entry| entry.state == MemberState::Alive)
        };
        match (live(&id), wants_live) {
            (true, false) => {
                return Err(AdminRefusal::Conflict(format!(
                    "{name} is alive; `muster leave` takes a live node out. Nothing was changed"
                )));
            }
            (false, true) => {
                return Err(AdminRefusal::Conflict(format!(
                    "{name} does not answer; `muster remove` takes a dead node out. Nothing was changed"
                )));
            }
            _ => {}
        }
        let live_voters: BTreeSet<Uuid> = voters.iter().filter(|id| live(id)).copied().collect();
        if voters.contains(&id) && !policy::may_leave(&voters, &live_voters, id) {
            return Err(AdminRefusal::Conflict(format!(
                "without {name} the live voters would be no majority ({} of {} voters are alive); nothing was changed",
                live_voters.len(),
                voters.len()
            )));
        }
        if id == self.me() {
            self.hand_over(None).await?;
            return Err(AdminRefusal::NotLeader(self.leader()));
        }
        let operation = Operation::Configure { name: settings::removed(id), value: name.clone() };
        let noted = self.proposer.propose(vec![Write { operation, idempotency: None }], true);
        match timeout(REMOVAL_TIMEOUT, noted).await {
            Ok(Ok(_)) => {}
            // Another leader may find it in the log.
            Err(_) | Ok(Err(Refusal::Unknown)) => {
                return Err(AdminRefusal::Timeout(format!(
                    "no majority took it in time; whether {name} is taken out shows in the members"
                )));
            }
            Ok(Err(_)) => return Err(AdminRefusal::NotLeader(self.leader())),
        }
        self.wait_gone(id, &name).await
    }

    async fn wait_gone(&self, id: Uuid, name: &str) -> Result<(), AdminRefusal> {
        let waiting = self.raft.wait(Some(REMOVAL_TIMEOUT));
        let gone = waiting.metrics(
            |metrics| metrics.committed_membership_config.membership().get_node(&NodeId(id)).is_none(),
            "a member to be gone",
        );
        gone.await.map(|_| ()).map_err(|_| {
            AdminRefusal::Timeout(format!(
                "{name} is noted as taken out, but the membership did not change within {REMOVAL_TIMEOUT:?}; \
                 it will as soon as a majority can agree"
            ))
        })
    }

    /// Who votes.
    pub fn voters(&self) -> BTreeSet<Uuid> {
        self.raft.server_metrics().borrow_watched().membership_config.membership().voter_ids().map(Uuid::from).collect()
    }

    /// Who replicates without a vote.
    pub fn learners(&self) -> BTreeSet<Uuid> {
        self.raft
            .server_metrics()
            .borrow_watched()
            .membership_config
            .membership()
            .learner_ids()
            .map(Uuid::from)
            .collect()
    }

    /// Whether every replica is of a later release than 2.2, as far as gossip tells: those forget what is settled (see [`crate::kv::session`]).
    pub fn is_all_of_this_release(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let mut replicas = metrics.membership_config.membership().nodes();
        replicas.all(|(id, _)| id.0 == self.me() || self.remembers(id.0))
    }

    fn replicas(&self) -> BTreeSet<Uuid> {
        self.voters().union(&self.learners()).copied().collect()
    }
}
