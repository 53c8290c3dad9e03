//! openraft's log storage over the segmented log.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::storage::log::Log;
use crate::storage::state::State;

/// The log as openraft sees it. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    log: Arc<Log>,
}

impl LogStore {
    /// A store over this log; it is never purged beyond what `state` has on disk.
    pub fn new(log: Arc<Log>, state: Arc<State>) -> Self {
        let _ = state;
        Self { log }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let _ = range;
        todo!()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        todo!()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        todo!()
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let _ = (vote, &self.log);
        todo!()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let _ = (entries, callback);
        todo!()
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let _ = last_log_id;
        todo!()
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let _ = log_id;
        todo!()
    }
}
