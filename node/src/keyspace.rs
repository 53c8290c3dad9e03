//! The log keyspace of this node, as HTTP knocks at it: writes carried to the leader and retried where that is safe, reads as fresh
//! as the reader wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use crate::arrivals::Arrivals;
use crate::carrier::Carrier;
use crate::kv::{Freshness, Idempotency, Outcome, Page, PageQuery, Reading, Versioned, Write};
use crate::replication::{Point, Refusal, Replication};
use crate::storage::state::{Progress, State, StateError};

/// How often a request looks again whose leader could not take it or was not reached, when nothing wakes it.
const RETRY: Duration = Duration::from_millis(20);
/// Some hundred look that often; when more wait, each looks less often, up to [`RETRY_CROWDED`]: thousands that looked every 20 ms would take the
/// processor from the election that they wait for.
const CROWD: u32 = 256;
const RETRY_CROWDED: Duration = Duration::from_secs(1);

const STOPPING: &str = "this node is stopping; ask another one";

/// The log keyspace of this node.
#[derive(Debug)]
pub struct Keyspace {
    replication: Arc<Replication>,
    state: Arc<State>,
    progress: watch::Receiver<Progress>,
    /// True once the node stops: whoever waits for something is told so.
    stopping: watch::Sender<bool>,
    /// Numbers the writes that came without a key and go to another node.
    carrier: Carrier,
    arrivals: Arrivals,
    /// How many look now and then.
    looking: AtomicU32,
}

impl Keyspace {
    /// The keyspace that this engine replicates. Must be called within a tokio runtime.
    pub fn new(replication: Arc<Replication>, state: Arc<State>) -> Self {
        let progress = state.progress();
        let arrivals = Arrivals::follow(progress.clone());
        Self {
            replication,
            state,
            progress,
            stopping: watch::channel(false).0,
            carrier: Carrier::new(),
            arrivals,
            looking: AtomicU32::new(0),
        }
    }

    /// From now on nobody waits here: what would have to is refused, and what waits already is told that the node stops.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Until it is worth another try, unless the leadership changes first: nothing else helps where nobody leads.
    async fn look_again(&self, leader: Option<Uuid>, deadline: Instant) {
        if leader.is_none() {
            return sleep_until(deadline).await;
        }
        let others = self.looking.fetch_add(1, Ordering::Relaxed);
        let _done = Looked(&self.looking);
        let pause = (RETRY * (1 + others / CROWD)).min(RETRY_CROWDED);
        sleep_until((Instant::now() + pause).min(deadline)).await;
    }

    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        if stopping.wait_for(|stopping| *stopping).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Applies a write on whoever leads, waiting up to `timeout` for a leader and its answer.
    ///
    /// A write that goes to another node gets an idempotency key if it has none, so that what is retried here applies once.
    pub async fn write(&self, mut write: Write, timeout: Duration) -> Result<Outcome, WriteError> {
        let deadline = Instant::now() + timeout;
        let mut leadership = self.replication.leadership();
        let mut uncertain = false;
        // Until somebody has answered, or nobody waits: what is settled before may apply no more.
        let mut ticket = None;
        loop {
            // Before it is proposed: what no leader was asked for has a certain outcome.
            if Instant::now() >= deadline {
                return Err(match uncertain {
                    true => WriteError::Unknown,
                    false => WriteError::NoLeader { reason: self.replication.why_unanswered() },
                });
            }
            let leader = leadership.borrow_and_update().leader;
            if write.idempotency.is_none() && leader != Some(self.replication.me()) {
                let carried = ticket.insert(self.carrier.ticket()).carried();
                write.idempotency = Some(match self.replication.is_all_of_this_release() {
                    true => carried.idempotency(),
                    // Others know keys only, and remember each for ten minutes.
                    false => Idempotency { digest: 0, ..carried.idempotency() },
                });
            }
            let refusal = match self.replication.propose(vec![write.clone()], deadline).await {
                Ok(mut outcomes) => return outcomes.pop().ok_or(WriteError::Unknown),
                Err(refusal) => refusal,
            };
            match refusal {
                // Without a leader it is that which they wait for.
                Refusal::Overloaded if !uncertain && self.replication.leader().is_some() => {
                    return Err(WriteError::Overloaded);
                }
                Refusal::DiskFull if !uncertain => return Err(WriteError::DiskFull),
                Refusal::Unknown if write.idempotency.is_none() => return Err(WriteError::Unknown),
                Refusal::Unknown => uncertain = true,
                Refusal::NotLeader(_) | Refusal::NoMajority | Refusal::Overloaded | Refusal::DiskFull => {}
            }
            let goes_on = tokio::select! {
                // Of an engine that has stopped, over a failed disk, nobody hears any more: to ask again would be to ask without a pause.
                changed = leadership.changed() => changed.is_ok(),
                () = self.look_again(leader, deadline) => true,
                () = self.stopped() => false,
            };
            if !goes_on {
                return Err(match uncertain {
                    true => WriteError::Unknown,
                    false => WriteError::NotReady { reason: STOPPING.to_owned() },
                });
            }
        }
    }

    /// Reads a key, waiting up to `timeout` for the wanted freshness.
    pub async fn get(
        &self,
        key: &str,
        freshness: Freshness,
        timeout: Duration,
    ) -> Result<Reading<Option<Versioned>>, ReadError> {
        self.refresh(freshness, timeout).await?;
        let fresh_at = self.replication.reads().fresh_at();
        let (data, revision) = self.state.get(key)?;
        Ok(self.reading(data, revision, fresh_at))
    }

    /// Lists a page of keys, waiting up to `timeout` for the wanted freshness.
    pub async fn list(
        &self,
        query: &PageQuery,
        freshness: Freshness,
        timeout: Duration,
    ) -> Result<Reading<Page>, ReadError> {
        self.refresh(freshness, timeout).await?;
        let fresh_at = self.replication.reads().fresh_at();
        let (data, revision) = self.state.page(query)?;
        Ok(self.reading(data, revision, fresh_at))
    }

    /// The revision applied here.
    pub fn revision(&self) -> u64 {
        self.progress.borrow().revision
    }

    fn reading<T>(&self, data: T, revision: u64, fresh_at: Option<Instant>) -> Reading<T> {
        let staleness = fresh_at.map(|at| at.elapsed());
        Reading { data, revision, staleness, leader: self.replication.leader() }
    }

    /// Waits until this node's state is as fresh as wanted.
    async fn refresh(&self, freshness: Freshness, timeout: Duration) -> Result<(), ReadError> {
        let deadline = Instant::now() + timeout;
        if let Some(revision) = freshness.min_revision {
            self.wait_revision(revision, deadline).await?;
        }
        let too_stale =
            |limit: Duration| self.replication.reads().staleness().is_none_or(|staleness| staleness > limit);
        if freshness.linearizable {
            self.linearize(deadline).await.map_err(|why| ReadError::NoLeader { reason: why })
        } else if let Some(limit) = freshness.max_staleness.filter(|limit| too_stale(*limit)) {
            // A confirmed read is as fresh as any limit: the moment of asking lies behind the request's own begin.
            self.linearize(deadline).await.map_err(|why| ReadError::TooStale {
                reason: format!(
                    "not proved to be at most {} ms old within the time-out: {why}; ask another node, or allow more",
                    limit.as_millis()
                ),
            })
        } else {
            Ok(())
        }
    }

    async fn wait_revision(&self, revision: u64, deadline: Instant) -> Result<(), ReadError> {
        if self.revision() >= revision {
            return Ok(());
        }
        let reached = tokio::select! {
            reached = timeout_at(deadline, self.arrivals.reached(revision)) => reached.is_ok(),
            () = self.stopped() => return Err(ReadError::NotReady { reason: STOPPING.to_owned() }),
        };
        if reached {
            return Ok(());
        }
        let here = self.progress.borrow().revision;
        Err(ReadError::TooStale {
            reason: format!("this node has applied revision {here} and did not reach {revision} within the time-out"),
        })
    }

    /// Has a majority confirm how far this node must have applied, and waits for that. A retry asks for a new index.
    async fn linearize(&self, deadline: Instant) -> Result<(), String> {
        let mut leadership = self.replication.leadership();
        let mut progress = self.progress.clone();
        loop {
            if Instant::now() >= deadline {
                return Err(self.replication.why_unanswered());
            }
            let leader = leadership.borrow_and_update().leader;
            let confirmed = tokio::select! {
                confirmed = timeout_at(deadline, self.replication.reads().confirm()) => confirmed,
                () = self.stopped() => return Err(STOPPING.to_owned()),
            };
            match confirmed {
                Err(_) => return Err("no majority confirmed the leader in time".to_owned()),
                Ok(Ok(point)) => return self.apply(point, &mut progress, deadline).await,
                Ok(Err(Refusal::Overloaded)) => return Err("too many reads wait already".to_owned()),
                Ok(Err(_)) => {}
            }
            let goes_on = tokio::select! {
                // As in a write.
                changed = leadership.changed() => changed.is_ok(),
                () = self.look_again(leader, deadline) => true,
                () = self.stopped() => false,
            };
            if !goes_on {
                return Err(STOPPING.to_owned());
            }
        }
    }

    async fn apply(
        &self,
        point: Point,
        progress: &mut watch::Receiver<Progress>,
        deadline: Instant,
    ) -> Result<(), String> {
        let reached = |progress: &Progress| progress.applied.is_some_and(|applied| applied.index >= point.index);
        match timeout_at(deadline, progress.wait_for(reached)).await {
            Ok(Ok(_)) => {
                self.replication.reads().applied(point);
                Ok(())
            }
            _ => Err("this node is behind the leader and did not catch up in time".to_owned()),
        }
    }
}

/// Counts one out who looked.
struct Looked<'a>(&'a AtomicU32);

impl Drop for Looked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a write has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nobody leads, or who leads was not reached in time. Nothing was applied; try again.
    #[error("{reason}; nothing was written")]
    NoLeader {
        /// Why, for people.
        reason: String,
    },
    /// This node does not lead and the write had been forwarded to it once; nothing was applied.
    #[error("this node does not lead; nothing was written, send it to the leader")]
    NotLeader {
        /// The leader's client port.
        leader: Option<String>,
    },
    /// It may have been applied, or may be applied later.
    #[error("no answer in time; whether it was written is unknown")]
    Unknown,
    /// Too much is waiting; nothing was applied.
    #[error("too many writes wait already; nothing was written, retry a little later")]
    Overloaded,
    /// No room on disk; nothing was applied.
    #[error("the disk is full; nothing was written, make room and retry")]
    DiskFull,
    /// The node is starting or stopping; nothing was applied.
    #[error("{reason}; nothing was written")]
    NotReady {
        /// Why, for people.
        reason: String,
    },
}

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Linearizable reads need a leader, and none answered in time.
    #[error("{reason}")]
    NoLeader {
        /// Why, for people.
        reason: String,
    },
    /// The wanted freshness was not reached in time.
    #[error("{reason}")]
    TooStale {
        /// What was reached, for people.
        reason: String,
    },
    /// The node is starting or stopping.
    #[error("{reason}")]
    NotReady {
        /// Why, for people.
        reason: String,
    },
    /// The disk or its contents are broken.
    #[error("{reason}")]
    Storage {
        /// What was found and what to do.
        reason: String,
    },
}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> Self {
        Self::Storage { reason: error.to_string() }
    }
}
