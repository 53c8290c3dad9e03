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

mod claim;
mod mark;
mod objection;
mod recall;
mod replaced;
mod room;
mod verdict;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use muster_cluster::world::spawn_blocking;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::Replication;
use super::types::{NodeId, Vote};
use super::wire::Testimony;
use crate::roster::Roster;
use crate::storage::{OpenError, Storage};
use mark::Marks;
#[cfg(test)]
pub(super) use mark::{a_file, take_any};

pub(super) use mark::Mark;
pub use objection::Objection;
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

/// What this node knows of its own disk, and remembers of others.
pub(super) struct Witness {
    started: Instant,
    /// What the disk held when this node began to ask: at the start of the process, or once a double was gone.
    held: Mutex<Mark>,
    marks: Mutex<Marks>,
    /// The memory has changed since it was written.
    unwritten: AtomicBool,
    /// One writer at a time: two would write into one file, and the older of two images might come last.
    writing: tokio::sync::Mutex<()>,
    others: watch::Sender<Option<Others>>,
    waits_for: Mutex<String>,
    /// Since the verdict was to vote: the stamp of this node's life then.
    vouched: Mutex<Option<u64>>,
    objection: watch::Sender<Option<Objection>>,
    /// When a double was heard of last.
    doubled_at: Mutex<Instant>,
    /// Nodes of other clusters that were asked whether theirs took the place of this one, and when.
    strangers: Mutex<Option<(Instant, BTreeSet<Uuid>)>>,
    /// It was said that another cluster claims the place of this one.
    defied: AtomicBool,
    /// It was set back, and another node leads without it: it may begin anew.
    replaceable: watch::Sender<bool>,
    pub(super) rooms: Arc<Rooms>,
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // None of what is locked here is ever left half changed.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    /// Of a node whose engine has not started yet.
    ///
    /// # Errors
    /// When the memory is of a newer release.
    pub(super) fn new(dir: &Path, storage: &Storage, stamp: u64) -> Result<Self, OpenError> {
        let now = Instant::now();
        Ok(Self {
            started: now,
            held: Mutex::new(holds(storage, stamp)),
            marks: Mutex::new(Marks::open(dir)?),
            unwritten: AtomicBool::new(false),
            others: watch::channel(None).0,
            waits_for: Mutex::new("this node has just started".to_owned()),
            vouched: Mutex::new(None),
            objection: watch::channel(None).0,
            doubled_at: Mutex::new(now),
            strangers: Mutex::default(),
            defied: AtomicBool::new(false),
            writing: tokio::sync::Mutex::default(),
            replaceable: watch::channel(false).0,
            rooms: Arc::default(),
        })
    }

    fn is_vouched_for(&self) -> bool {
        locked(&self.vouched).is_some()
    }

    fn is_doubled(&self) -> bool {
        matches!(*self.objection.borrow(), Some(Objection::Double(_)))
    }

    /// Neither an old copy nor doubled, as far as is known.
    pub(super) fn nothing_against(&self) -> bool {
        self.objection.borrow().is_none()
    }

    /// Writes what is remembered, off the tasks. On the disk when it returns, unless that fails.
    async fn write(&self) {
        let _alone = self.writing.lock().await;
        if !self.unwritten.swap(false, Ordering::AcqRel) {
            return;
        }
        let (path, bytes) = locked(&self.marks).image();
        let written = spawn_blocking(move || mark::write(&path, &bytes)).await;
        if let Err(error) = written.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            self.unwritten.store(true, Ordering::Release);
            log::warn!("what this node knows of the other voters is not on its disk yet: {error}");
        }
    }
}

/// How far a disk has come, in a life with this stamp.
fn holds(storage: &Storage, stamp: u64) -> Mark {
    let last = storage.log().bounds().last.map_or(0, |last| last.index);
    let applied = storage.state().progress().borrow().applied.map_or(0, |applied| applied.index);
    Mark { stamp, term: term(storage), index: last.max(applied) }
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
    let Some(this) = replication.upgrade() else { return };
    // Kept, not cloned afresh for every wait: a clone of what nobody reads has news for ever.
    let (mut roster, mut joined) = (this.roster.clone(), this.joined());
    drop(this);
    loop {
        let Some(this) = replication.upgrade() else { return };
        this.look_whether_the_double_is_gone();
        let witness = &this.witness;
        if this.cluster_id().is_some() {
            this.ask_strangers().await;
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
        let settled = this.may_stand() || witness.is_doubled();
        let mut objection = this.objection();
        drop(this);
        tokio::select! {
            () = tokio::time::sleep(CLAIM), if settled => {}
            () = news_or_time(&mut roster, &mut joined), if !settled => {}
            _ = objection.changed() => {}
        }
    }
}

/// Returns when there are other members or a cluster to ask in, or when it is time to ask again.
async fn news_or_time(roster: &mut watch::Receiver<Arc<Roster>>, joined: &mut watch::Receiver<Option<Uuid>>) {
    tokio::select! {
        () = tokio::time::sleep(ASK) => {}
        Ok(()) = roster.changed() => {}
        Ok(()) = joined.changed() => {}
    }
}

impl Replication {
    /// What this node was told of other members; before it is, the only voter of a cluster does not vote.
    pub fn tell_others(&self, others: Others) {
        self.witness.others.send_replace(Some(others));
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
            mark: locked(&self.witness.marks).get(of),
            acknowledged: matched.min(self.figures().committed_index),
            votes: voters.contains(&self.me()) && self.witness.nothing_against(),
            vouched: self.may_vote(),
            leads: self.leader() == Some(self.me()),
            membership_index,
            voters,
            removed: self.is_configured(&super::settings::removed(of)),
        }
    }

    pub(super) fn is_replica(&self, id: Uuid) -> bool {
        self.raft.server_metrics().borrow_watched().membership_config.membership().get_node(&NodeId(id)).is_some()
    }

    /// The stamp of this node's present life; 0: gossip does not know it yet.
    fn own_stamp(&self) -> u64 {
        self.roster.borrow().members.get(&self.me()).map_or(0, |entry| entry.incarnation)
    }

    fn membership_index(&self) -> Option<u64> {
        self.raft.server_metrics().borrow_watched().membership_config.log_id().map(|id| id.index)
    }

    /// Whether it is of a release that bears witness; what an older one does not know it does not decode.
    pub(super) fn remembers(&self, id: Uuid) -> bool {
        self.roster.borrow().members.get(&id).is_some_and(|entry| entry.card.remembers)
    }

    /// Writes what is remembered before a stop in good order.
    pub(super) async fn keep_memory(&self) {
        self.witness.write().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn old_news_wake_nobody() {
        let (roster, mut seen) = watch::channel(Arc::new(Roster::default()));
        let (joined, mut cluster) = watch::channel(None);
        roster.send_replace(Arc::default());
        let begin = Instant::now();
        news_or_time(&mut seen, &mut cluster).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // The same news again, and then nobody who could have any.
        news_or_time(&mut seen, &mut cluster).await;
        assert!(begin.elapsed() >= ASK);
        drop((roster, joined));
        news_or_time(&mut seen, &mut cluster).await;
        assert!(begin.elapsed() >= ASK * 2);
    }
}
