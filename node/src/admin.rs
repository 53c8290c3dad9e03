//! What HTTP asks and tells the cluster: the members and the leader as gossip has them. The data is each node's own, in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_client::api::cluster::{Config, Disk, Leader, Member, MemberState, Members, Replica, Role, State, Status};
use muster_client::api::health::Check;
use muster_client::api::quantity::Span;
use muster_cluster::runtime::Cluster;
use muster_cluster::swim;
use tokio::sync::{OnceCell, watch};
use uuid::Uuid;

use crate::election::Lead;
use crate::keyspace::{Keyspace, WriteError};
use crate::kv::{Freshness, Operation, Write};
use crate::metrics::Text;
use crate::roster::Roster;

/// The cluster as this node sees it, and what can be done to it.
#[derive(Debug)]
pub struct Admin {
    id: Uuid,
    name: String,
    http: SocketAddr,
    keyspace: Arc<Keyspace>,
    config: Mutex<Config>,
    roster: watch::Receiver<Arc<Roster>>,
    lead: watch::Receiver<Lead>,
    cluster: Arc<OnceCell<Cluster>>,
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
    /// Retry when somebody leads.
    #[error("nobody leads: {reason}; nothing was changed")]
    NoLeader {
        /// Why, for people.
        reason: String,
    },
    /// Send it to the leader.
    #[error("this node does not lead; nothing was changed, send it to the leader")]
    NotLeader {
        /// The leader's client port.
        leader: Option<String>,
    },
    /// It may have been done, or may yet be: look before you ask again.
    #[error("no answer in time; whether it was done is unknown")]
    Timeout,
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

impl Admin {
    /// Of the node `id`, which hears of the others through these.
    pub fn new(
        (id, name, http): (Uuid, String, SocketAddr),
        config: Config,
        keyspace: Arc<Keyspace>,
        roster: watch::Receiver<Arc<Roster>>,
        lead: watch::Receiver<Lead>,
        cluster: Arc<OnceCell<Cluster>>,
    ) -> Self {
        Self { id, name, http, keyspace, config: Mutex::new(config), roster, lead, cluster }
    }

    /// Who is there.
    pub fn members(&self) -> Members {
        let roster = self.roster.borrow().clone();
        let leader = self.lead.borrow().leader;
        let now = self.cluster.get().map(Cluster::now);
        let members = roster.members.iter().map(|(id, entry)| {
            let heard = entry.last_heard.zip(now).map(|(heard, now)| now.saturating_since(heard));
            let heard = if *id == self.id { Some(Duration::ZERO) } else { heard };
            Member {
                id: *id,
                name: entry.card.name.clone(),
                http: entry.card.http.clone(),
                peer: entry.peer.to_string(),
                state: match entry.state {
                    swim::MemberState::Alive => MemberState::Alive,
                    swim::MemberState::Suspect => MemberState::Suspect,
                    swim::MemberState::Failed => MemberState::Failed,
                    swim::MemberState::Left => MemberState::Left,
                },
                incarnation: entry.incarnation,
                role: (leader == Some(*id)).then_some(Role::Leader),
                priority: entry.card.priority,
                last_seen_ms: heard.map(|heard| u64::try_from(heard.as_millis()).unwrap_or(u64::MAX)),
            }
        });
        Members { cluster_id: None, local: self.id, leader, members: members.collect() }
    }

    /// The LWW element set.
    pub async fn state(&self) -> Result<State, AdminError> {
        let not_ready = |reason: &str| AdminError::NotReady { reason: reason.to_owned() };
        let cluster = self.cluster.get().ok_or_else(|| not_ready("gossip does not run yet"))?;
        let state = cluster.state().await.map_err(|_| not_ready("gossip has stopped"))?;
        let add_set = state.add_set.iter().map(|(id, (address, stamp))| (format!("{id}={address}"), stamp.to_bits()));
        let remove_set = state.remove_set.iter().map(|(id, (address, stamp))| {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            (format!("{id}={address}"), stamp.to_bits())
        });
        Ok(State { add_set: add_set.collect(), remove_set: remove_set.collect() })
    }

    /// Who leads, as this node knows it.
    pub fn leader(&self) -> Option<Leader> {
        let lead = *self.lead.borrow();
        let id = lead.leader?;
        let roster = self.roster.borrow();
        let card = roster.members.get(&id).map(|entry| entry.card.clone());
        let (name, http) = match card {
            Some(card) => (card.name, card.http),
            None if id == self.id => (self.name.clone(), self.http.to_string()),
            None => (String::new(), String::new()),
        };
        Some(Leader { id, name, http, term: lead.term })
    }

    /// When nobody leads, why; for people.
    pub fn no_leader_reason(&self) -> String {
        match self.cluster.get() {
            Some(_) => "the members are choosing one".to_owned(),
            None => "gossip does not run yet; this node waits for a registry to learn its own address".to_owned(),
        }
    }

    /// This node. Its data is its own: there is no log, and no other copy.
    pub async fn status(&self) -> Status {
        let reading = self.keyspace.get("-", Freshness::default(), Duration::ZERO).await;
        let revision = reading.map_or(0, |reading| reading.revision);
        let lead = *self.lead.borrow();
        let own = Replica {
            id: self.id,
            name: self.name.clone(),
            matched_index: Some(revision),
            lag: Some(0),
            state: Some(MemberState::Alive),
            snapshot_percent: None,
        };
        Status {
            id: self.id,
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: None,
            role: (lead.leader == Some(self.id)).then_some(Role::Leader),
            term: lead.term,
            leader: lead.leader,
            leader_since_ms: lead.leader.map(|_| lead.since.elapsed().as_millis() as u64),
            no_leader_reason: lead.leader.is_none().then(|| self.no_leader_reason()),
            last_log_index: revision,
            committed_index: revision,
            applied_index: revision,
            revision,
            voters: vec![own],
            learners: Vec::new(),
            failures_tolerated: 0,
            disk: Disk::default(),
            network: Vec::new(),
        }
    }

    /// The configuration: this node's own, as its data is.
    pub async fn config(&self) -> Result<Config, AdminError> {
        Ok(self.lock().clone())
    }

    /// Sets a value of the replicated configuration and returns all of it.
    pub async fn set_config(&self, name: &str, value: &str, timeout: Duration) -> Result<Config, AdminError> {
        let mut changed = self.lock().clone();
        let invalid = |reason: String| AdminError::Invalid { reason: format!("{name}: {reason}") };
        match name {
            "voters" => {
                let voters: std::num::NonZeroU32 =
                    value.parse().map_err(|_| invalid(format!("`{value}` cannot be; write a whole number from 1")))?;
                changed.voters = voters.get();
            }
            "replace_after" => {
                let span: Span = value.parse().map_err(|error| invalid(format!("{error}")))?;
                changed.replace_after = span.to_string();
            }
            _ => {
                let reason = format!("there is no value `{name}`; there are voters and replace_after");
                return Err(AdminError::NotFound { reason });
            }
        }
        let operation = Operation::Configure { name: name.to_owned(), value: value.to_owned() };
        self.keyspace.write(Write { operation, idempotency: None }, timeout).await?;
        *self.lock() = changed.clone();
        Ok(changed)
    }

    /// Makes another member lead. Not in this release.
    pub async fn transfer(&self, _to: Option<Uuid>, _timeout: Duration) -> Result<Leader, AdminError> {
        Err(AdminError::Conflict { reason: "this release hands nothing over on request; stop the leader".to_owned() })
    }

    /// Takes a live member out for good. Not in this release.
    pub async fn leave(&self, _id: Uuid, _timeout: Duration) -> Result<(), AdminError> {
        Err(AdminError::Conflict { reason: "no node holds another's data yet; to take it out, stop it".to_owned() })
    }

    /// Takes a dead member out for good. Not in this release.
    pub async fn remove(&self, _id: Uuid, _timeout: Duration) -> Result<(), AdminError> {
        Err(AdminError::Conflict { reason: "gossip forgets the dead by itself, a day after".to_owned() })
    }

    /// What `/readyz` says, and how many more nodes may fail without loss of data: none.
    pub async fn health_checks(&self) -> (BTreeMap<String, Check>, Option<u32>) {
        let check = match self.leader() {
            Some(leader) if leader.id == self.id => Check { ok: true, message: "this node leads".to_owned() },
            Some(leader) => Check { ok: true, message: format!("{} leads", leader.name) },
            None => Check { ok: false, message: format!("nobody leads: {}", self.no_leader_reason()) },
        };
        (BTreeMap::from([("leader".to_owned(), check)]), Some(0))
    }

    /// Adds the figures of replication, gossip and disk to `/metrics`; there are none yet.
    pub fn collect(&self, _into: &mut Text) {}

    fn lock(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
