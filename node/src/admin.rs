//! What HTTP asks and tells the cluster: gossip's members beside replication's voters, and the leader's work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use muster_client::api::cluster::{
    Config, Disk, Leader, Link, Member, MemberState, Members, Replica, Role, State, Status,
};
use muster_client::api::health::Check;
use muster_client::api::quantity::Span;
use muster_cluster::runtime::Cluster;
use muster_cluster::swim;
use tokio::sync::watch;
use uuid::Uuid;

use crate::discovery::Picture;
use crate::keyspace::{Keyspace, WriteError};
use crate::kv::{Operation, Write};
use crate::metrics::{Kind, Text};
use crate::replication::{AdminFailure, EngineRole, Replication, settings};
use crate::roster::Roster;
use crate::storage::Storage;

/// A value that was set arrives here as well within a heartbeat or two; it is answered from here by then at the latest.
const HERE_TOO: Duration = Duration::from_secs(1);

/// The cluster as this node sees it, and what can be done to it.
#[derive(Debug)]
pub struct Admin {
    name: String,
    keyspace: Arc<Keyspace>,
    replication: Arc<Replication>,
    storage: Arc<Storage>,
    roster: watch::Receiver<Arc<Roster>>,
    gossip: OnceLock<Cluster>,
    registries: OnceLock<watch::Receiver<Picture>>,
    /// The cluster is being founded, and is of no use yet.
    founding: AtomicBool,
}

/// Why the cluster did not do as it was told. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// There is no such member or value; asking again does not help.
    #[error("{reason}")]
    NotFound {
        /// What there is not.
        reason: String,
    },
    /// The value cannot be; asking again does not help.
    #[error("{reason}")]
    Invalid {
        /// What can.
        reason: String,
    },
    /// It contradicts what stands; what must change first is said.
    #[error("{reason}")]
    Conflict {
        /// What is in the way and what to do.
        reason: String,
    },
    /// Nobody leads, or who leads was not reached in time. Nothing was changed.
    #[error("{reason}; nothing was changed")]
    NoLeader {
        /// Why, for people.
        reason: String,
    },
    /// Begun and not seen to end, or never begun: look before you ask again.
    #[error("{reason}")]
    Timeout {
        /// What is known of it.
        reason: String,
    },
    /// Retry a little later, or ask another node.
    #[error("{reason}")]
    NotReady {
        /// Why, for people.
        reason: String,
    },
    /// The write that it takes had no outcome.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<AdminFailure> for AdminError {
    fn from(failure: AdminFailure) -> Self {
        match failure {
            AdminFailure::NotFound(reason) => Self::NotFound { reason },
            AdminFailure::Conflict(reason) => Self::Conflict { reason },
            AdminFailure::NoLeader(reason) => Self::NoLeader { reason },
            AdminFailure::Timeout(reason) => Self::Timeout { reason },
        }
    }
}

impl Admin {
    /// Of the node called `name`.
    pub fn new(
        name: String,
        keyspace: Arc<Keyspace>,
        replication: Arc<Replication>,
        storage: Arc<Storage>,
        roster: watch::Receiver<Arc<Roster>>,
    ) -> Self {
        let (gossip, registries) = (OnceLock::new(), OnceLock::new());
        Self { name, keyspace, replication, storage, roster, gossip, registries, founding: AtomicBool::new(false) }
    }

    /// Gossip runs now.
    pub fn set_gossip(&self, cluster: Cluster) {
        let _: Result<_, _> = self.gossip.set(cluster);
    }

    /// What the registries say is to be had here.
    pub fn set_registries(&self, picture: watch::Receiver<Picture>) {
        let _: Result<_, _> = self.registries.set(picture);
    }

    /// The cluster is being founded, or is no more.
    pub fn set_founding(&self, founding: bool) {
        self.founding.store(founding, Ordering::Relaxed);
    }

    /// What forbids this node to take part for now, for people.
    fn trouble(&self) -> Option<String> {
        let objection = self.replication.objection().borrow().as_ref().map(ToString::to_string);
        let founding = self.founding.load(Ordering::Relaxed).then(|| "the cluster is being founded".to_owned());
        objection.or(founding)
    }

    /// Who is there.
    pub fn members(&self) -> Members {
        let roster = self.roster.borrow().clone();
        let (voters, learners) = (self.replication.voters(), self.replication.learners());
        let leader = self.replication.leader();
        let role = |id: Uuid| match (leader == Some(id), voters.contains(&id), learners.contains(&id)) {
            (true, ..) => Some(Role::Leader),
            (_, true, _) => Some(Role::Voter),
            (_, _, true) => Some(Role::Learner),
            _ => None,
        };
        let now = self.gossip.get().map(Cluster::now);
        // Gossip goes by the cluster's name, which another cluster may bear as well.
        let own = self.replication.cluster_id();
        let ours = roster.members.iter().filter(|(_, entry)| !entry.card.is_of_another(own));
        let members = ours.map(|(id, entry)| {
            let heard = entry.last_heard.zip(now).map(|(heard, now)| now.saturating_since(heard));
            let heard = if *id == self.replication.me() { Some(Duration::ZERO) } else { heard };
            Member {
                id: *id,
                name: entry.card.name.clone(),
                http: entry.card.http.clone(),
                peer: entry.peer.to_string(),
                state: state_of(entry.state),
                incarnation: entry.incarnation,
                role: role(*id),
                priority: entry.card.priority,
                last_seen_ms: heard.map(milliseconds),
                round_trip_ms: entry.round_trip.map(to_the_microsecond),
                suspected_by: entry.suspected_by.clone(),
            }
        });
        Members { cluster_id: own, local: self.replication.me(), leader, members: members.collect() }
    }

    /// The LWW element set.
    pub async fn state(&self) -> Result<State, AdminError> {
        let not_yet = || AdminError::NotReady { reason: "gossip does not run yet".to_owned() };
        let cluster = self.gossip.get().ok_or_else(not_yet)?;
        let state =
            cluster.state().await.map_err(|_| AdminError::NotReady { reason: "gossip has stopped".to_owned() })?;
        let add_set = state.add_set.iter().map(|(id, (address, stamp))| (format!("{id}={address}"), stamp.to_bits()));
        let removed = |(id, (address, stamp)): (&Uuid, &(Option<std::net::SocketAddr>, swim::Stamp))| {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            (format!("{id}={address}"), stamp.to_bits())
        };
        Ok(State { add_set: add_set.collect(), remove_set: state.remove_set.iter().map(removed).collect() })
    }

    /// Who leads, as this node knows it.
    pub fn leader(&self) -> Option<Leader> {
        let id = self.replication.leader()?;
        let roster = self.roster.borrow();
        let card = roster.members.get(&id).map(|entry| entry.card.clone()).unwrap_or_default();
        Some(Leader { id, name: card.name, http: card.http, term: self.replication.figures().term })
    }

    /// When nobody leads, why; for people.
    pub fn no_leader_reason(&self) -> String {
        match (self.trouble(), self.replication.cluster_id(), self.registries.get()) {
            (Some(trouble), ..) => trouble,
            (None, None, Some(picture)) => {
                let picture = picture.borrow();
                let told = picture.trouble();
                told.unwrap_or_else(|| {
                    format!(
                        "this node has no cluster yet; {} of {} registries answer",
                        picture.answering, picture.named
                    )
                })
            }
            _ => self.replication.why_no_leader(),
        }
    }

    /// This node.
    pub async fn status(&self) -> Status {
        let figures = self.replication.figures();
        let roster = self.roster.borrow().clone();
        let leader = self.replication.leader();
        let matched = self.replication.matched();
        let snapshots = self.replication.snapshots();
        let replica = |id: Uuid| {
            let index = if id == self.replication.me() {
                (figures.role == Some(EngineRole::Leader)).then_some(figures.last_log_index)
            } else {
                matched.get(&id).copied().flatten()
            };
            Replica {
                id,
                name: roster.members.get(&id).map(|entry| entry.card.name.clone()).unwrap_or_default(),
                matched_index: index,
                lag: index.map(|index| figures.last_log_index.saturating_sub(index)),
                state: roster.members.get(&id).map(|entry| state_of(entry.state)),
                snapshot_percent: snapshots.get(&id).copied(),
            }
        };
        Status {
            id: self.replication.me(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: self.replication.cluster_id(),
            role: figures.role.map(|role| match role {
                EngineRole::Leader => Role::Leader,
                EngineRole::Voter => Role::Voter,
                EngineRole::Learner => Role::Learner,
            }),
            term: figures.term,
            leader,
            leader_since_ms: self.replication.leader_since().map(|since| milliseconds(since.elapsed())),
            no_leader_reason: leader.is_none().then(|| self.no_leader_reason()),
            last_log_index: figures.last_log_index,
            committed_index: figures.committed_index,
            applied_index: figures.applied_index,
            revision: self.keyspace.revision(),
            voters: self.replication.voters().into_iter().map(replica).collect(),
            learners: self.replication.learners().into_iter().map(replica).collect(),
            failures_tolerated: u32::try_from(self.replication.failures_tolerated()).unwrap_or(u32::MAX),
            disk: self.disk(),
            network: self.links(&roster),
        }
    }

    fn disk(&self) -> Disk {
        let disk = self.storage.disk();
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Disk {
            log_bytes: disk.log_bytes,
            state_bytes: disk.state_bytes,
            free_bytes: disk.free_bytes,
            sync_ms_p50: ms(disk.sync_p50),
            sync_ms_p99: ms(disk.sync_p99),
            full: disk.full,
            stalled_ms: disk.stalled.map(milliseconds),
        }
    }

    /// The streams of replication beside the round trips of gossip.
    fn links(&self, roster: &Roster) -> Vec<Link> {
        let reach = self.replication.reach();
        let others = roster.members.iter().filter(|(id, _)| **id != self.replication.me());
        let link = |(id, entry): (&Uuid, &crate::roster::Entry)| {
            let reached = reach.get(id);
            Link {
                id: *id,
                connected: reached.is_some_and(|reach| reach.connected),
                version: reached.and_then(|reach| reach.version),
                round_trip_ms: entry.round_trip.map(to_the_microsecond),
                last_error: reached.and_then(|reach| reach.last_error.clone()),
            }
        };
        others.map(link).collect()
    }

    /// The replicated configuration.
    pub async fn config(&self) -> Result<Config, AdminError> {
        Ok(self.configuration())
    }

    fn configuration(&self) -> Config {
        let stored = self.storage.state().configuration().borrow().clone();
        Config {
            voters: u32::try_from(settings::voters(&stored)).unwrap_or(u32::MAX),
            replace_after: Span(settings::replace_after(&stored)).to_string(),
        }
    }

    /// Sets a value of the replicated configuration and returns all of it.
    pub async fn set_config(&self, name: &str, value: &str, timeout: Duration) -> Result<Config, AdminError> {
        let invalid = |reason: String| AdminError::Invalid { reason: format!("{name}: {reason}") };
        let value = match name {
            settings::VOTERS => {
                let voters: std::num::NonZeroU32 =
                    value.parse().map_err(|_| invalid(format!("`{value}` cannot be; write a whole number from 1")))?;
                voters.to_string()
            }
            settings::REPLACE_AFTER => settings::parse_replace_after(value).map_err(invalid)?.to_string(),
            _ => {
                let reason = format!("there is no value `{name}`; there are voters and replace_after");
                return Err(AdminError::NotFound { reason });
            }
        };
        let operation = Operation::Configure { name: name.to_owned(), value: value.clone() };
        self.keyspace.write(Write { operation, idempotency: None }, timeout).await?;
        // What is answered is what was just set, on a follower too, unless somebody has set it anew.
        let mut stored = self.storage.state().configuration();
        let here = stored.wait_for(|stored| stored.get(name) == Some(&value));
        let _: Result<_, _> = tokio::time::timeout(timeout.min(HERE_TOO), here).await;
        Ok(self.configuration())
    }

    /// Makes another voter lead (`None`: whoever is best placed), and returns when it does.
    pub async fn transfer(&self, to: Option<Uuid>, timeout: Duration) -> Result<Leader, AdminError> {
        let deadline = tokio::time::Instant::now() + timeout;
        within(timeout, self.replication.transfer(to)).await?;
        // The one that handed over knows first; here it may take a heartbeat more.
        let mut leadership = self.replication.leadership();
        let known = leadership.wait_for(|now| now.leader.is_some_and(|leader| to.is_none_or(|to| to == leader)));
        let _: Result<_, _> = tokio::time::timeout_at(deadline, known).await;
        self.leader().ok_or_else(|| AdminError::Timeout {
            reason: "handed over; the new leader is not known here yet".to_owned(),
        })
    }

    /// Takes a live member out for good.
    pub async fn leave(&self, id: Uuid, timeout: Duration) -> Result<(), AdminError> {
        within(timeout, self.replication.leave(id)).await
    }

    /// Takes a dead member out for good.
    pub async fn remove(&self, id: Uuid, timeout: Duration) -> Result<(), AdminError> {
        within(timeout, self.replication.remove(id)).await
    }

    /// What `/readyz` says, and how many more voters may fail.
    pub async fn health_checks(&self) -> (BTreeMap<String, Check>, Option<u32>) {
        let leader = match self.leader() {
            Some(leader) => Check { ok: true, message: format!("{} leads in term {}", leader.name, leader.term) },
            None => Check { ok: false, message: self.no_leader_reason() },
        };
        let disk = self.storage.disk();
        let disk = match (&disk.failed, disk.stalled, disk.full) {
            (Some(why), ..) => Check { ok: false, message: format!("{why}; restart the node once the disk is sound") },
            (None, Some(since), _) => {
                let seconds = since.as_secs();
                let what = format!(
                    "the disk has not answered for {seconds} s; this node neither leads nor acknowledges until it does, by itself"
                );
                Check { ok: false, message: what }
            }
            (None, None, true) => {
                Check { ok: false, message: "the disk is full; reads go on, writes resume with room".to_owned() }
            }
            (None, None, false) => Check { ok: true, message: format!("{} MiB are free", disk.free_bytes >> 20) },
        };
        let cluster = match (self.trouble(), self.registries.get().and_then(|picture| picture.borrow().trouble())) {
            (Some(trouble), _) => Check { ok: false, message: trouble },
            (None, Some(trouble)) => Check { ok: false, message: trouble },
            (None, None) => match self.replication.cluster_id() {
                Some(id) => Check { ok: true, message: format!("part of cluster {id}") },
                None => Check { ok: false, message: "not part of a cluster yet".to_owned() },
            },
        };
        let checks = [("leader", leader), ("disk", disk), ("cluster", cluster)];
        let tolerated = u32::try_from(self.replication.failures_tolerated()).unwrap_or(u32::MAX);
        (checks.map(|(name, check)| (name.to_owned(), check)).into(), Some(tolerated))
    }

    /// Adds the figures of replication, gossip and disk to `/metrics`.
    pub async fn collect(&self, into: &mut Text) {
        let figures = self.replication.figures();
        let leads = figures.role == Some(EngineRole::Leader);
        into.single("muster_raft_term", Kind::Gauge, "The term.", figures.term);
        into.single("muster_raft_leader", Kind::Gauge, "Whether this node leads.", u8::from(leads));
        into.single("muster_raft_last_log_index", Kind::Gauge, "Last entry in the log.", figures.last_log_index);
        into.single("muster_raft_committed_index", Kind::Gauge, "Last committed entry.", figures.committed_index);
        into.single("muster_raft_applied_index", Kind::Gauge, "Last entry applied here.", figures.applied_index);
        into.single(
            "muster_raft_snapshot_index",
            Kind::Gauge,
            "Last entry that the last snapshot covers.",
            figures.snapshot_index,
        );
        into.single(
            "muster_raft_purged_index",
            Kind::Gauge,
            "Last entry that the log holds no more: a replica that lacks it is sent a snapshot.",
            figures.purged_index,
        );
        into.single("muster_revision", Kind::Gauge, "Revision applied here.", self.keyspace.revision());
        into.single(
            "muster_failures_tolerated",
            Kind::Gauge,
            "Voters that may yet fail.",
            self.replication.failures_tolerated(),
        );
        into.family("muster_replica_lag_entries", Kind::Gauge, "Entries a replica is behind; on the leader.");
        for (id, matched) in self.replication.matched() {
            let lag = figures.last_log_index.saturating_sub(matched.unwrap_or(0));
            into.sample("muster_replica_lag_entries", &[("member", &id.to_string())], lag);
        }
        let disk = self.storage.disk();
        into.single("muster_disk_log_bytes", Kind::Gauge, "Bytes that the log takes.", disk.log_bytes);
        into.single("muster_disk_state_bytes", Kind::Gauge, "Bytes that the state takes.", disk.state_bytes);
        into.single("muster_disk_free_bytes", Kind::Gauge, "Bytes left on the file system.", disk.free_bytes);
        into.single(
            "muster_disk_full",
            Kind::Gauge,
            "Whether writes are refused for want of room.",
            u8::from(disk.full),
        );
        into.single(
            "muster_disk_stalled_seconds",
            Kind::Gauge,
            "For how long the disk has not answered at all; 0: it answers.",
            disk.stalled.map_or(0.0, |since| since.as_secs_f64()),
        );
        into.family("muster_disk_sync_seconds", Kind::Gauge, "Percentiles of the last log syncs.");
        for (quantile, sync) in [("0.5", disk.sync_p50), ("0.99", disk.sync_p99)] {
            into.sample("muster_disk_sync_seconds", &[("quantile", quantile)], sync.as_secs_f64());
        }
        self.collect_gossip(into).await;
    }

    async fn collect_gossip(&self, into: &mut Text) {
        into.family("muster_members", Kind::Gauge, "Members as gossip sees them.");
        let roster = self.roster.borrow().clone();
        for (state, label) in [
            (swim::MemberState::Alive, "alive"),
            (swim::MemberState::Suspect, "suspect"),
            (swim::MemberState::Failed, "failed"),
            (swim::MemberState::Left, "left"),
        ] {
            let count = roster.members.values().filter(|entry| entry.state == state).count();
            into.sample("muster_members", &[("state", label)], count);
        }
        let Some(cluster) = self.gossip.get() else { return };
        if let Ok(metrics) = cluster.metrics().await {
            crate::gossip::collect(&metrics, into);
        }
        if let Ok(report) = cluster.report().await {
            crate::gossip::collect_report(&report, into);
        }
    }
}

async fn within(timeout: Duration, done: impl Future<Output = Result<(), AdminFailure>>) -> Result<(), AdminError> {
    let late = || AdminError::Timeout {
        reason: format!("not done within {timeout:?}; look at the members before you ask again"),
    };
    tokio::time::timeout(timeout, done).await.map_err(|_| late())?.map_err(AdminError::from)
}

fn state_of(state: swim::MemberState) -> MemberState {
    match state {
        swim::MemberState::Alive => MemberState::Alive,
        swim::MemberState::Suspect => MemberState::Suspect,
        swim::MemberState::Failed => MemberState::Failed,
        swim::MemberState::Left => MemberState::Left,
    }
}

/// Milliseconds with three digits behind the point, as far as binary fractions can.
fn to_the_microsecond(duration: Duration) -> f64 {
    // Exact below 2^53 microseconds, some 285 years.
    duration.as_micros() as f64 / 1_000.0
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
