//! openraft's state machine over the state on disk.

use std::io;
use std::sync::Arc;

use futures_util::Stream;
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use super::types::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::storage::snapshot::{SnapshotReader, SnapshotView, StagedSnapshot};
use crate::storage::state::State;

/// The data of a snapshot.
#[derive(Debug)]
pub enum SnapshotData {
    /// To be sent: a consistent view of the state. Nothing is copied until it is read.
    View(SnapshotView),
    /// Received: complete, checked, on disk beside the state that it is to replace.
    Staged(StagedSnapshot),
}

impl SnapshotData {
    /// The frames to send; an error if this was received rather than built.
    pub fn reader(&self) -> io::Result<SnapshotReader> {
        todo!()
    }
}

/// The state as openraft sees it. Clones share it.
#[derive(Debug, Clone)]
pub struct StateMachine {
    state: Arc<State>,
}

impl StateMachine {
    /// A state machine over this state.
    pub fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let _ = &self.state;
        todo!()
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        todo!()
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let _ = entries;
        todo!()
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let _ = (meta, snapshot);
        todo!()
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        todo!()
    }
}
