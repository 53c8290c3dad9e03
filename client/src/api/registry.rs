//! The registry's calls.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Body of `PUT /nodes/{id}`: registers or renews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What people call the node.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// Client port, `host:port`; an unspecified host (`0.0.0.0`, `[::]`) stands for the observed address.
    pub http: String,
    /// Peer port, likewise.
    pub peer: String,
    /// The cluster that the node is part of, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Uuid>,
    /// The host to offer to others instead of the observed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// How many nodes (of this name, without a cluster) the founding waits for, at least 1.
    #[serde(default = "one")]
    pub bootstrap_expect: u32,
}

fn one() -> u32 {
    1
}

/// Answer to a [`Registration`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// How long the registration stands without a renewal, in milliseconds.
    pub lease_ms: u64,
    /// The address that the request came from.
    pub observed_ip: IpAddr,
    /// Some live nodes of the cluster's name to start from, the asker not among them.
    pub seeds: Vec<Seed>,
    /// The cluster that is recorded as founded under this name.
    pub cluster_id: Option<Uuid>,
    /// Whether the asker is offered the founding.
    pub found: bool,
}

/// A node to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Its id.
    pub id: Uuid,
    /// Its client port, `host:port`.
    pub http: String,
    /// Its peer port, `host:port`.
    pub peer: String,
}

/// Answer to `GET /seeds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    /// In random order.
    pub seeds: Vec<Seed>,
}

/// Answer to `GET /nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// In order of their ids.
    pub nodes: Vec<Node>,
}

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Its client port, `host:port`.
    pub http: String,
    /// Its peer port, `host:port`.
    pub peer: String,
    /// The cluster that it is part of.
    pub cluster_id: Option<Uuid>,
    /// The address that its last request came from.
    pub observed_ip: IpAddr,
    /// Milliseconds since it was last heard from.
    pub age_ms: u64,
}

/// Body of `PUT /clusters/{name}`: records who founded, compare-and-set against "nobody yet".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The new cluster's id.
    pub cluster_id: Uuid,
    /// The node that founds it.
    pub founder: Uuid,
}

/// Answer to `GET /clusters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clusters {
    /// In order of their names.
    pub clusters: Vec<Cluster>,
}

/// What is recorded under a cluster's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The name.
    pub name: String,
    /// The recorded founding; absent before one, and while `conflicts` has more than one id and none is recorded.
    #[serde(flatten)]
    pub founding: Option<Founding>,
    /// Every cluster id that registered nodes of this name carry; more than one is a conflict for a person to resolve.
    pub seen: Vec<Uuid>,
}
