//! Voters bear witness for each other: each remembers, on its own disk, how far the others had come, so that a node which starts from
//! an old copy of its disk is told so before it votes, acknowledges or leads.
//!
//! ```text
//!   starting:  Recall ---> every member that is reached     "what do you remember of me?"
//!                     <--- Testimony                        verdict: wait, vote, or an old copy
//!   voting:    Claim ----> every other replica, each second "this is on my disk"; kept in the file `witness` there
//! ```
//!
//! A claim says only what was synced before: the life's stamp, the term of the vote, the last committed entry. None of these goes back on a disk that is
//! whole. A node asks each member before it makes its first claim there, so no answer speaks of the life that asks.

mod mark;
mod room;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_cluster::swim::MemberState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::Replication;
use super::types::{NodeId, Vote, position};
use super::wire::{Answer, Call, Claim, Testimony};
use crate::storage::Storage;
use mark::{Marks, News};
use verdict::{Situation, Verdict, goes_on_without, is_removed, judge, remembers_more};

pub(super) use mark::Mark;
pub(super) use room::Rooms;
pub use verdict::{Others, Registries};

/// How often a node asks until it may vote.
const ASK: Duration = Duration::from_millis(100);
/// Who has not answered by then is not waited for in this round: a peer that is there takes a round trip.
const ANSWER: Duration = Duration::from_millis(500);
/// How often a voter says how far it has come: what a copy of a disk may miss without being noticed after everybody was restarted.
const CLAIM: Duration = Duration::from_secs(1);
/// A memory that only grew by some entries is written at most this often: each costs a sync beside those of the log.
const WRITE: Duration = Duration::from_secs(5);
/// Replicas that a voter tells: all voters, and learners up to here.
const WITNESSES: usize = 16;
/// Members that are asked in one round: all voters, and others up to here.
const ASKED: usize = 32;

/// What this node knows of its own disk, and remembers of others.
pub(super) struct Witness {
    started: Instant,
    /// What the disk held when the process started.
    held: Mark,
    marks: Mutex<Marks>,
    /// The memory has changed since it was written.
    unwritten: AtomicBool,
    /// One writer at a time: two would write into one file, and the older of two images might come last.
    writing: tokio::sync::Mutex<()>,
    others: watch::Sender<Option<Others>>,
    waits_for: Mutex<String>,
    /// The verdict was to vote.
    vouched: AtomicBool,
    /// Two live copies of this node were seen, and both still are.
    doubled: AtomicBool,
    set_back: watch::Sender<Option<String>>,
    /// It was set back, and another node leads without it: it may begin anew.
    replaceable: watch::Sender<bool>,
    pub(super) rooms: Arc<Rooms>,
}

impl Witness {
    /// Of a node whose engine has not started yet.
    pub(super) fn new(dir: &Path, storage: &Storage, stamp: u64) -> Self {
        let last = storage.log().bounds().last.map_or(0, |last| last.index);
        let applied = storage.state().progress().borrow().applied.map_or(0, |applied| applied.index);
        let held = Mark { stamp, term: term(storage), index: last.max(applied) };
        Self {
            started: Instant::now(),
            held,
            marks: Mutex::new(Marks::open(dir)),
            unwritten: AtomicBool::new(false),
            others: watch::channel(None).0,
            waits_for: Mutex::new("this node has just started".to_owned()),
            vouched: AtomicBool::new(false),
            doubled: AtomicBool::new(false),
            writing: tokio::sync::Mutex::default(),
            set_back: watch::channel(None).0,
            replaceable: watch::channel(false).0,
            rooms: Arc::default(),
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits_for(&self) -> MutexGuard<'_, String> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_set_back(&self) -> bool {
        self.set_back.borrow().is_some()
    }

    pub(super) fn set_doubled(&self, doubled: bool) {
        self.doubled.store(doubled, Ordering::Release);
    }

    /// Neither an old copy nor doubled, as far as is known.
    pub(super) fn nothing_against(&self) -> bool {
        !self.is_set_back() && !self.doubled.load(Ordering::Acquire)
    }

    /// Writes what is remembered, off the tasks. On the disk when it returns, unless that fails.
    async fn write(&self) {
        let _alone = self.writing.lock().await;
        if !self.unwritten.swap(false, Ordering::AcqRel) {
            return;
        }
        let (path, bytes) = self.marks().image();
        let written = tokio::task::spawn_blocking(move || mark::write(&path, &bytes)).await;
        if let Err(error) = written.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            self.unwritten.store(true, Ordering::Release);
            log::warn!("what this node knows of the other voters is not on its disk yet: {error}");
        }
    }
}

fn knows_later(answers: &BTreeMap<Uuid, Testimony>, membership_index: Option<u64>) -> bool {
    answers.values().any(|testimony| testimony.membership_index > membership_index)
}

/// The term of the vote on the disk.
fn term(storage: &Storage) -> u64 {
    let vote = storage.log().vote().and_then(|vote| postcard::from_bytes::<Vote>(&vote).ok());
    vote.map_or(0, |vote| vote.leader_id.term)
}

/// Runs until the node stops.
pub(super) async fn run(replication: Weak<Replication>) {
    let mut asked = BTreeSet::new();
    let mut written = Instant::now();
    loop {
        let Some(this) = replication.upgrade() else { return };
        let witness = &this.witness;
        if this.cluster_id().is_some() {
            if this.may_stand() {
                this.bear_witness(&mut asked).await;
            } else {
                this.ask_everybody(&mut asked).await;
            }
        }
        if written.elapsed() >= WRITE {
            written = Instant::now();
            witness.write().await;
        }
        let settled = this.may_stand();
        let (mut roster, mut joined) = (this.roster.clone(), this.joined());
        drop(this);
        if settled {
            tokio::time::sleep(CLAIM).await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(ASK) => {}
            _ = roster.changed() => {}
            _ = joined.changed() => {}
        }
    }
}

impl Replication {
    /// What this node was told of other members; before it is, the only voter of a cluster does not vote.
    pub fn tell_others(&self, others: Others) {
        self.witness.others.send_replace(Some(others));
    }

    /// This disk is an old copy. The node votes and acknowledges no more.
    pub fn note_set_back(&self, why: &str) {
        let news = self.witness.set_back.send_if_modified(|before| {
            let news = before.is_none();
            before.get_or_insert_with(|| why.to_owned());
            news
        });
        if news {
            log::error!(
                "the data dir is an old copy: {why}. This node votes no more; once another one leads it sets the old data aside and comes back \
                 as a new one. If the whole cluster was set back on purpose, stop all its nodes, delete the file `witness` in each data \
                 dir, and start them"
            );
        }
        self.forbid_voting();
    }

    /// Becomes something when this disk turns out as an old copy: how that is known.
    pub fn set_back(&self) -> watch::Receiver<Option<String>> {
        self.witness.set_back.subscribe()
    }

    /// Becomes true when this disk is an old copy and the cluster has a leader without it: the data can be set aside.
    pub fn replaceable(&self) -> watch::Receiver<bool> {
        self.witness.replaceable.subscribe()
    }

    /// Whether others have vouched for this disk since the start, and nobody has spoken against it.
    pub fn is_vouched_for(&self) -> bool {
        self.witness.vouched.load(Ordering::Relaxed) && !self.witness.is_set_back()
    }

    /// Why this node does not vote, for people.
    pub(super) fn why_no_vote(&self) -> String {
        match &*self.witness.set_back.borrow() {
            Some(why) => format!("this node's data dir is an old copy: {why}"),
            None => self.witness.waits_for().clone(),
        }
    }

    fn may_stand(&self) -> bool {
        *self.may_stand.borrow()
    }

    /// What to answer to a node that asks what is remembered of it.
    pub(super) fn testify(&self, of: Uuid) -> Testimony {
        let metrics = self.raft.server_metrics();
        let (membership_index, voters) = {
            let metrics = metrics.borrow_watched();
            let membership = &metrics.membership_config;
            let voters: Vec<Uuid> = membership.membership().voter_ids().map(Uuid::from).collect();
            (membership.log_id().map(|id| id.index), voters)
        };
        // Of what a follower has acknowledged, what is committed is never cut off.
        let matched = self.matched().get(&of).copied().flatten().unwrap_or(0);
        Testimony {
            mark: self.witness.marks().get(of),
            acknowledged: matched.min(self.figures().committed_index),
            votes: voters.contains(&self.me()) && self.witness.nothing_against(),
            leads: self.leader() == Some(self.me()),
            membership_index,
            voters,
            removed: self.is_configured(&super::settings::removed(of)),
        }
    }

    /// Takes in what another replica says of itself; the answer is whether this node's disk is full.
    pub(super) async fn hear_claim(&self, from: Uuid, claim: Claim) -> bool {
        if self.is_replica(from) {
            self.witness.rooms.note(from, claim.full);
            let news = self.witness.marks().note(from, claim.mark);
            if news != News::None {
                self.witness.unwritten.store(true, Ordering::Release);
            }
            if news == News::Life {
                self.witness.write().await;
            }
        }
        self.storage.log().is_full()
    }

    pub(super) fn is_replica(&self, id: Uuid) -> bool {
        self.raft.server_metrics().borrow_watched().membership_config.membership().get_node(&NodeId(id)).is_some()
    }

    /// One round of questions, and what follows from the answers.
    async fn ask_everybody(&self, asked: &mut BTreeSet<Uuid>) {
        let answers = self.recall(&self.to_ask()).await;
        asked.extend(answers.keys());
        if self.witness.is_set_back() {
            if goes_on_without(self.me(), &answers) {
                self.witness.replaceable.send_replace(true);
            }
            return;
        }
        let (voters, membership_index) = (self.voters(), self.membership_index());
        if self.witness.vouched.load(Ordering::Relaxed) {
            // A double keeps it from voting, or it waits for the membership that others know of.
            if self.may_vote() && !knows_later(&answers, membership_index) {
                self.allow_voting(true);
            }
            return;
        }
        let others = self.witness.others.borrow().clone();
        let situation = Situation {
            me: self.me(),
            held: self.witness.held,
            voters: &voters,
            membership_index,
            answers: &answers,
            remembers_somebody: others.as_ref().is_some_and(|others| self.remembers_somebody(others)),
            others: others.as_ref(),
            waited: self.witness.started.elapsed(),
        };
        match judge(&situation) {
            Verdict::SetBack(why) => self.note_set_back(&why),
            Verdict::Wait(why) => {
                let mut before = self.witness.waits_for();
                if *before != why {
                    log::info!("no vote yet: {why}");
                    *before = why;
                }
            }
            Verdict::Vote(note) => {
                if let Some(note) = note {
                    log::warn!("{note}");
                }
                self.witness.vouched.store(true, Ordering::Relaxed);
                // The only voter that hears of a later membership may be led by those in it, but does not stand by its own.
                let alone = voters.len() == 1 && voters.contains(&self.me());
                self.allow_voting(!alone || !knows_later(&answers, membership_index));
            }
        }
    }

    /// Says how far this node has come, to those that were asked before; asks the others first.
    async fn bear_witness(&self, asked: &mut BTreeSet<Uuid>) {
        let voters = self.voters();
        self.witness.rooms.weigh(self.me(), self.storage.log().is_full(), &voters);
        if !voters.contains(&self.me()) {
            return;
        }
        let replicas = voters.iter().copied().chain(self.learners());
        let to_tell: Vec<Uuid> =
            replicas.filter(|id| *id != self.me() && self.remembers(*id)).take(WITNESSES).collect();
        let strangers: Vec<Uuid> = to_tell.iter().filter(|id| !asked.contains(id)).copied().collect();
        let answers = self.recall(&strangers).await;
        asked.extend(answers.keys());
        // They never heard a claim of this life. What this life has acknowledged meanwhile is no evidence against it.
        let said = |testimony: &Testimony| Testimony { acknowledged: 0, ..testimony.clone() };
        let against =
            answers.iter().find_map(|(id, testimony)| remembers_more(self.witness.held, *id, &said(testimony)));
        if let Some(why) = against {
            return self.note_set_back(&why);
        }
        let Some(mark) = self.on_disk().await else { return };
        let claim = Claim { mark, full: self.storage.log().is_full() };
        join_all(to_tell.iter().filter(|id| asked.contains(id)).map(|id| async {
            let answer = self.peers.calls(NodeId(*id)).call(Call::Claim(claim.clone()), ANSWER).await;
            if let Ok(Answer::Claim { full }) = answer {
                self.witness.rooms.note(*id, full);
            }
        }))
        .await;
    }

    /// How far this node has come, all of it synced. `None` while the disk takes nothing.
    async fn on_disk(&self) -> Option<Mark> {
        let stamp = self.roster.borrow().members.get(&self.me()).map_or(0, |entry| entry.incarnation);
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

    fn membership_index(&self) -> Option<u64> {
        self.raft.server_metrics().borrow_watched().membership_config.log_id().map(|id| id.index)
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

    /// What these remember of this node. Those of a release that remembers nothing count as having said so once gossip sees them alive.
    async fn recall(&self, ids: &[Uuid]) -> BTreeMap<Uuid, Testimony> {
        let ask = |id: Uuid| async move {
            if !self.remembers(id) {
                let alive = |entry: &crate::roster::Entry| {
                    entry.state == MemberState::Alive && entry.card.cluster_id == self.cluster_id()
                };
                let there = self.roster.borrow().members.get(&id).is_some_and(alive);
                return there.then(|| (id, Testimony::default()));
            }
            match self.peers.calls(NodeId(id)).call(Call::Recall, ANSWER).await {
                Ok(Answer::Recall(testimony)) => Some((id, testimony)),
                Ok(_) | Err(_) => None,
            }
        };
        join_all(ids.iter().copied().map(ask)).await.into_iter().flatten().collect()
    }

    /// Whether it is of a release that bears witness; what an older one does not know it does not decode.
    fn remembers(&self, id: Uuid) -> bool {
        self.roster.borrow().members.get(&id).is_some_and(|entry| entry.card.remembers)
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
    pub(super) async fn has_been_removed(&self) -> bool {
        if self.is_configured(&super::settings::removed(self.me())) {
            return true;
        }
        let answers = self.recall(&self.to_ask()).await;
        is_removed(self.me(), &self.voters(), self.membership_index(), &answers)
    }

    /// Ends when this node must not acknowledge any more what it is sent.
    pub(super) fn until_forbidden(&self) -> impl Future<Output = ()> + use<> {
        let mut may_vote = self.may_vote.subscribe();
        async move {
            let _: Result<_, _> = may_vote.wait_for(|may| !*may).await;
        }
    }

    /// Writes what is remembered before a stop in good order.
    pub(super) async fn keep_memory(&self) {
        self.witness.write().await;
    }
}
