//! Keeps the log short: takes a snapshot when it has grown by so much, then drops what the snapshot covers but for what slow
//! followers may still want.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use super::types::Raft;
use crate::storage::log::Log;

/// How often the log's size is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// When to compact.
#[derive(Debug, Clone, Copy)]
pub struct Compaction {
    /// How much log, beyond what is kept, before a snapshot.
    pub every: u64,
    /// How much log is kept behind a snapshot, so that a follower that was away for a moment is not sent the whole state.
    pub keep: u64,
}

/// Runs until the engine stops.
pub(crate) async fn run(raft: Raft, log: Arc<Log>, compaction: Compaction) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        if log.live_bytes() < compaction.every.saturating_add(compaction.keep) {
            continue;
        }
        let applied = raft.metrics().borrow_watched().last_applied;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
        let covered = raft.wait(Some(Duration::from_secs(60)));
        let Some(applied) = applied else { continue };
        if covered.metrics(|metrics| metrics.snapshot >= Some(applied), "a snapshot for compaction").await.is_err() {
            continue;
        }
        if let Some(upto) = log.index_keeping(compaction.keep)
            && raft.trigger().purge_log(upto.min(applied.index)).await.is_err()
        {
            return;
        }
    }
}
