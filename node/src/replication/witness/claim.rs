//! What a voter says of itself, and takes in from others.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::mark::{Mark, News};
use super::verdict::remembers_more;
use super::{ANSWER, locked, term};
use crate::replication::Replication;
use crate::replication::types::{NodeId, position};
use crate::replication::wire::{Answer, Call, Claim, Testimony};

/// Replicas that a voter tells: all voters, and learners up to here.
const WITNESSES: usize = 16;

impl Replication {
    /// Takes in what another replica says of itself; the answer is whether this node's disk is full.
    pub(in crate::replication) async fn hear_claim(&self, from: Uuid, claim: Claim) -> bool {
        if self.is_replica(from) {
            self.witness.rooms.note(from, claim.full);
            let news = locked(&self.witness.marks).note(from, claim.mark);
            if news != News::None {
                self.witness.unwritten.store(true, Ordering::Release);
            }
            if news == News::Life {
                self.witness.write().await;
            }
        }
        self.storage.log().is_full()
    }

    /// Says how far this node has come, to those that were asked before; asks the others first.
    pub(super) async fn bear_witness(&self, asked: &mut BTreeSet<Uuid>) {
        // A founder was never asked about, and gossip may have begun after the verdict.
        locked(&self.witness.vouched).take_if(|stamp| *stamp == 0);
        locked(&self.witness.vouched).get_or_insert(self.own_stamp());
        let voters = self.voters();
        self.witness.rooms.weigh(self.me(), self.storage.log().is_full(), &voters);
        if !voters.contains(&self.me()) {
            return;
        }
        let strangers: Vec<Uuid> = self.to_tell().into_iter().filter(|id| !asked.contains(id)).collect();
        let answers = self.recall(&strangers).await;
        asked.extend(answers.keys());
        // They never heard a claim of this life. What this life has acknowledged meanwhile is no evidence against it.
        let said = |testimony: &Testimony| Testimony { acknowledged: 0, ..testimony.clone() };
        let held = *locked(&self.witness.held);
        let against = answers.iter().find_map(|(id, testimony)| remembers_more(held, *id, &said(testimony)));
        if let Some(why) = against {
            return self.note_set_back(&why);
        }
        self.claim(asked).await;
    }

    /// Says how far this node has come, to those that were asked before.
    pub(super) async fn claim(&self, asked: &BTreeSet<Uuid>) {
        let Some(mark) = self.on_disk().await else { return };
        let claim = &Claim { mark, full: self.storage.log().is_full() };
        join_all(self.to_tell().into_iter().filter(|id| asked.contains(id)).map(|id| async move {
            let answer = self.peers.calls(NodeId(id)).call(Call::Claim(claim.clone()), ANSWER).await;
            if let Ok(Answer::Claim { full }) = answer {
                self.witness.rooms.note(id, full);
            }
        }))
        .await;
    }

    fn to_tell(&self) -> Vec<Uuid> {
        let replicas = self.voters().into_iter().chain(self.learners());
        replicas.filter(|id| *id != self.me() && self.remembers(*id)).take(WITNESSES).collect()
    }

    /// How far this node has come, all of it synced. `None` while the disk takes nothing.
    async fn on_disk(&self) -> Option<Mark> {
        let stamp = self.own_stamp();
        let log = self.storage.log();
        let applied = self.raft.metrics().borrow_watched().last_applied.map(position);
        let index = applied.min(log.bounds().last).map_or(0, |position| position.index);
        let mark = Mark { stamp, term: term(&self.storage), index };
        let (done, synced) = oneshot::channel();
        log.barrier(Box::new(move |result| {
            let _: Result<_, _> = done.send(result.is_ok());
        }));
        matches!(timeout(ANSWER, synced).await, Ok(Ok(true))).then_some(mark)
    }
}
