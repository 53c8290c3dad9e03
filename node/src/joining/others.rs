//! Whom else there may be: seeds to start from, members to remember, and what the replication is told of both.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use muster_client::api::registry::Seed;
use muster_cluster::runtime::{Cluster, View};
use muster_cluster::swim::MemberState;
use tokio::sync::watch;
use tokio::time::sleep;
use uuid::Uuid;

use super::Joining;
use crate::discovery::Picture;
use crate::replication::{Others, Registries};

/// Members that are remembered for a start without a registry: enough that one of them is alive.
const REMEMBERED: usize = 32;
/// How soon members that could not be kept are tried again: a disk may be full for long, and the next start is not now.
const AGAIN: Duration = Duration::from_secs(5);

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
        let remembered = self.remembered().await;
        let keep = |peers| self.with_identity(move |identity| identity.keep_peers(peers));
        keep_newest(cluster.members(), live_peers, remembered, keep).await;
    }

    async fn remembered(&self) -> Vec<String> {
        self.with_identity(|identity| identity.peers().to_vec()).await
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
        let mut remembered = self.remembered().await;
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

fn live_peers(view: &Arc<View>) -> Vec<String> {
    let others = view.members.iter().filter(|member| member.id != view.local);
    let live = others.filter(|member| member.state == MemberState::Alive);
    live.map(|member| member.address.to_string()).take(REMEMBERED).collect()
}

/// Keeps what the newest view says, and tries again what could not be kept.
async fn keep_newest<V, E: Display, F: Future<Output = Result<(), E>>>(
    mut views: watch::Receiver<V>,
    peers: impl Fn(&V) -> Vec<String>,
    mut kept: Vec<String>,
    keep: impl Fn(Vec<String>) -> F,
) {
    let mut failing = false;
    loop {
        if failing {
            sleep(AGAIN).await;
        } else if views.changed().await.is_err() {
            return;
        }
        let newest = peers(&views.borrow_and_update());
        // Who lost sight of everybody keeps the last that were seen.
        if newest.is_empty() || newest == kept {
            failing = false;
            continue;
        }
        match keep(newest.clone()).await {
            Ok(()) => (kept, failing) = (newest, false),
            Err(error) => {
                if !failing {
                    warn!("the members are not remembered for the next start yet: {error}");
                }
                failing = true;
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn members_that_could_not_be_kept_are_kept_later_and_only_once() {
        let (seen, views) = watch::channel(vec!["a".to_owned()]);
        let (tries, full) = (RefCell::new(Vec::new()), RefCell::new(true));
        let keep = async |peers: Vec<String>| {
            tries.borrow_mut().push((peers.join(","), *full.borrow()));
            if *full.borrow() { Err("no room") } else { Ok(()) }
        };
        let story = async {
            for (peers, is_full) in [("b", true), ("b", false), ("b", false), ("", false), ("c", false)] {
                full.replace(is_full);
                seen.send_replace(peers.split_terminator(',').map(str::to_owned).collect());
                sleep(AGAIN + AGAIN / 2).await;
            }
        };
        tokio::select! {
            () = keep_newest(views, Clone::clone, vec!["a".to_owned()], keep) => {}
            () = story => {}
        }
        let expected = [("b", true), ("b", true), ("b", false), ("c", false)];
        assert_eq!(tries.into_inner(), expected.map(|(peers, full)| (peers.to_owned(), full)));
    }
}
