//! Three nodes of Muster and their registry, as the tests start them.

use std::net::SocketAddr;

use muster_e2e::Cluster;
use muster_e2e::drive::requests::Request;

use crate::cell::Operation;
use crate::system::MEMBERS;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Muster {
    cluster: Cluster,
}

impl Muster {
    /// Starts it at default settings and waits until everyone agrees who leads.
    pub(crate) async fn start() -> Self {
        Self { cluster: Cluster::start(MEMBERS).await }
    }

    /// The nodes' processes; the registry has nothing to do meanwhile.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.cluster.nodes.iter().map(|node| node.process.pid()).collect()
    }

    /// The client ports, the leader's first.
    pub(crate) async fn targets(&self) -> Vec<SocketAddr> {
        let all: Vec<usize> = (0..MEMBERS).collect();
        let leader = self.cluster.leader_among(&all).await;
        let mut targets: Vec<SocketAddr> = self.cluster.nodes.iter().map(|node| node.http()).collect();
        targets.swap(0, leader);
        targets
    }

    /// A request as a client writes it.
    pub(crate) fn request(operation: Operation, key: &str, value: &[u8]) -> Request {
        let path = format!("/kv/{key}");
        match operation {
            Operation::Write => Request { method: "PUT", path, body: value.to_vec() },
            Operation::Local => Request { method: "GET", path, body: Vec::new() },
            Operation::Linearizable => {
                Request { method: "GET", path: format!("{path}?consistency=linearizable"), body: Vec::new() }
            }
        }
    }
}
