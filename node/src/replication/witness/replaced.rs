//! Whether another cluster took the place of this node's: after a [recovery](crate::recovery) from one disk, those that were taken for lost may come
//! back with their disks, and must not go on as the old cluster beside the new one.
//!
//! Such a node asks whoever gossip shows of other clusters of its name, before it votes and each second after that. It believes the word of one: what
//! that costs is a vote, no data, and only until the process is started again while nobody says so. A cluster that was not lost at all, and ran
//! when somebody recovered one of its disks by mistake, goes on: only who started after the recovery, or was not vouched for
//! yet, gives way.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use muster_cluster::swim::MemberState;
use muster_cluster::world;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{ANSWER, CLAIM, Objection, locked};
use crate::replication::peers::OpenFailure;
use crate::replication::steward::Configuration;
use crate::replication::types::NodeId;
use crate::replication::wire::CALL_STREAM;
use crate::replication::{Replication, settings};

/// Strangers that are asked in one round: each knows it.
const ASKED: usize = 3;

impl Replication {
    /// Follows the replicated configuration.
    pub fn configuration(&self) -> watch::Receiver<Configuration> {
        self.storage.state().configuration()
    }

    /// The clusters whose place this one took, as far as this node has applied.
    pub fn replaced(&self) -> Vec<Uuid> {
        self.configuration().borrow().keys().filter_map(|name| settings::read_replaced(name)).collect()
    }

    /// How many seconds ago this cluster took the place of that one, if it did.
    pub(in crate::replication) fn replaced_ago(&self, cluster: Uuid) -> Option<u64> {
        let configuration = self.configuration();
        let configuration = configuration.borrow();
        let note = configuration.get(&settings::replaced(cluster))?;
        // Began, revision, index.
        let began = note.split(' ').next().and_then(|began| began.parse().ok()).unwrap_or(u64::MAX);
        Some(world::wall_clock().as_secs().saturating_sub(began))
    }

    /// Asks nodes of other clusters whether theirs took the place of this one.
    pub(super) async fn ask_strangers(&self) {
        let strangers = self.strangers();
        if strangers.is_empty() {
            return;
        }
        {
            let mut asked = locked(&self.witness.strangers);
            let lately = |(at, whom): &(Instant, BTreeSet<Uuid>)| at.elapsed() < CLAIM && *whom == strangers;
            if asked.as_ref().is_some_and(lately) {
                return;
            }
            *asked = Some((Instant::now(), strangers.clone()));
        }
        let ask = |id: Uuid| timeout(ANSWER, self.peers.open(NodeId(id), CALL_STREAM));
        for answer in join_all(strangers.into_iter().map(ask)).await {
            if let Ok(Err(OpenFailure::Replaced { by, ago })) = answer {
                self.note_replaced(by, Duration::from_secs(ago));
            }
        }
    }

    fn strangers(&self) -> BTreeSet<Uuid> {
        let roster = self.roster.borrow();
        let strange = roster.members.iter().filter(|(_, entry)| {
            entry.state == MemberState::Alive && entry.card.remembers && entry.card.is_of_another(self.cluster_id())
        });
        strange.map(|(id, _)| *id).take(ASKED).collect()
    }

    fn note_replaced(&self, by: Uuid, ago: Duration) {
        let own = self.cluster_id().unwrap_or_default();
        let what = format!("cluster {by} took the place of this node's cluster {own} in a recovery from one disk");
        let gives_way = !self.witness.is_vouched_for() || self.witness.started.elapsed() < ago;
        if !gives_way {
            if !self.witness.defied.swap(true, Ordering::Relaxed) {
                log::error!(
                    "{what}, while this node was running: both go on, each by itself. Stop the nodes of one of the two"
                );
            }
            return;
        }
        let news = self.witness.objection.send_if_modified(|before| {
            let news = !matches!(before, Some(Objection::Replaced(_)));
            if news {
                *before = Some(Objection::Replaced(what.clone()));
            }
            news
        });
        if news {
            log::error!("{}", Objection::Replaced(what));
        }
        self.forbid_voting();
    }
}
