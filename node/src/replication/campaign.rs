//! Drives the bully election: who campaigns, and when. Who rules is decided by openraft's vote alone.
//!
//! The election core of the cluster library is fed with what this node sees (entries and heartbeats that arrive, what gossip says
//! of the leader, streams that break, who can be reached) and says when to campaign. A campaign is openraft's, with pre-vote, so a node that
//! cannot win changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_cluster::election::{Activity, Config, Election, Freshness, Input, Message, Output};
use muster_cluster::swim::MemberState;
use muster_cluster::time::Mono;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::call_lane::CallError;
use super::death;
use super::leadership::{Contact, Leadership};
use super::peers::Peers;
use super::tally::{Refused, Tally};
use super::types::{NodeId, Raft};
use super::wire::Call;
use crate::roster::Roster;
use crate::storage::Storage;

/// Messages of peers that wait for the core. Full: the newest is dropped, as a network may.
pub(crate) const MAILBOX: usize = 256;
/// How often the core hears whether the leader was heard: well below a heartbeat, so that it is never the slower one.
const LISTEN: Duration = Duration::from_millis(20);
/// How often peers are pinged while somebody leads. Without a leader it is every [`ping_timeout`].
const PING_CALM: Duration = Duration::from_secs(1);

/// A ping that has no answer by then counts as out of reach: a heartbeat and a half.
fn ping_timeout(config: &Config) -> Duration {
    config.heartbeat * 3 / 2
}

/// What the driver works with.
pub(crate) struct Means {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) priority: i32,
    pub(crate) config: Config,
    pub(crate) contact: Arc<Contact>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) roster: watch::Receiver<Arc<Roster>>,
    /// Whether this node may vote and stand: not before it has heard from the cluster, never once it was set back.
    pub(crate) may_vote: watch::Receiver<bool>,
    /// One that does not answer takes no vote, not even this node's own.
    pub(crate) storage: Arc<Storage>,
    /// A stopping node does not stand.
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) mail: mpsc::Receiver<(Uuid, Vec<u8>)>,
    /// Who withholds its vote from this node's campaigns.
    pub(crate) refusals: mpsc::Receiver<Refused>,
    pub(crate) activity: watch::Sender<Activity>,
}

/// What background checks report.
enum Finding {
    Reach(Uuid, bool),
    /// A leader whose stream broke is dead for certain, or nothing is certain.
    Broken {
        leader: Uuid,
        dead: bool,
    },
}

/// Runs until the node stops.
pub(crate) async fn run(mut means: Means) -> Result<(), muster_cluster::election::ConfigError> {
    let mut election = Election::new(means.me.0, means.config.clone())?;
    if means.may_vote.wait_for(|may| *may).await.is_err() {
        return Ok(());
    }
    let started = Instant::now();
    let clock = move || Mono::new(started.elapsed());
    let (findings, mut found) = mpsc::channel(MAILBOX);
    let contact = means.contact.clone();
    let mut tally = Tally::default();
    // Whose death is being looked into, so that its second stream does not start a second inquiry.
    let mut examined = BTreeSet::new();
    let mut listen = tokio::time::interval(LISTEN);
    listen.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = Known::default();
    known.refresh(&means, &mut election, clock());
    election.handle(clock(), Input::Start);
    loop {
        while let Some(output) = election.poll() {
            if output == Output::Campaign {
                tally.begin(Instant::now());
            }
            perform(&means, output, &findings).await;
        }
        means.activity.send_if_modified(|activity| {
            let now = election.activity();
            if *activity != now {
                log::debug!("election: {now:?}");
            }
            std::mem::replace(activity, now) != now
        });
        let due = election.next_deadline().map(|at| started + at.since_origin());
        tokio::select! {
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                // What may start an election is preceded by what it is decided on.
                known.refresh(&means, &mut election, clock());
                election.handle(clock(), Input::Tick);
            }
            mail = means.mail.recv() => {
                let Some((from, bytes)) = mail else { return Ok(()) };
                if let Ok(message) = Message::decode(&bytes) {
                    known.refresh(&means, &mut election, clock());
                    election.handle(clock(), Input::Message { from, message });
                }
            }
            finding = found.recv() => match finding {
                Some(Finding::Reach(peer, reachable)) => election.handle(clock(), Input::Reachable { peer, reachable }),
                Some(Finding::Broken { leader, dead }) => {
                    examined.remove(&leader);
                    if dead {
                        known.refresh(&means, &mut election, clock());
                        election.handle(clock(), Input::LeaderDead { leader });
                    }
                }
                None => return Ok(()),
            },
            changed = means.leadership.changed() => {
                if changed.is_err() { return Ok(()) }
                known.refresh(&means, &mut election, clock());
            }
            changed = means.roster.changed() => {
                if changed.is_err() { return Ok(()) }
                known.refresh(&means, &mut election, clock());
            }
            peer = contact.broken() => {
                log::debug!("a stream from {peer} broke");
                if means.leadership.borrow().leader == Some(peer.0) && examined.insert(peer.0) {
                    tokio::spawn(examine(means.peers.clone(), peer, means.config.window, findings.clone()));
                }
            }
            refused = means.refusals.recv() => {
                let Some(refused) = refused else { return Ok(()) };
                log::debug!("{} withholds its vote ({:?})", refused.by, refused.round);
                if tally.refuse(refused, &known.electorate) {
                    known.refresh(&means, &mut election, clock());
                    election.handle(clock(), Input::CampaignFailed);
                }
            }
            _ = listen.tick() => {
                known.refresh(&means, &mut election, clock());
                known.ping(&means, election.activity(), &findings);
            }
        }
    }
}

/// What the core has been told, so that only changes are told again.
#[derive(Default)]
struct Known {
    electorate: BTreeSet<Uuid>,
    leadership: Option<(Option<Uuid>, u64)>,
    suspected: BTreeMap<Uuid, u64>,
    heard: Option<Instant>,
    pinged: Option<Instant>,
}

impl Known {
    fn refresh(&mut self, means: &Means, election: &mut Election, now: Mono) {
        {
            let metrics = means.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: BTreeSet<Uuid> = metrics.membership_config.membership().voter_ids().map(Uuid::from).collect();
            if voters != self.electorate {
                self.electorate.clone_from(&voters);
                // Whoever is new counts as out of reach until it has answered.
                self.pinged = None;
                election.handle(now, Input::Electorate(voters));
            }
        }
        let last = means.raft.data_metrics().borrow_watched().last_log;
        let freshness = last.map(|last| Freshness { term: last.committed_leader_id().term, index: last.index });
        election.handle(now, Input::Rank { freshness: freshness.unwrap_or_default(), priority: means.priority });

        let Leadership { leader, term, .. } = *means.leadership.borrow();
        let me = means.me.0;
        if self.leadership != Some((leader, term)) {
            let led = matches!(self.leadership, Some((Some(before), _)) if before == me);
            self.leadership = Some((leader, term));
            self.suspected.clear();
            match leader {
                Some(leader) if leader == me => election.handle(now, Input::Won { term }),
                _ if led => election.handle(now, Input::SteppedDown { term }),
                _ => {}
            }
        }
        let Some(leader) = leader.filter(|leader| *leader != me) else { return };
        let heard = means.contact.heard_at();
        if heard > self.heard {
            self.heard = heard;
            election.handle(now, Input::LeaderHeard { leader, term });
        }
        let roster = means.roster.borrow().clone();
        if let Some(entry) = roster.members.get(&leader)
            && entry.state != MemberState::Alive
            && self.suspected.insert(leader, entry.incarnation) != Some(entry.incarnation)
        {
            election.handle(now, Input::LeaderSuspected { leader });
        }
    }

    fn ping(&mut self, means: &Means, activity: Activity, findings: &mpsc::Sender<Finding>) {
        // A core that looks for a leader waits for a majority within reach.
        let settled = matches!(activity, Activity::Following | Activity::Leading | Activity::Idle);
        let led = means.leadership.borrow().leader.is_some();
        let calm = settled && led && means.contact.age().is_some_and(|age| age < PING_CALM);
        let patience = ping_timeout(&means.config);
        let every = if calm { PING_CALM } else { patience };
        if self.pinged.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.pinged = Some(Instant::now());
        for peer in self.electorate.iter().copied().filter(|peer| *peer != means.me.0) {
            let calls = means.peers.calls(NodeId(peer));
            let findings = findings.clone();
            tokio::spawn(async move {
                let reached = calls.call(Call::Ping, patience).await.is_ok();
                let _: Result<_, _> = findings.send(Finding::Reach(peer, reached)).await;
            });
        }
    }
}

async fn examine(peers: Peers, leader: NodeId, patience: Duration, findings: mpsc::Sender<Finding>) {
    let dead = death::is_certain(&peers, leader, patience).await;
    let _: Result<_, _> = findings.send(Finding::Broken { leader: leader.0, dead }).await;
}

async fn perform(means: &Means, output: Output, findings: &mpsc::Sender<Finding>) {
    match output {
        Output::Send { to, message } => {
            let calls = means.peers.calls(NodeId(to));
            let (findings, patience) = (findings.clone(), ping_timeout(&means.config));
            tokio::spawn(async move {
                if let Err(CallError::Unsent(_)) = calls.call(Call::Election(message.encode()), patience).await {
                    let _: Result<_, _> = findings.send(Finding::Reach(to, false)).await;
                }
            });
        }
        Output::DropLease { dead } => give_up_own_lease(means, NodeId(dead)).await,
        Output::Campaign => {
            if means.stopping.load(Ordering::Relaxed) || !*means.may_vote.borrow() || means.storage.stalled().is_some()
            {
                return;
            }
            log::info!("no leader: campaigning");
            if let Err(error) = means.raft.trigger().elect(true).await {
                log::error!("the engine has stopped: {error}");
            }
        }
        Output::Transfer { to } => {
            if let Err(error) = means.raft.trigger().transfer_leader(NodeId(to)).await {
                log::error!("the engine has stopped: {error}");
            }
        }
        // The engine's own view is what everybody goes by.
        Output::LeaderChanged { .. } => {}
        Output::TransferRefused(why) => log::info!("the leadership was not handed over: {why}"),
    }
}

/// Makes this node's lease on a leader that is dead for certain run out now, so that its pre-vote may begin. The request names the
/// dead leader as its own successor: named itself, this node would send votes that override the lease of every voter, a living
/// leader's too.
async fn give_up_own_lease(means: &Means, dead: NodeId) {
    let (vote, last) = {
        let metrics = means.raft.data_metrics();
        let server = means.raft.server_metrics();
        let (vote, last) = (server.borrow_watched().vote, metrics.borrow_watched().last_log);
        (vote, last)
    };
    // Somebody else was voted for meanwhile: that lease is another one's.
    if vote.leader_id.voted_for != dead {
        return;
    }
    if let Err(error) = means.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, dead, last)).await {
        log::error!("the engine has stopped: {error}");
    }
}
