//! openraft's own storage tests against our log and our state: as they are, and closed and opened again before every call.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt, stream};
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::state_machine::{SnapshotData, StateMachine};
use super::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, Vote};
use crate::storage::log::{Log, LogOptions};
use crate::storage::state::State;

const CACHE: u64 = 1 << 20;

fn open_log(dir: &TempDir) -> LogStore {
    let options = LogOptions { segment_bytes: 16 << 10, reserve_bytes: 0 };
    LogStore::unguarded(Arc::new(Log::open(&dir.path().join("log"), &options).unwrap()))
}

fn open_state(dir: &TempDir) -> StateMachine {
    StateMachine::new(Arc::new(State::open(&dir.path().join("state"), CACHE).unwrap()))
}

struct Plain;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Plain {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, state) = (open_log(&dir), open_state(&dir));
        Ok((dir, log, state))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_tests_pass() {
    Suite::test_all(Plain).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_tests_pass_with_a_restart_before_every_call() {
    Suite::test_all(Restarting).await.unwrap();
}

struct Restarting;

impl StoreBuilder<TypeConfig, RestartingLog, RestartingState, ()> for Restarting {
    async fn build(&self) -> Result<((), RestartingLog, RestartingState), StorageError<TypeConfig>> {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Ok(((), RestartingLog { dir: dir.clone(), open: Arc::default() }, RestartingState { dir, open: None }))
    }
}

/// A log that is closed and opened before every call. Readers share it.
struct RestartingLog {
    dir: Arc<TempDir>,
    open: Arc<Mutex<Option<LogStore>>>,
}

impl RestartingLog {
    fn restarted(&self) -> LogStore {
        let mut open = self.open.lock().unwrap();
        // Closed first: this is the only one who holds it between calls.
        *open = None;
        open.insert(open_log(&self.dir)).clone()
    }
}

impl RaftLogReader<TypeConfig> for RestartingLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.restarted().try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.restarted().limited_get_log_entries(start, end).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let items: Vec<_> = self.restarted().entries_stream(range).await.collect().await;
        stream::iter(items)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.restarted().read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for RestartingLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        self.restarted().get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        Self { dir: self.dir.clone(), open: self.open.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.restarted().save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.restarted().save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.restarted().read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.restarted().append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.restarted().truncate_after(last).await
    }

    async fn purge(&mut self, last: LogId) -> Result<(), io::Error> {
        self.restarted().purge(last).await
    }
}

/// A state that is opened for every call and closed behind it, until a snapshot is taken of it: that keeps it open.
struct RestartingState {
    dir: Arc<TempDir>,
    open: Option<StateMachine>,
}

impl RestartingState {
    fn restarted(&self) -> StateMachine {
        self.open.clone().unwrap_or_else(|| open_state(&self.dir))
    }

    fn kept_open(&mut self) -> StateMachine {
        self.open.get_or_insert_with(|| open_state(&self.dir)).clone()
    }
}

impl RaftStateMachine<TypeConfig> for RestartingState {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.restarted().applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        self.restarted().apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.kept_open()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        self.kept_open().install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.kept_open().get_current_snapshot().await
    }
}
