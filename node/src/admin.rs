//! What HTTP asks and tells the cluster. Today: a node alone, which is its own leader.

use std::collections::BTreeMap;

use muster_client::api::health::Check;

/// The cluster as this node sees it, and what can be done to it.
#[derive(Debug, Default)]
pub struct Admin {}

impl Admin {
    /// What `/readyz` says, and how many more voters may fail.
    pub async fn health_checks(&self) -> (BTreeMap<String, Check>, Option<u32>) {
        (BTreeMap::new(), Some(0))
    }
}
