//! Replication: openraft over our log and our state. The only folder that names openraft.
//!
//! ```text
//!   http --> keyspace --> proposer ----> openraft ---> log_store  --> storage::log
//!                   \---> read_index --> (core)   ---> state_machine --> storage::state
//!                                          |  ^
//!   campaign (bully: who campaigns) -------+  |        append_lane, call_lane, snapshot_lane
//!   steward (policy: who votes)               +------- network / incoming --> peer streams
//! ```
//!
//! openraft keeps the term and the vote, log matching, joint membership changes and snapshots. What stands here beside the
//! glue is the policy: `policy` says who replicates and votes, `campaign` who campaigns and when.

mod admin;
mod append_lane;
mod call_lane;
mod campaign;
mod compaction;
mod death;
mod engine;
mod frame;
#[cfg(test)]
pub(crate) mod fuzz;
mod held;
mod incoming;
mod leadership;
pub mod log_store;
mod majority;
mod network;
pub mod offline;
mod peers;
mod policy;
mod proposer;
mod read_index;
mod report;
mod rounds;
pub mod settings;
#[cfg(simulated)]
mod simulated;
mod snapshot_lane;
mod stamps;
pub mod state_machine;
mod steward;
#[cfg(test)]
mod suite;
mod tally;
pub mod types;
mod unfit;
mod voting;
mod wire;
mod witness;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use muster_cluster::election::{self, Activity, Mode};
use muster_cluster::world;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::kv::{Outcome, Write};
use crate::roster::Roster;
use crate::storage::{OpenError, Storage};
use leadership::{Contact, Leadership};
use peers::Peers;
use proposer::Proposer;
pub(crate) use read_index::Point;
use read_index::ReadIndex;
use types::{Node, NodeId, Raft};
pub(crate) use wire::Refusal;
use witness::Witness;

pub use admin::AdminFailure;
pub use compaction::Compaction;
pub use engine::Options;
pub use peers::{Dialer, PeerStream, Reach};
pub use report::{EngineRole, Figures};
pub use witness::{Objection, Others, Registries};

/// How long a stopping leader waits for its successor: many times what a hand-over takes, within the second that a container is given.
const HAND_OVER: Duration = Duration::from_millis(300);

/// Why a node cannot replicate. The data is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A wait that cannot work.
    #[error("the timings cannot work: {0}")]
    Timing(String),
    /// What is remembered of other voters cannot be used.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// The engine refused what is on the disk.
    #[error("the log or the state cannot be used: {0}")]
    Engine(String),
}

/// The replicated log keyspace of this node.
pub struct Replication {
    options: Options,
    raft: Raft,
    storage: Arc<Storage>,
    peers: Peers,
    proposer: Proposer,
    reads: ReadIndex,
    contact: Arc<Contact>,
    leadership: watch::Receiver<Leadership>,
    roster: watch::Receiver<Arc<Roster>>,
    /// Whether this node grants votes and acknowledges entries: not before others have vouched for its disk.
    may_vote: watch::Sender<bool>,
    /// Whether it asks for votes as well.
    may_stand: watch::Sender<bool>,
    witness: Witness,
    looks_whether_removed: tokio::sync::Mutex<()>,
    activity: watch::Receiver<Activity>,
    mailbox: mpsc::Sender<(Uuid, Vec<u8>)>,
    snapshots: snapshot_lane::Progress,
    cluster_id: Arc<OnceLock<Uuid>>,
    joined: watch::Sender<Option<Uuid>>,
    stopping: Arc<AtomicBool>,
    /// Entries wait for room on the disk before they are applied.
    applying: Arc<AtomicBool>,
    left: watch::Sender<bool>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replication").field("id", &self.options.id).finish_non_exhaustive()
    }
}

impl Replication {
    /// Starts the engine over what is on the disk. It answers peers from then on, but neither votes nor stands before others have vouched
    /// for its disk.
    ///
    /// # Errors
    /// When the timings or the disk cannot be used.
    pub async fn start(
        options: Options,
        storage: Arc<Storage>,
        dialer: Dialer,
        roster: watch::Receiver<Arc<Roster>>,
    ) -> Result<Arc<Self>, StartError> {
        let me = NodeId(options.id);
        // What the disk holds before the engine changes any of it.
        let witness = Witness::new(&options.data_dir, &storage, options.stamp)?;
        let cluster_id = Arc::new(OnceLock::new());
        if let Some(id) = storage.cluster_id() {
            let _: Result<_, _> = cluster_id.set(id);
        }
        let peers = Peers::new(dialer, cluster_id.clone(), options.heartbeat);
        let snapshots = snapshot_lane::Progress::default();
        let (refusals, refused) = tally::channel();
        let network = network::Network::new(peers.clone(), snapshots.clone(), refusals);
        let log_store = log_store::LogStore::new(storage.log().clone(), storage.state().clone());
        let applying = Arc::new(AtomicBool::new(false));
        let room = state_machine::Room { log: storage.log().clone(), waits: applying.clone() };
        let machine = state_machine::StateMachine::with_room(storage.state().clone(), room);
        let raft = Raft::new(me, Arc::new(engine::config(&options)?), network, log_store, machine).await;
        let raft = raft.map_err(|error| StartError::Engine(error.to_string()))?;
        applying.store(true, Ordering::Relaxed);
        // The core reports what is on the disk before it answers: behind this the membership is known, and a lone voter knows that it
        // is one.
        raft.is_initialized().await.map_err(|error| StartError::Engine(error.to_string()))?;

        let seed = world::random();
        let mut config = election::Config::new(Mode::Voted, options.heartbeat, options.election_timeout, seed);
        // The election's messages take the same streams as the votes: who does not answer is not behind a cut of datagrams alone, it is
        // dialled anew within two heartbeats, and asking once more costs nobody anything before a pre-vote is won.
        config.fallback = options.heartbeat * 4;
        config.validate().map_err(|error| StartError::Timing(error.to_string()))?;
        let contact = Contact::new();
        let leadership = leadership::watch(&raft);
        let progress = storage.state().progress();
        let may_vote = watch::channel(false).0;
        let (may_stand, standing) = watch::channel(false);
        let (activity, activity_seen) = watch::channel(Activity::Idle);
        let (mailbox, mail) = mpsc::channel(campaign::MAILBOX);
        let stopping = Arc::new(AtomicBool::new(false));
        let proposer = Proposer::start(proposer::Means {
            me,
            raft: raft.clone(),
            peers: peers.clone(),
            log: storage.log().clone(),
            leadership: leadership.clone(),
            patience: options.patience(),
            progress: progress.clone(),
            stamps: std::sync::Mutex::default(),
            rooms: witness.rooms.clone(),
        });
        let reads = ReadIndex::start(read_index::Means {
            me,
            raft: raft.clone(),
            peers: peers.clone(),
            leadership: leadership.clone(),
            progress,
        });
        let campaigning = campaign::run(campaign::Means {
            me,
            raft: raft.clone(),
            peers: peers.clone(),
            priority: options.priority,
            config,
            contact: contact.clone(),
            leadership: leadership.clone(),
            roster: roster.clone(),
            may_vote: standing,
            stopping: stopping.clone(),
            storage: storage.clone(),
            mail,
            refusals: refused,
            activity,
        });
        let compacting = compaction::run(raft.clone(), storage.log().clone(), options.compaction);
        let tasks = vec![
            tokio::spawn(async move {
                if let Err(error) = campaigning.await {
                    log::error!("no elections from this node: {error}");
                }
            }),
            tokio::spawn(compacting),
        ];
        let this = Arc::new(Self {
            options,
            raft,
            storage,
            peers,
            proposer,
            reads,
            contact,
            leadership,
            roster,
            may_vote,
            may_stand,
            witness,
            looks_whether_removed: tokio::sync::Mutex::default(),
            activity: activity_seen,
            mailbox,
            snapshots,
            joined: watch::channel(cluster_id.get().copied()).0,
            cluster_id,
            stopping,
            applying,
            left: watch::channel(false).0,
            tasks: std::sync::Mutex::new(tasks),
        });
        if let Some(id) = this.cluster_id() {
            this.start_steward(id);
        }
        let watching =
            [tokio::spawn(unfit::run(Arc::downgrade(&this))), tokio::spawn(witness::run(Arc::downgrade(&this)))];
        this.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(watching);
        Ok(this)
    }

    /// Founds a cluster of this one node. The id must be on the disk of this node and with the registry before.
    ///
    /// # Errors
    /// When the data is of another cluster or the disk fails.
    pub async fn found(self: &Arc<Self>, id: Uuid) -> Result<(), StartError> {
        self.adopt(id)?;
        let me = NodeId(self.options.id);
        let node = Node { name: self.options.name.clone() };
        if !self.raft.is_initialized().await.map_err(|error| StartError::Engine(error.to_string()))? {
            let founded = self.raft.initialize(BTreeMap::from([(me, node)])).await;
            founded.map_err(|error| StartError::Engine(error.to_string()))?;
            // Nobody can have seen more of a cluster that begins now.
            self.allow_voting(true);
        }
        Ok(())
    }

    /// Ties this node to a cluster, for good.
    fn adopt(self: &Arc<Self>, id: Uuid) -> Result<(), StartError> {
        self.storage.set_cluster_id(id).map_err(|error| StartError::Engine(error.to_string()))?;
        if self.cluster_id.set(id).is_ok() {
            log::info!("part of cluster {id} from now on");
            self.start_steward(id);
            self.joined.send_replace(Some(id));
        }
        Ok(())
    }

    fn start_steward(&self, cluster_id: Uuid) {
        let task = tokio::spawn(steward::run(steward::Means {
            me: NodeId(self.options.id),
            raft: self.raft.clone(),
            peers: self.peers.clone(),
            cluster_id,
            leadership: self.leadership.clone(),
            may_stand: self.may_stand.subscribe(),
            roster: self.roster.clone(),
            configuration: self.storage.state().configuration(),
        }));
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
    }

    /// Whether a value of the replicated configuration was ever set, as far as this node has applied.
    pub fn is_configured(&self, name: &str) -> bool {
        self.storage.state().configuration().borrow().contains_key(name)
    }

    /// Applies writes as one unit of the log, on whoever leads. Tries once. Who gives up at the deadline knows whether they were handed to
    /// anybody: overloaded, or an unknown outcome.
    pub(crate) async fn propose(
        &self,
        writes: Vec<Write>,
        deadline: tokio::time::Instant,
    ) -> Result<Vec<Outcome>, Refusal> {
        self.proposer.propose_until(writes, deadline).await
    }

    /// Read indices and proofs of freshness.
    pub(crate) fn reads(&self) -> &ReadIndex {
        &self.reads
    }

    /// Follows who leads.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Prepares to stop: this node stands no more, and hands the leadership over if it leads and somebody can take it.
    pub async fn step_aside(self: &Arc<Self>) {
        self.stopping.store(true, Ordering::Relaxed);
        if self.leader() != Some(self.me()) {
            return;
        }
        match tokio::time::timeout(HAND_OVER, self.hand_over(None)).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => log::info!("the leadership was not handed over: {refusal:?}"),
            Err(_) => log::info!("nobody took the leadership over within {HAND_OVER:?}; the others will elect"),
        }
    }

    /// Stops the engine. All that was acknowledged is on the disk.
    pub async fn shutdown(&self) {
        self.applying.store(false, Ordering::Relaxed);
        self.keep_memory().await;
        if let Err(error) = self.raft.shutdown().await {
            log::warn!("the engine did not stop in good order: {error}");
        }
        for task in self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Serves a stream that a peer opened.
    pub async fn serve(self: Arc<Self>, from: Uuid, kind: u8, stream: PeerStream) {
        incoming::serve(self, NodeId(from), kind, stream).await;
    }

    fn election_message(&self, from: Uuid, message: Vec<u8>) {
        // Full: as if the network had lost it.
        let _: Result<_, _> = self.mailbox.try_send((from, message));
    }

    /// This node.
    pub fn me(&self) -> Uuid {
        self.options.id
    }

    /// The cluster that it is part of.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id.get().copied()
    }

    /// Follows which cluster it is part of; that is settled once.
    pub fn joined(&self) -> watch::Receiver<Option<Uuid>> {
        self.joined.subscribe()
    }

    /// Waits until the engine has stopped by itself, and says why: a broken disk, as a rule.
    pub async fn failed(&self) -> String {
        // These change with the membership and the term. The others change with every write, and would wake whoever waits here each time.
        let mut server = self.raft.server_metrics();
        while server.changed().await.is_ok() {}
        match &self.raft.metrics().borrow_watched().running_state {
            Err(error) => error.to_string(),
            Ok(()) => "the engine is gone".to_owned(),
        }
    }

    /// The leader as this node knows it. A leader that lost its majority does not name itself.
    pub fn leader(&self) -> Option<Uuid> {
        let Leadership { leader, since, .. } = *self.leadership.borrow();
        let cut_off =
            leader == Some(self.me()) && !leadership::has_majority(&self.raft, since, self.options.patience());
        leader.filter(|_| !cut_off)
    }

    /// Becomes true when this node was taken out of the cluster for good.
    pub fn left(&self) -> watch::Receiver<bool> {
        self.left.subscribe()
    }
}
