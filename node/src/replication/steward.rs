//! Carries the [policy](super::policy) out while this node leads: looks, makes one change, looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_cluster::swim::MemberState;
use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Instant as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::leadership::Leadership;
use super::peers::Peers;
use super::policy::{self, CAUGHT_UP, Change, Life, View};
use super::settings;
use super::types::{Node, NodeId, Raft};
use super::wire::{AdminCall, Call};
use crate::roster::Roster;

/// How often the leader looks when nothing wakes it: for lags, which change all the time, and for waits that run out.
const LOOK: Duration = Duration::from_millis(200);
/// A change that is not committed by then is given up for now; what became of it shows at the next look.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Replication has reached a node lately when it acknowledged a heartbeat this recently.
const REACHED: Duration = Duration::from_secs(1);
/// The replicated configuration, by name.
pub(crate) type Configuration = Arc<BTreeMap<String, String>>;

/// What the steward works with.
pub(crate) struct Means {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) cluster_id: Uuid,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// Whether this node stands: who must not leads no more, even before it knows who does.
    pub(crate) may_stand: watch::Receiver<bool>,
    pub(crate) roster: watch::Receiver<Arc<Roster>>,
    pub(crate) configuration: watch::Receiver<Configuration>,
}

/// Since when each node has been dead, or caught up, as this leader saw it. A new leader begins anew, which only delays.
#[derive(Default)]
struct Memory {
    dead: BTreeMap<Uuid, Instant>,
    caught_up: BTreeMap<Uuid, Instant>,
}

/// Runs until the node stops.
pub(crate) async fn run(mut means: Means) {
    let mut memory = Memory::default();
    loop {
        let waking = async {
            tokio::select! {
                changed = means.leadership.changed() => changed.is_ok(),
                changed = means.roster.changed() => changed.is_ok(),
                changed = means.configuration.changed() => changed.is_ok(),
                () = tokio::time::sleep(LOOK) => true,
            }
        };
        if !waking.await {
            return;
        }
        if means.leadership.borrow().leader != Some(means.me.0) || !*means.may_stand.borrow() {
            memory = Memory::default();
            continue;
        }
        let view = look(&means, &mut memory);
        if let Some(change) = policy::next_change(&view) {
            make(&means, change).await;
        }
        remind_removed(&means);
    }
}

fn look(means: &Means, memory: &mut Memory) -> View {
    let now = Instant::now();
    let metrics = means.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let last = metrics.last_log_index.unwrap_or(0);
    let voters: BTreeSet<Uuid> = membership.voter_ids().map(Uuid::from).collect();
    let matched = |id: &Uuid| {
        let replication = metrics.replication.as_ref()?;
        replication.get(&NodeId(*id)).copied().flatten().map(|log_id| log_id.index)
    };
    let silent_for = |id: &Uuid| {
        let heartbeat = metrics.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(&NodeId(*id)).copied().flatten());
        heartbeat.map_or(Duration::MAX, |at| at.elapsed())
    };
    let learners = membership.learner_ids().map(Uuid::from);
    let learners: BTreeMap<Uuid, Option<u64>> =
        learners.map(|id| (id, matched(&id).map(|index| last.saturating_sub(index)))).collect();
    memory.caught_up.retain(|id, _| learners.get(id).is_some_and(|lag| lag.is_some_and(|lag| lag <= CAUGHT_UP)));
    for (id, lag) in &learners {
        if lag.is_some_and(|lag| lag <= CAUGHT_UP) {
            memory.caught_up.entry(*id).or_insert(now);
        }
    }

    let roster = means.roster.borrow().clone();
    let configuration = means.configuration.borrow().clone();
    let known = roster.members.keys().chain(&voters).chain(learners.keys()).copied().collect::<BTreeSet<Uuid>>();
    let mut nodes = BTreeMap::new();
    for id in known {
        let entry = roster.members.get(&id);
        // Of a voter only replication's word counts: gossip takes seconds to notice a death, and a vote given away meanwhile is
        // one too many for good.
        let gossip_says = !voters.contains(&id) && entry.is_some_and(|entry| entry.state == MemberState::Alive);
        let silent_for = silent_for(&id);
        let alive = id == means.me.0 || silent_for < REACHED || gossip_says;
        let gone = entry.is_none_or(|entry| !entry.state.is_live());
        let life = if alive {
            memory.dead.remove(&id);
            Life::Alive
        } else if gone {
            Life::Dead(now.duration_since(*memory.dead.entry(id).or_insert(now)))
        } else {
            Life::Doubtful
        };
        let elsewhere = entry.is_some_and(|entry| entry.card.is_of_another(Some(means.cluster_id)));
        let duplicate = entry.is_some_and(|entry| entry.duplicate);
        let removed = configuration.contains_key(&settings::removed(id));
        // A stranger that shows up twice is not let in until one of the two is gone; a member is not thrown out for it. And whatever
        // gossip says of a voter, it does not cost it its vote.
        let eligible = !removed && (voters.contains(&id) || !elsewhere && (learners.contains_key(&id) || !duplicate));
        let caught_up_for = memory.caught_up.get(&id).map_or(Duration::ZERO, |since| now.duration_since(*since));
        nodes.insert(id, policy::Node { life, eligible, caught_up_for, silent_for });
    }
    View {
        leader: means.me.0,
        joint: membership.get_joint_config().len() > 1,
        voters,
        learners,
        nodes,
        wanted_voters: settings::voters(&configuration),
        replace_after: settings::replace_after(&configuration),
    }
}

async fn make(means: &Means, change: Change) {
    let node = |id: &Uuid| (NodeId(*id), Node { name: means.roster.borrow().name(*id) });
    let ids = |set: &BTreeSet<Uuid>| set.iter().map(|id| NodeId(*id)).collect::<BTreeSet<NodeId>>();
    let members = match &change {
        Change::Finish => ChangeMembers::AddVoterIds(BTreeSet::new()),
        Change::AddLearners(new) => ChangeMembers::AddNodes(new.iter().map(node).collect()),
        Change::Forget(lost) => ChangeMembers::RemoveNodes(ids(lost)),
        Change::SetVoters(voters) => ChangeMembers::ReplaceAllVoters(ids(voters)),
    };
    let told = describe(&change, &means.roster.borrow());
    match timeout(CHANGE_TIMEOUT, means.raft.change_membership(members, true)).await {
        Ok(Ok(_)) => log::info!("{told}"),
        Ok(Err(error)) => log::info!("not yet done: {told}: {error}"),
        Err(_) => log::warn!("not committed within {CHANGE_TIMEOUT:?}: {told}"),
    }
}

fn describe(change: &Change, roster: &Roster) -> String {
    let names = |ids: &BTreeSet<Uuid>| ids.iter().map(|id| roster.name(*id)).collect::<Vec<_>>().join(", ");
    match change {
        Change::Finish => "finished an interrupted change of the voters".to_owned(),
        Change::AddLearners(new) => format!("{} replicate now, as learners", names(new)),
        Change::Forget(lost) => format!("{} replicate no more", names(lost)),
        Change::SetVoters(voters) => format!("the voters are {} now", names(voters)),
    }
}

/// Tells nodes that were taken out for good, and replicate no more, that they have left. Not before: as long as one votes, its vote may
/// be needed to let it go.
fn remind_removed(means: &Means) {
    let roster = means.roster.borrow().clone();
    let configuration = means.configuration.borrow().clone();
    let metrics = means.raft.server_metrics();
    let replicates =
        |id: &Uuid| metrics.borrow_watched().committed_membership_config.membership().get_node(&NodeId(*id)).is_some();
    for (id, entry) in roster.members.iter().filter(|(id, _)| !replicates(id)) {
        if entry.state == MemberState::Alive && *id != means.me.0 && configuration.contains_key(&settings::removed(*id))
        {
            let calls = means.peers.calls(NodeId(*id));
            tokio::spawn(async move { calls.call(Call::Admin(AdminCall::YouHaveLeft), CHANGE_TIMEOUT).await });
        }
    }
}
