//! What a look at the whole cluster brought: each node's and each registry's own words, or why there are none.

use muster_client::api::cluster::{Members, Status};
use muster_client::api::health::Health;
use muster_client::api::registry::{Cluster, Node};

/// Everything that was seen.
pub(super) struct Evidence {
    pub(super) cluster: String,
    pub(super) nodes: Vec<NodeView>,
    pub(super) registries: Vec<RegistryView>,
}

/// What one node said of itself and the others, or why it said nothing.
pub(super) struct NodeView {
    pub(super) address: String,
    pub(super) status: Result<Status, String>,
    pub(super) members: Result<Members, String>,
    pub(super) health: Option<Health>,
}

/// What one registry said, or why it said nothing.
pub(super) struct RegistryView {
    pub(super) address: String,
    pub(super) answer: Result<Registered, String>,
}

/// What a registry knows of the cluster's name.
pub(super) struct Registered {
    pub(super) nodes: Vec<Node>,
    pub(super) cluster: Option<Cluster>,
}
