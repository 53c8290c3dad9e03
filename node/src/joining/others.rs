//! Whom else there may be: seeds to start from, members to remember, and what the replication is told of both.

use std::collections::BTreeSet;

use log::warn;
use muster_client::api::registry::Seed;
use muster_cluster::runtime::Cluster;
use muster_cluster::swim::MemberState;
use uuid::Uuid;

use super::Joining;
use crate::discovery::Picture;
use crate::replication::{Others, Registries};

/// Members that are remembered for a start without a registry: enough that one of them is alive.
const REMEMBERED: usize = 32;

impl Joining {
    pub(super) fn first_seeds(&self) -> Vec<String> {
        let mut seeds: BTreeSet<String> = self.flags.join.iter().cloned().collect();
        seeds.extend(self.identity().peers().iter().cloned());
        if let Some(discovery) = &self.discovery {
            seeds.extend(discovery.picture().borrow().seeds.iter().map(|seed| seed.peer.clone()));
        }
        seeds.into_iter().collect()
    }

    pub(super) async fn follow_seeds(&self, cluster: &Cluster) {
        let Some(discovery) = &self.discovery else { return };
        let mut picture = discovery.picture();
        loop {
            let seeds: Vec<String> = picture.borrow_and_update().seeds.iter().map(|seed| seed.peer.clone()).collect();
            if let Err(error) = cluster.add_seeds(seeds) {
                warn!("a registry offers a seed that is none: {error}");
            }
            if picture.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps where live members are, for a start when every registry is gone.
    pub(super) async fn remember_peers(&self, cluster: &Cluster) {
        let mut members = cluster.members();
        let mut remembered = self.identity().peers().to_vec();
        while members.changed().await.is_ok() {
            let view = members.borrow_and_update().clone();
            let others = view.members.iter().filter(|member| member.id != view.local);
            let live = others.filter(|member| member.state == MemberState::Alive);
            let peers: Vec<String> = live.map(|member| member.address.to_string()).take(REMEMBERED).collect();
            // Who lost sight of everybody keeps the last that were seen.
            if peers.is_empty() || peers == remembered {
                continue;
            }
            if let Err(error) = self.identity().keep_peers(peers.clone()) {
                warn!("the members are not remembered for the next start: {error}");
            }
            remembered = peers;
        }
    }

    /// Tells the registries whose place this cluster took, as soon as this node knows it.
    pub(super) async fn tell_whose_place_was_taken(&self) {
        let Some(discovery) = &self.discovery else { return };
        let mut configuration = self.replication.configuration();
        let mut told = Vec::new();
        loop {
            configuration.borrow_and_update();
            let replaced = self.replication.replaced();
            if replaced != told {
                discovery.update(|registration| registration.replaces.clone_from(&replaced));
                told = replaced;
            }
            if configuration.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the replication whom else there may be, by what is remembered and what registries say.
    pub(super) async fn tell_others(&self) {
        let mut remembered = self.identity().peers().to_vec();
        remembered.extend(self.flags.join.iter().cloned());
        let tell = |registries| self.replication.tell_others(Others { remembered: remembered.clone(), registries });
        let Some(discovery) = &self.discovery else { return tell(Registries::Unnamed) };
        let mut picture = discovery.picture();
        loop {
            tell(listed(&picture.borrow_and_update(), self.replication.cluster_id()));
            if picture.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What the registries' picture says of other members of this cluster. What is kept of a registry that fell silent is no word of it.
fn listed(picture: &Picture, own: Option<Uuid>) -> Registries {
    let ours = |seed: &Seed| seed.cluster_id.is_some() && seed.cluster_id == own;
    match picture.answering {
        0 => Registries::Silent,
        _ if picture.seeds.iter().any(ours) => Registries::Listed,
        _ => Registries::Nobody,
    }
}
