//! What HTTP asks and tells the cluster. Today: a node alone in memory, which is its own leader and forgets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use muster_client::api::cluster::{Config, Disk, Leader, Member, MemberState, Members, Replica, Role, State, Status};
use muster_client::api::health::Check;
use muster_client::api::quantity::Span;
use uuid::Uuid;

use crate::keyspace::{Keyspace, WriteError};
use crate::kv::{Freshness, Operation, Write};
use crate::metrics::Text;

/// The cluster as this node sees it, and what can be done to it.
#[derive(Debug)]
pub struct Admin {
    keyspace: Arc<Keyspace>,
    own: Member,
    cluster_id: Uuid,
    config: Mutex<Config>,
    since: Instant,
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
    /// A node alone, whose data is in memory.
    pub fn alone(id: Uuid, name: String, http: SocketAddr, config: Config, keyspace: Arc<Keyspace>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = Member {
            id,
            name,
            http: http.to_string(),
            peer: String::new(),
            state: MemberState::Alive,
            incarnation: (now.as_millis() as u64) << 16,
            role: Some(Role::Leader),
            priority: 0,
            last_seen_ms: Some(0),
        };
        Self { keyspace, own, cluster_id: Uuid::new_v4(), config: Mutex::new(config), since: Instant::now() }
    }

    /// Who is there.
    pub fn members(&self) -> Members {
        Members {
            cluster_id: Some(self.cluster_id),
            local: self.own.id,
            leader: Some(self.own.id),
            members: vec![self.own.clone()],
        }
    }

    /// The LWW element set.
    pub fn state(&self) -> State {
        let added = (format!("{}={}", self.own.id, self.own.http), self.own.incarnation);
        State { add_set: BTreeMap::from([added]), remove_set: BTreeMap::new() }
    }

    /// Who leads, as this node knows it.
    pub fn leader(&self) -> Option<Leader> {
        let Member { id, name, http, .. } = self.own.clone();
        Some(Leader { id, name, http, term: 1 })
    }

    /// When nobody leads, why; for people.
    pub fn no_leader_reason(&self) -> String {
        "the leader is not known yet".to_owned()
    }

    /// This node.
    pub async fn status(&self) -> Status {
        let reading = self.keyspace.get("-", Freshness::default(), Duration::ZERO).await;
        let revision = reading.map_or(0, |reading| reading.revision);
        let own = Replica {
            id: self.own.id,
            name: self.own.name.clone(),
            matched_index: Some(revision),
            lag: Some(0),
            state: Some(MemberState::Alive),
            snapshot_percent: None,
        };
        Status {
            id: self.own.id,
            name: self.own.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: Some(self.cluster_id),
            role: Some(Role::Leader),
            term: 1,
            leader: Some(self.own.id),
            leader_since_ms: Some(self.since.elapsed().as_millis() as u64),
            no_leader_reason: None,
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

    /// The replicated configuration.
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

    /// Makes another voter lead (`None`: whoever is best placed), and returns when it does.
    pub async fn transfer(&self, to: Option<Uuid>, _timeout: Duration) -> Result<Leader, AdminError> {
        match to {
            Some(id) if id != self.own.id => Err(self.no_member(id)),
            Some(_) => self.leader().ok_or(AdminError::Timeout),
            None => Err(AdminError::Conflict { reason: "there is no other voter that could lead".to_owned() }),
        }
    }

    /// Takes a live member out for good.
    pub async fn leave(&self, id: Uuid, _timeout: Duration) -> Result<(), AdminError> {
        if id != self.own.id {
            return Err(self.no_member(id));
        }
        let reason = "this is the only voter: without it there is no majority. Stop the node instead".to_owned();
        Err(AdminError::Conflict { reason })
    }

    /// Takes a dead member out for good.
    pub async fn remove(&self, id: Uuid, _timeout: Duration) -> Result<(), AdminError> {
        if id != self.own.id {
            return Err(self.no_member(id));
        }
        Err(AdminError::Conflict { reason: "this member is alive; `leave` takes out a live one".to_owned() })
    }

    /// What `/readyz` says, and how many more voters may fail.
    pub async fn health_checks(&self) -> (BTreeMap<String, Check>, Option<u32>) {
        let leader = Check { ok: true, message: "this node leads".to_owned() };
        (BTreeMap::from([("leader".to_owned(), leader)]), Some(0))
    }

    /// Adds the figures of replication, gossip and disk to `/metrics`.
    pub fn collect(&self, _into: &mut Text) {}

    fn no_member(&self, id: Uuid) -> AdminError {
        AdminError::NotFound { reason: format!("there is no member {id}") }
    }

    fn lock(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
