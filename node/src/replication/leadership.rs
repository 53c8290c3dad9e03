//! Who leads, as this node's engine knows it, for everyone who must route by it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::append_lane::LeaderHeard;
use super::types::{NodeId, Raft};

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The leader, if one is known.
    pub(crate) leader: Option<Uuid>,
    /// The term of this node's vote.
    pub(crate) term: u64,
    /// Since when the leader is this one.
    pub(crate) since: Instant,
}

/// Follows the engine's view of who leads until it stops.
pub(crate) fn watch(raft: &Raft) -> watch::Receiver<Leadership> {
    let mut metrics = raft.server_metrics();
    let now = |metrics: &openraft::metrics::RaftServerMetrics<super::types::TypeConfig>| {
        (metrics.current_leader.map(Uuid::from), metrics.vote.leader_id.term)
    };
    let (leader, term) = now(&metrics.borrow_watched());
    let (sender, receiver) = watch::channel(Leadership { leader, term, since: Instant::now() });
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() {
            let (leader, term) = now(&metrics.borrow_and_update());
            sender.send_if_modified(|known| {
                let changed = (known.leader, known.term) != (leader, term);
                if changed {
                    let since = if known.leader == leader { known.since } else { Instant::now() };
                    *known = Leadership { leader, term, since };
                }
                changed
            });
        }
    });
    receiver
}

/// Whether a majority has acknowledged this leader within `patience`, or it has not led for so long yet. A leader that was cut off does
/// not know that another may have been elected; after this it takes no writes.
pub(crate) fn has_majority(raft: &Raft, since: Instant, patience: Duration) -> bool {
    let metrics = raft.data_metrics();
    let acked = metrics.borrow_watched().last_quorum_acked;
    // A lone voter is its own majority; openraft counts acknowledgements of others only.
    since.elapsed() < patience
        || acked.is_some_and(|acked| acked.elapsed() < patience)
        || raft.server_metrics().borrow_watched().membership_config.membership().voter_ids().count() == 1
}

/// When the leader was last heard, and whose streams broke since.
#[derive(Debug)]
pub(crate) struct Contact {
    started: Instant,
    /// Microseconds since `started`, plus one; 0: never.
    heard: AtomicU64,
    /// Whose streams broke and were not asked about since: no more than there are peers.
    broken: Mutex<BTreeSet<NodeId>>,
    breaks: Notify,
}

impl Contact {
    pub(crate) fn new() -> Arc<Self> {
        let (heard, broken) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { started: Instant::now(), heard, broken, breaks: Notify::new() })
    }

    /// How long ago the leader was last heard; `None`: never.
    pub(crate) fn age(&self) -> Option<Duration> {
        Some(self.heard_at()?.elapsed())
    }

    /// When the leader was last heard; `None`: never.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.started + Duration::from_micros(heard))
    }

    /// Notes that a stream from `peer` broke.
    pub(crate) fn stream_broke(&self, peer: NodeId) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        self.breaks.notify_one();
    }

    /// Waits until a stream from a peer breaks: that peer. Each is told to one caller. Cancel-safe.
    pub(crate) async fn broken(&self) -> NodeId {
        loop {
            let next = self.broken.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match next {
                Some(peer) => return peer,
                None => self.breaks.notified().await,
            }
        }
    }
}

impl LeaderHeard for Contact {
    fn heard(&self, _from: NodeId) {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.heard.store(now + 1, Ordering::Relaxed);
    }
}
