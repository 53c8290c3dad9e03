//! Proof of freshness: read indices, shared by all who wait for one.
//!
//! A read index is a log index that the leader, after a majority confirmed that it still leads, says covers every write that was
//! acknowledged before it was asked (Ongaro's dissertation, section 6.4). All readers of a node share one question to the leader, and all
//! nodes' questions share the leader's to the voters. Nobody ever reuses an index for a retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::call_lane::CallError;
use super::leadership::Leadership;
use super::majority::Majority;
use super::peers::Peers;
use super::rounds::{Question, Rounds, question};
use super::types::{NodeId, Raft};
use super::wire::{Answer, Call, Refusal};
use crate::storage::state::Progress;

/// A round that a majority has not confirmed by then is given up; those who wait longer ask again.
const ROUND: Duration = Duration::from_secs(1);
/// How often the proof is renewed while somebody asks for it: half of what people would call fresh, and next to no work.
const REFRESH: Duration = Duration::from_millis(100);

/// Gives out read indices and keeps the newest proof. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReadIndex {
    /// Of this node's readers to whoever leads.
    point: Question<Point>,
    /// Of its readers and other nodes to this node, which must lead.
    here: Question<u64>,
    proof: Arc<Proof>,
}

/// Having applied `index`, a node is at most as stale as `asked` is long ago.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) index: u64,
    pub(crate) asked: Instant,
}

#[derive(Debug)]
struct Proof {
    started: Instant,
    /// Microseconds since `started`, plus one; 0: nothing was ever proved.
    fresh_at: AtomicU64,
    /// Somebody wanted to know since the last renewal.
    wanted: AtomicBool,
}

/// What it works with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) progress: watch::Receiver<Progress>,
}

impl ReadIndex {
    pub(crate) fn start(means: Means) -> Self {
        let ((point, points), (here, asked_here)) = (question(), question());
        let proof = Proof { started: Instant::now(), fresh_at: AtomicU64::new(0), wanted: AtomicBool::new(false) };
        let this = Self { point, here: here.clone(), proof: Arc::new(proof) };
        tokio::spawn(refresh(this.clone(), means.progress.clone()));
        tokio::spawn(confirm(Majority::new(means.me, means.raft.clone(), means.peers.clone()), asked_here));
        tokio::spawn(find(means, here, points));
        this
    }

    /// A read index confirmed after this was called. Tries once.
    pub(crate) async fn confirm(&self) -> Result<Point, Refusal> {
        self.point.ask().await
    }

    /// A read index of this node, which must lead.
    pub(crate) async fn confirm_here(&self) -> Result<u64, Refusal> {
        self.here.ask().await
    }

    /// Notes that a point has been applied here.
    pub(crate) fn applied(&self, point: Point) {
        let asked = point.asked.saturating_duration_since(self.proof.started).as_micros();
        self.proof.fresh_at.fetch_max(u64::try_from(asked).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    /// Since when what is read from now on may be out of date; `None` without a proof. Has the proof kept fresh for a while. Ask before
    /// the data is read: a proof that comes after that says nothing of it.
    pub(crate) fn fresh_at(&self) -> Option<Instant> {
        if !self.proof.wanted.load(Ordering::Relaxed) {
            self.proof.wanted.store(true, Ordering::Relaxed);
        }
        let fresh_at = self.proof.fresh_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.proof.started + Duration::from_micros(fresh_at))
    }

    /// By how much this node is behind at most; `None` without a proof.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        self.fresh_at().map(|at| at.elapsed())
    }
}

/// Waits until `index` is applied here. Ends only with the node otherwise.
pub(crate) async fn wait_applied(progress: &mut watch::Receiver<Progress>, index: u64) {
    let reached = |progress: &Progress| progress.applied.is_some_and(|applied| applied.index >= index);
    if progress.wait_for(reached).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Has a majority confirm that this node leads.
async fn confirm(mut majority: Majority, mut rounds: Rounds<u64>) {
    while let Some(round) = rounds.next().await {
        round.end(&tokio::time::timeout(ROUND, majority.confirm()).await.unwrap_or(Err(Refusal::NoMajority)));
    }
}

/// Asks whoever leads.
async fn find(means: Means, here: Question<u64>, mut rounds: Rounds<Point>) {
    while let Some(round) = rounds.next().await {
        let asked = Instant::now();
        let index = tokio::time::timeout(ROUND, ask(&means, &here)).await.unwrap_or(Err(Refusal::NoMajority));
        round.end(&index.map(|index| Point { index, asked }));
    }
}

async fn ask(means: &Means, here: &Question<u64>) -> Result<u64, Refusal> {
    let leader = means.leadership.borrow().leader.ok_or(Refusal::NotLeader(None))?;
    if leader == means.me.0 {
        return here.ask().await;
    }
    let mut leadership = means.leadership.clone();
    let deposed = leadership.wait_for(|now| now.leader.is_some_and(|now| now != leader));
    let calls = means.peers.calls(NodeId(leader));
    let answer = tokio::select! {
        answer = calls.call(Call::ReadIndex, ROUND) => answer,
        // It may be paused: the new one is asked without waiting for that.
        _ = deposed => return Err(Refusal::NotLeader(None)),
    };
    match answer {
        Ok(Answer::ReadIndex(result)) => result,
        Ok(_) | Err(CallError::Unsent(_) | CallError::Lost(_)) => Err(Refusal::NotLeader(None)),
        Err(CallError::Overloaded) => Err(Refusal::Overloaded),
    }
}

/// Keeps the proof fresh while somebody asks.
async fn refresh(reads: ReadIndex, mut progress: watch::Receiver<Progress>) {
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if progress.has_changed().is_err() {
            return;
        }
        if !reads.proof.wanted.swap(false, Ordering::Relaxed) {
            continue;
        }
        if let Ok(point) = reads.confirm().await
            && tokio::time::timeout(ROUND, wait_applied(&mut progress, point.index)).await.is_ok()
        {
            reads.applied(point);
        }
    }
}
