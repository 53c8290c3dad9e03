//! Carries writes to the leader, many in one entry.
//!
//! What waits while a batch is under way goes into the next: one entry, one sync, one round to the followers. A lone writer
//! never waits for company, nor for another task: while nobody waits, whoever asks proposes by itself. On a node that does not lead, the
//! same batch is carried to the leader instead, one hop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_cluster::world;
use openraft::errors::{ClientWriteError, ForwardToLeader, RaftError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::call_lane::CallError;
use super::leadership::{Leadership, has_majority};
use super::peers::Peers;
use super::stamps::Stamps;
use super::types::{Command, NodeId, Raft};
use super::wire::{Answer, Call, Refusal};
use super::witness::Rooms;
use crate::kv::{Operation, Outcome, Write};
use crate::storage::log::Log;
use crate::storage::state::Progress;

/// Requests that wait to be put into a batch. Full: refused at once as overloaded.
const QUEUE: usize = 16 * 1024;
/// Single writes under way at once, so that two writers do not wait for each other; or one batch, which takes all places: a second one
/// beside it would only halve both, and what a write costs is mostly what its batch costs.
const IN_FLIGHT: u32 = 2;
/// Most writes of a batch, and most bytes beyond its first request: a batch is one entry, applied in one go, and should not hold up
/// those behind it.
const BATCH_WRITES: usize = 1024;
const BATCH_BYTES: usize = 1024 * 1024;
/// A carried batch that has no answer by then has an unknown outcome. Longer than any time-out a caller usually gives; those
/// who wait less give up by themselves.
const CARRY_TIMEOUT: Duration = Duration::from_secs(10);

/// One request's writes and who waits for them.
#[derive(Debug)]
struct Job {
    writes: Vec<Write>,
    /// Came from another node: never carried on.
    carried: bool,
    /// Set once, by whoever is first: the batch that takes it, or the caller who gives up before that.
    settled: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Vec<Outcome>, Refusal>>,
}

type Answered = oneshot::Receiver<Result<Vec<Outcome>, Refusal>>;

/// Takes writes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Job>,
    means: Arc<Means>,
    in_flight: Arc<Semaphore>,
}

/// What the proposer works with.
pub(crate) struct Means {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) log: Arc<Log>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// A leader that no majority acknowledged for so long takes no writes.
    pub(crate) patience: Duration,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) stamps: Mutex<Stamps>,
    pub(crate) rooms: Arc<Rooms>,
}

impl Proposer {
    pub(crate) fn start(means: Means) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let means = Arc::new(means);
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        tokio::spawn(run(means.clone(), in_flight.clone(), jobs));
        Self { queue, means, in_flight }
    }

    /// Has the writes applied: one outcome for each, in order. Tries once; whoever calls decides about retries.
    pub(crate) async fn propose(&self, writes: Vec<Write>, carried: bool) -> Result<Vec<Outcome>, Refusal> {
        if let Some(permit) = self.room() {
            return self.by_itself(writes, carried, permit).await;
        }
        let (_, answered) = self.enqueue(writes, carried)?;
        answered.await.unwrap_or(Err(Refusal::Unknown))
    }

    /// The same, until a deadline: what still waits in the queue by then is withdrawn and certainly not applied.
    pub(crate) async fn propose_until(&self, writes: Vec<Write>, deadline: Instant) -> Result<Vec<Outcome>, Refusal> {
        if let Some(permit) = self.room() {
            let answer = timeout_at(deadline, self.by_itself(writes, false, permit)).await;
            return answer.unwrap_or(Err(Refusal::Unknown));
        }
        let (settled, answered) = self.enqueue(writes, false)?;
        match timeout_at(deadline, answered).await {
            Ok(answer) => answer.unwrap_or(Err(Refusal::Unknown)),
            Err(_) if settled.swap(true, Ordering::AcqRel) => Err(Refusal::Unknown),
            Err(_) => Err(Refusal::Overloaded),
        }
    }

    /// While nobody waits and a batch may go. A hand-over to another task and back is a tenth of what a lone writer waits for.
    fn room(&self) -> Option<SemaphorePermit<'_>> {
        if self.queue.capacity() < QUEUE {
            return None;
        }
        self.in_flight.try_acquire().ok()
    }

    async fn by_itself(
        &self,
        writes: Vec<Write>,
        carried: bool,
        permit: SemaphorePermit<'_>,
    ) -> Result<Vec<Outcome>, Refusal> {
        let leader = self.means.leadership.borrow().leader;
        if carried && leader != Some(self.means.me.0) {
            return Err(Refusal::NotLeader(leader));
        }
        submit(&self.means, leader, writes, permit).await
    }

    fn enqueue(&self, writes: Vec<Write>, carried: bool) -> Result<(Arc<AtomicBool>, Answered), Refusal> {
        let (answer, answered) = oneshot::channel();
        let settled = Arc::new(AtomicBool::new(false));
        let job = Job { writes, carried, settled: settled.clone(), answer };
        self.queue.try_send(job).map_err(|_| Refusal::Overloaded)?;
        Ok((settled, answered))
    }
}

async fn run(means: Arc<Means>, in_flight: Arc<Semaphore>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let Ok(mut permit) = in_flight.clone().acquire_owned().await else { return };
        if !jobs.is_empty() {
            let Ok(others) = in_flight.clone().acquire_many_owned(IN_FLIGHT - 1).await else { return };
            permit.merge(others);
        }
        let mut batch = vec![first];
        let (mut writes, mut bytes) = (0, 0);
        while writes < BATCH_WRITES
            && bytes < BATCH_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            writes += job.writes.len();
            bytes += job.writes.iter().map(size).sum::<usize>();
            batch.push(job);
        }
        tokio::spawn(settle(means.clone(), batch, permit));
    }
}

fn size(write: &Write) -> usize {
    match &write.operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key, .. } => key.len(),
        Operation::DeletePrefix { prefix } => prefix.len(),
        Operation::Configure { name, value } => name.len() + value.len(),
        Operation::SkipRevisions { .. } => 0,
    }
}

async fn settle(means: Arc<Means>, mut batch: Vec<Job>, permit: OwnedSemaphorePermit) {
    let leader = means.leadership.borrow().leader;
    if leader != Some(means.me.0) {
        batch = refuse_carried(batch, leader);
    }
    // Whoever gave up meanwhile has been told that nothing was written, or does not listen any more.
    batch.retain(|job| !job.answer.is_closed() && !job.settled.swap(true, Ordering::AcqRel));
    if batch.is_empty() {
        return;
    }
    let counts: Vec<usize> = batch.iter().map(|job| job.writes.len()).collect();
    let writes: Vec<Write> = batch.iter_mut().flat_map(|job| std::mem::take(&mut job.writes)).collect();
    let result = submit(&means, leader, writes, permit).await;
    match result {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for (job, count) in batch.into_iter().zip(counts) {
                let own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
                let complete = own.len() == count;
                let _: Result<_, _> = job.answer.send(if complete { Ok(own) } else { Err(Refusal::Unknown) });
            }
        }
        Err(refusal) => {
            for job in batch {
                let _: Result<_, _> = job.answer.send(Err(refusal.clone()));
            }
        }
    }
}

fn refuse_carried(batch: Vec<Job>, leader: Option<Uuid>) -> Vec<Job> {
    let (carried, own): (Vec<Job>, Vec<Job>) = batch.into_iter().partition(|job| job.carried);
    for job in carried {
        let _: Result<_, _> = job.answer.send(Err(Refusal::NotLeader(leader)));
    }
    own
}

/// One try, here or one hop away. Gives the permit back when it is done, or when it may take for ever.
async fn submit<P>(
    means: &Means,
    leader: Option<Uuid>,
    writes: Vec<Write>,
    permit: P,
) -> Result<Vec<Outcome>, Refusal> {
    match leader {
        Some(leader) if leader == means.me.0 => {
            let proposed = propose_here(means, writes);
            tokio::pin!(proposed);
            let mut permit = Some(permit);
            // Without a majority this may wait for ever. Its place goes to those behind it, who are told that there is none.
            loop {
                tokio::select! {
                    proposed = &mut proposed => return proposed,
                    () = tokio::time::sleep(means.patience), if permit.is_some() => {
                        let since = means.leadership.borrow().since;
                        if !has_majority(&means.raft, since, means.patience) {
                            permit = None;
                        }
                    }
                }
            }
        }
        Some(leader) => carry(means, leader, writes).await,
        None => Err(Refusal::NotLeader(None)),
    }
}

async fn propose_here(means: &Means, writes: Vec<Write>) -> Result<Vec<Outcome>, Refusal> {
    // Behind a majority of full disks a write would wait for its deadline, and its outcome would be unknown.
    if means.log.is_full() || means.rooms.majority_is_full() {
        return Err(Refusal::DiskFull);
    }
    let Leadership { since, term, .. } = *means.leadership.borrow();
    if !has_majority(&means.raft, since, means.patience) {
        return Err(Refusal::NoMajority);
    }
    let stamp_ms = {
        let mut stamps = means.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.next(Instant::now(), term, means.progress.borrow().stamp_ms, world::wall_clock())
    };
    match means.raft.client_write(Command::new(stamp_ms, writes)).await {
        Ok(response) => Ok(response.data.outcomes),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader { leader_id, .. }))) => {
            Err(Refusal::NotLeader(leader_id.map(Uuid::from)))
        }
        // Appended, but whether it was or will be committed by another leader cannot be known here.
        Err(RaftError::APIError(error)) => Err(unknown(&error)),
        Err(RaftError::Fatal(error)) => Err(unknown(&error)),
    }
}

fn unknown(error: &dyn std::error::Error) -> Refusal {
    log::warn!("a batch of writes has an unknown outcome: {error}");
    Refusal::Unknown
}

async fn carry(means: &Means, leader: Uuid, writes: Vec<Write>) -> Result<Vec<Outcome>, Refusal> {
    let mut leadership = means.leadership.clone();
    // Who is deposed while it is paused or cut off may never answer; its batches must not hold up those for the new leader.
    let deposed = leadership.wait_for(|now| now.leader.is_some_and(|now| now != leader));
    let calls = means.peers.calls(NodeId(leader));
    let answer = tokio::select! {
        answer = calls.call(Call::Write(writes), CARRY_TIMEOUT) => answer,
        _ = deposed => Err(CallError::Lost("another node leads now".to_owned())),
    };
    match answer {
        Ok(Answer::Write(result)) => result,
        Ok(other) => {
            log::warn!("{leader} answered a batch of writes with {other:?}");
            Err(Refusal::Unknown)
        }
        // Nothing was sent: as if that node did not lead.
        Err(CallError::Unsent(_)) => Err(Refusal::NotLeader(None)),
        Err(CallError::Overloaded) => Err(Refusal::Overloaded),
        Err(CallError::Lost(_)) => Err(Refusal::Unknown),
    }
}
