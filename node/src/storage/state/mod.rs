//! The state on disk: keys, replicated configuration, idempotency records.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::Position;
use super::snapshot::SnapshotWriter;
use crate::kv::{Page, PageQuery, Versioned};

/// The state.
#[derive(Debug)]
pub struct State {}

/// How far the log has been applied here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last applied entry.
    pub applied: Option<Position>,
    /// The revision of the last write.
    pub revision: u64,
}

/// The state cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

impl State {
    /// A key's value, and the revision that it was read at: every write up to it is in the answer. Never waits for writers.
    pub fn get(&self, key: &str) -> Result<(Option<Versioned>, u64), StateError> {
        let _ = key;
        todo!()
    }

    /// A page of keys: one consistent cut, and its revision.
    pub fn page(&self, query: &PageQuery) -> Result<(Page, u64), StateError> {
        let _ = query;
        todo!()
    }

    /// How far the log has been applied; changes after the state can be read.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        todo!()
    }

    /// The replicated configuration.
    pub fn configuration(&self) -> watch::Receiver<Arc<BTreeMap<String, String>>> {
        todo!()
    }

    /// Starts to receive a snapshot beside the state. Dropping the writer discards what came. Blocks a little: off the async workers.
    pub fn receive_snapshot(self: &Arc<Self>) -> Result<SnapshotWriter, StateError> {
        todo!()
    }

    /// Syncs all that was applied; blocks. What is applied when this starts is on disk when it returns.
    pub fn persist(&self) -> Result<Option<Position>, StateError> {
        todo!()
    }
}
