//! What a node asks of others before it votes, and what it concludes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use muster_cluster::swim::MemberState;
use uuid::Uuid;

use super::verdict::{Others, Situation, Verdict, goes_on_without, is_removed, judge};
use super::{ANSWER, Objection, locked};
use crate::replication::types::NodeId;
use crate::replication::wire::{Answer, Call, Testimony};
use crate::replication::{Replication, settings};

/// Members that are asked in one round: all voters, and others up to here.
const ASKED: usize = 32;

impl Replication {
    /// One round of questions, and what follows from the answers.
    pub(super) async fn ask_everybody(self: &Arc<Self>, asked: &mut BTreeSet<Uuid>) {
        let answers = self.recall(&self.to_ask()).await;
        asked.extend(answers.keys());
        let objection = self.witness.objection.borrow().clone();
        match objection {
            Some(Objection::OldCopy(_)) => {
                self.give_up_the_lead().await;
                if goes_on_without(self.me(), &answers) {
                    self.witness.replaceable.send_replace(true);
                }
            }
            Some(Objection::Double(_)) => {
                self.give_up_the_lead().await;
                // Both say how far they have come, so that whichever stays learns what it lacks of the other.
                self.claim(asked).await;
            }
            // Another cluster took the place of this one; there is nobody to ask any more.
            Some(Objection::Replaced(_)) => {}
            None if self.witness.is_vouched_for() => {
                // It waits for the membership that others know of.
                if self.may_vote() && !knows_later(&answers, self.membership_index()) {
                    self.allow_voting(true);
                }
            }
            None => self.conclude(&answers),
        }
    }

    fn conclude(&self, answers: &BTreeMap<Uuid, Testimony>) {
        let (voters, membership_index) = (self.voters(), self.membership_index());
        let others = self.witness.others.borrow().clone();
        let situation = Situation {
            me: self.me(),
            held: *locked(&self.witness.held),
            voters: &voters,
            membership_index,
            answers,
            remembers_somebody: others.as_ref().is_some_and(|others| self.remembers_somebody(others)),
            others: others.as_ref(),
            waited: self.witness.started.elapsed(),
        };
        match judge(&situation) {
            Verdict::SetBack(why) => self.note_set_back(&why),
            Verdict::Wait(why) => {
                let mut before = locked(&self.witness.waits_for);
                if *before != why {
                    log::info!("no vote yet: {why}");
                    *before = why;
                }
            }
            Verdict::Vote(note) => {
                if let Some(note) = note {
                    log::warn!("{note}");
                }
                *locked(&self.witness.vouched) = Some(self.own_stamp());
                // The only voter that hears of a later membership may be led by those in it, but does not stand by its own.
                let alone = voters.len() == 1 && voters.contains(&self.me());
                self.allow_voting(!alone || !knows_later(answers, membership_index));
            }
        }
    }

    /// The other voters, and whoever else says that it is part of this cluster.
    fn to_ask(&self) -> Vec<Uuid> {
        let roster = self.roster.borrow().clone();
        let ours = roster.members.iter().filter(|(_, entry)| {
            entry.state.is_live() && entry.card.cluster_id.is_some() && entry.card.cluster_id == self.cluster_id()
        });
        let voters = self.voters();
        let others = ours.map(|(id, _)| *id).filter(|id| !voters.contains(id)).take(ASKED);
        voters.iter().copied().chain(others).filter(|id| *id != self.me()).collect()
    }

    /// What these remember of this node. Those of a release that remembers nothing count as having said so, and as
    /// sure of their own disks, once gossip sees them alive.
    pub(super) async fn recall(&self, ids: &[Uuid]) -> BTreeMap<Uuid, Testimony> {
        let ask = |id: Uuid| async move {
            if !self.remembers(id) {
                let alive = |entry: &crate::roster::Entry| {
                    entry.state == MemberState::Alive && entry.card.cluster_id == self.cluster_id()
                };
                let there = self.roster.borrow().members.get(&id).is_some_and(alive);
                return there.then(|| (id, Testimony { votes: true, vouched: true, ..Testimony::default() }));
            }
            match self.peers.calls(NodeId(id)).call(Call::Recall, ANSWER).await {
                Ok(Answer::Recall(testimony)) => Some((id, testimony)),
                Ok(_) | Err(_) => None,
            }
        };
        join_all(ids.iter().copied().map(ask)).await.into_iter().flatten().collect()
    }

    /// Whether somebody stands at a remembered address who is not known to be a stranger.
    fn remembers_somebody(&self, others: &Others) -> bool {
        let roster = self.roster.borrow().clone();
        let stranger = |address: &String| {
            let there = roster.members.values().find(|entry| entry.peer.to_string() == *address);
            there.is_some_and(|entry| {
                entry.state == MemberState::Alive && entry.card.remembers && entry.card.cluster_id != self.cluster_id()
            })
        };
        others.remembered.iter().any(|address| !stranger(address))
    }

    /// Whether this node was taken out for good, by the word of a majority of the voters: whoever reaches the peer port can say so. Each is asked
    /// where gossip knows it to be.
    pub(in crate::replication) async fn has_been_removed(&self) -> bool {
        if self.is_configured(&settings::removed(self.me())) {
            return true;
        }
        let answers = self.recall(&self.to_ask()).await;
        is_removed(self.me(), &self.voters(), self.membership_index(), &answers)
    }
}

fn knows_later(answers: &BTreeMap<Uuid, Testimony>, membership_index: Option<u64>) -> bool {
    answers.values().any(|testimony| testimony.membership_index > membership_index)
}
