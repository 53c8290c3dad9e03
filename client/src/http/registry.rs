//! A client of one registry: for nodes, which register there, and for clients, which look for nodes.
//!
//! It asks once and does not retry: who uses it has several registries or a rhythm of its own.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::builder::endpoint;
use super::error::{Error, Tried};
use super::routes::Endpoint;
use super::target::Target;
use super::transport::{Answer, Limits, Request, Transport};
use crate::api::health::Health;
use crate::api::registry::{
    Clusters, Forgotten, Founding, FoundingConflict, Node, Nodes, Registered, Registration, Seed, Seeds, Standing,
};
use crate::api::{ErrorCode, Outcome};

/// 1 s to connect, and for an answer: a registry answers from memory, or after one sync of a disk. A node renews three
/// times in a lease of 5 s, so that it can lose one.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A registry.
#[derive(Debug, Clone)]
pub struct Registry {
    endpoint: Endpoint,
    transport: Transport,
    timeout: Duration,
}

/// What came of recording a founding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It stands, on the registry's disk.
    Yes,
    /// Something else does; `None`: several ids do, and none is picked.
    No(Option<Standing>),
}

impl Registry {
    /// A registry at `http://host:port`. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self { endpoint: endpoint(url)?, transport: Transport::new(TIMEOUT)?, timeout: TIMEOUT })
    }

    /// The same connections as a client's.
    pub(super) fn over(endpoint: Endpoint, transport: Transport) -> Self {
        Self { endpoint, transport, timeout: TIMEOUT }
    }

    /// How long a call may take; 1 s when not given: a registry answers from memory, or after one sync of a disk.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Registers a node or renews its lease.
    pub async fn register(&self, id: Uuid, registration: &Registration) -> Result<Registered, Error> {
        self.ask(Request::change(Method::PUT, format!("/nodes/{id}"), registration)?).await
    }

    /// Forgets a node; says whether it was there.
    pub async fn forget(&self, id: Uuid) -> Result<bool, Error> {
        self.delete(format!("/nodes/{id}")).await
    }

    /// Every node that is registered under a cluster's name.
    pub async fn nodes(&self, cluster: &str) -> Result<Vec<Node>, Error> {
        let target = Target::new("/nodes").query("cluster", cluster);
        let Nodes { nodes } = self.ask(Request::get(target.into_string())).await?;
        Ok(nodes)
    }

    /// Some live nodes to start from, in random order, members of a cluster first.
    pub async fn seeds(&self, cluster: &str, limit: usize) -> Result<Vec<Seed>, Error> {
        let target = Target::new("/seeds").query("cluster", cluster).query("limit", limit);
        let Seeds { seeds } = self.ask(Request::get(target.into_string())).await?;
        Ok(seeds)
    }

    /// What is recorded of each cluster.
    pub async fn clusters(&self) -> Result<Clusters, Error> {
        self.ask(Request::get("/clusters".to_owned())).await
    }

    /// Records who founded a cluster, unless something else stands already. Safe to send again.
    pub async fn record(&self, cluster: &str, founding: &Founding) -> Result<Recorded, Error> {
        let target = Target::new("/clusters").segment(cluster).into_string();
        let answer = self.send(&Request::change(Method::PUT, target, founding)?).await?;
        if answer.status == StatusCode::CONFLICT
            && let Ok(conflict) = answer.json::<FoundingConflict>(true)
        {
            return Ok(Recorded::No(conflict.standing));
        }
        if answer.status.is_success() { Ok(Recorded::Yes) } else { Err(answer.into_error(true)) }
    }

    /// Forgets a founding, deliberately: the name is free for a new cluster then. Says whether there was one.
    pub async fn forget_cluster(&self, cluster: &str) -> Result<bool, Error> {
        self.delete(Target::new("/clusters").segment(cluster).into_string()).await
    }

    /// Takes a founding back, if it is this cluster's that is recorded: for a founder that was never confirmed. Says
    /// whether it was there.
    pub async fn release(&self, cluster: &str, cluster_id: Uuid) -> Result<bool, Error> {
        let target = Target::new("/clusters").segment(cluster).query("cluster_id", cluster_id);
        match self.delete(target.into_string()).await {
            Err(error) if error.code() == Some(ErrorCode::Conflict) => Ok(false),
            answer => answer,
        }
    }

    /// Whether it is ready, check by check.
    pub async fn readiness(&self) -> Result<Health, Error> {
        self.send(&Request::get("/readyz".to_owned())).await?.json(false)
    }

    async fn delete(&self, target: String) -> Result<bool, Error> {
        let request = Request { method: Method::DELETE, writes: true, ..Request::get(target) };
        Ok(self.ask::<Forgotten>(request).await?.existed)
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        let answer = self.send(&request).await?;
        if answer.status.is_success() { answer.json(request.writes) } else { Err(answer.into_error(request.writes)) }
    }

    async fn send(&self, request: &Request) -> Result<Answer, Error> {
        let limits = Limits { begin: self.timeout, end: self.timeout };
        self.transport.send(&self.endpoint, request, limits).await.map_err(|lost| Error::NoAnswer {
            outcome: if request.writes && !lost.unsent { Outcome::Unknown } else { Outcome::NotApplied },
            tried: vec![Tried { endpoint: self.endpoint.to_string(), reason: lost.reason }],
        })
    }
}
