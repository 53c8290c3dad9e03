//! openraft's log storage over the segmented log.
//!
//! Entries are encoded here and kept, decoded, for a while: followers and the state machine are fed from memory. Who is further
//! behind is read for from the disk, a bounded piece at a time.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use muster_cluster::world::spawn_blocking;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::errors::LeaderChanged;
use openraft::storage::{
    IOFlushed, LeaderBoundedStreamError, LeaderBoundedStreamResult, LogState, RaftLogReader, RaftLogStorage,
};
use tokio::sync::oneshot;

use super::types::{Entry, LeaderId, LogId, Payload, TypeConfig, Vote, log_id, position};
use crate::storage::Position;
use crate::storage::log::recent::Recent;
use crate::storage::log::{Callback, Log, LogError, Record};
use crate::storage::state::State;

/// Encoded bytes of entries that are kept decoded (they take two or three times that): what a follower is behind by for a moment, a tenth of a
/// second at full load. Who is further behind costs reads of pages that the system has in memory.
const RECENT_BYTES: u64 = 1 << 20;

/// Bytes read, or handed to a follower, at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Bytes that may wait to be written; when full, openraft's core waits, and with it whoever sends. Far above what the engine has in flight: only a stalled disk gets here.
const WAITING_BYTES: u64 = 64 << 20;

/// The log as openraft sees it. Clones share it.
#[derive(Debug, Clone)]
pub struct LogStore {
    log: Arc<Log>,
    /// The log is never purged beyond what this has on disk.
    state: Option<Arc<State>>,
    recent: Arc<Mutex<Recent<Entry>>>,
}

impl LogStore {
    /// A store over this log; it is never purged beyond what `state` has on disk.
    pub fn new(log: Arc<Log>, state: Arc<State>) -> Self {
        Self { log, state: Some(state), recent: Arc::new(Mutex::new(Recent::new(RECENT_BYTES))) }
    }

    /// For openraft's tests, which purge what they never applied.
    #[cfg(test)]
    pub(super) fn unguarded(log: Arc<Log>) -> Self {
        Self { log, state: None, recent: Arc::new(Mutex::new(Recent::new(RECENT_BYTES))) }
    }

    /// The first entries from `from` up to `to` (excluded): from memory, or up to [`PIECE_BYTES`] from the disk.
    async fn piece(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        self.read(from, to, PIECE_BYTES).await
    }

    async fn read(&self, from: u64, to: u64, limit: u64) -> io::Result<Vec<Entry>> {
        let to = to.min(self.log.bounds().last.map_or(0, |last| last.index + 1));
        if from >= to {
            return Ok(Vec::new());
        }
        {
            let recent = self.recent();
            let mut left = limit;
            let fits = |size: &u64| {
                let fits = left >= *size;
                left = left.saturating_sub(*size);
                fits
            };
            let some = from + recent.sizes(from).take_while(fits).count().max(1) as u64;
            if let Some(entries) = recent.range(from, some.min(to)) {
                return Ok(entries);
            }
        }
        let log = self.log.clone();
        let read = move || log.read(from, to, limit)?.into_iter().map(decode).collect::<Result<Vec<_>, _>>();
        spawn_blocking(read).await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    fn recent(&self) -> MutexGuard<'_, Recent<Entry>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn vote(&self) -> io::Result<Option<Vote>> {
        let decode = |vote: Bytes| postcard::from_bytes(&vote).map_err(|error| invalid("the vote", &error));
        self.log.vote().map(decode).transpose()
    }

    /// Whether entries may still be sent in this leader's name.
    fn check_leader(&self, leader: &LeaderId) -> Result<(), LeaderBoundedStreamError<TypeConfig>> {
        match self.vote()? {
            Some(vote) if vote.leader_id == *leader && vote.committed => Ok(()),
            other => Err(LeaderChanged::new(*leader, other).into()),
        }
    }

    /// What was purged must be in the state, and on disk there. Says whether it is; there may be no room for it.
    async fn persist_state(&self, purged: LogId) -> io::Result<bool> {
        let Some(state) = self.state.clone() else { return Ok(true) };
        let reached = |persisted: Option<Position>| persisted.is_some_and(|persisted| persisted.index >= purged.index);
        if reached(state.persisted_position()) {
            return Ok(true);
        }
        let persisting = state.clone();
        let persisted = spawn_blocking(move || persisting.persist()).await.map_err(io::Error::other)?;
        match persisted {
            Ok(persisted) if reached(persisted) => Ok(true),
            Ok(_) => Err(io::Error::other(format!("entry {} was to be purged, but is not applied", purged.index))),
            Err(_) if state.ran_out_of_room() => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Asks the log for something and waits for the answer.
async fn answer(ask: impl FnOnce(Callback)) -> io::Result<()> {
    let (sender, answer) = oneshot::channel();
    // Nobody listens any more if openraft is shutting down.
    ask(Box::new(move |result| drop(sender.send(result))));
    match answer.await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => Err(io::Error::other(LogError::Closed)),
    }
}

fn decode(record: Record) -> Result<Entry, LogError> {
    let index = record.position.index;
    let payload: Payload = postcard::from_bytes(&record.payload)
        .map_err(|error| LogError::Damaged(format!("entry {index} cannot be decoded: {error}")))?;
    Ok(Entry::new(log_id(record.position), payload))
}

fn invalid(what: &str, error: &postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} cannot be decoded: {error}"))
}

/// First index and the one behind the last.
fn ends(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (mut from, to) = ends(&range);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let piece = self.piece(from, to).await?;
            let Some(last) = piece.last() else { return Ok(entries) };
            from = last.log_id.index + 1;
            entries.extend(piece);
        }
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.piece(start, end).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = ends(&range);
        let pieces =
            Pieces { store: self.clone(), from, to, leader: None, piece: Vec::new().into_iter(), ended: false };
        // Fused: who reads in batches asks once more behind the end.
        Box::pin(
            stream::unfold(pieces, |mut pieces| async move {
                let item = pieces.next().await?;
                let item = item.map_err(|error| match error {
                    LeaderBoundedStreamError::IoError(error) => error,
                    LeaderBoundedStreamError::LeaderChanged(changed) => io::Error::other(changed),
                });
                Some((item, pieces))
            })
            .fuse(),
        )
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<TypeConfig>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = ends(&range);
        let leader = Some(leader);
        let pieces = Pieces { store: self.clone(), from, to, leader, piece: Vec::new().into_iter(), ended: false };
        Box::pin(
            stream::unfold(pieces, |mut pieces| async move {
                let item = pieces.next().await?;
                Some((item, pieces))
            })
            .fuse(),
        )
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.vote()
    }
}

/// A range of entries, read a piece at a time.
struct Pieces {
    store: LogStore,
    from: u64,
    to: u64,
    /// Who must lead for the entries to be handed out.
    leader: Option<LeaderId>,
    piece: std::vec::IntoIter<Entry>,
    ended: bool,
}

impl Pieces {
    /// The next entry; `None` at the end and behind an error.
    async fn next(&mut self) -> Option<LeaderBoundedStreamResult<TypeConfig>> {
        if self.ended {
            return None;
        }
        let next = self.try_next().await;
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }

    async fn try_next(&mut self) -> Result<Option<Entry>, LeaderBoundedStreamError<TypeConfig>> {
        // Before every entry: they are void as soon as another leads.
        if let Some(leader) = &self.leader {
            self.store.check_leader(leader)?;
        }
        if let Some(entry) = self.piece.next() {
            return Ok(Some(entry));
        }
        let piece = self.store.piece(self.from, self.to).await?;
        // What was read after another began to lead may be another's.
        if let Some(leader) = &self.leader {
            self.store.check_leader(leader)?;
        }
        if let Some(last) = piece.last() {
            self.from = last.log_id.index + 1;
        }
        self.piece = piece.into_iter();
        Ok(self.piece.next())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let bounds = self.log.bounds();
        Ok(LogState { last_purged_log_id: bounds.purged.map(log_id), last_log_id: bounds.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = postcard::to_stdvec(vote).map_err(|error| invalid("the vote", &error))?;
        answer(|done| self.log.save_vote(vote.into(), done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let committed = committed.map(position);
        // A snapshot commits what never was in this log; noted, it would be missed at the next start.
        if committed.map(|committed| committed.index) <= self.log.bounds().last.map(|last| last.index) {
            self.log.save_committed(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if self.log.waiting_bytes() > WAITING_BYTES {
            answer(|done| self.log.barrier(done)).await?;
        }
        let mut records = Vec::new();
        let mut decoded = Vec::new();
        for entry in entries {
            let payload = postcard::to_stdvec(&entry.payload).map_err(|error| invalid("an entry", &error))?;
            records.push(Record { position: position(entry.log_id), payload: payload.into() });
            decoded.push(entry);
        }
        let sizes: Vec<u64> = records.iter().map(|record| record.payload.len() as u64).collect();
        let done = move |result: Result<(), LogError>| callback.io_completed(result.map_err(io::Error::other));
        self.log.append(records, Box::new(done)).map_err(io::Error::other)?;
        let mut recent = self.recent();
        for (entry, size) in decoded.into_iter().zip(sizes) {
            recent.push(entry.log_id.index, entry, size);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let last = last_log_id.map(|last| last.index);
        self.recent().truncate_after(last);
        answer(|done| self.log.truncate_after(last, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        if !self.persist_state(log_id).await? {
            // The log stays as long as it is: what it holds beyond what the engine believes is seen at the next start, and purged again.
            return Ok(());
        }
        self.recent().purge(log_id.index);
        answer(|done| self.log.purge(position(log_id), done)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use openraft::testing::log_id as test_log_id;
    use openraft::type_config::TypeConfigExt;

    use super::*;
    use crate::kv::{Operation, Write};
    use crate::replication::types::{Command, NodeId};
    use crate::storage::{Storage, StorageOptions};

    fn open(dir: &tempfile::TempDir) -> Storage {
        let options = StorageOptions { cache_bytes: 1 << 20, reserve_bytes: 0, ..StorageOptions::default() };
        Storage::open(dir.path(), &options).unwrap()
    }

    fn entry(term: u64, index: u64) -> Entry {
        let operation = Operation::Configure { name: "name".into(), value: "x".repeat(100_000) };
        let payload = Payload::Normal(Command::new(index, vec![Write { operation, idempotency: None }]));
        Entry::new(test_log_id::<TypeConfig>(term, NodeId::default(), index), payload)
    }

    async fn append(store: &mut LogStore, entries: Vec<Entry>) {
        let (sender, done) = TypeConfig::oneshot();
        store.append(entries, IOFlushed::signal(sender)).await.unwrap();
        done.await.unwrap().unwrap();
    }

    fn indices(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[tokio::test]
    async fn what_memory_has_forgotten_is_read_from_the_disk_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(&dir);
        let mut store = LogStore::new(storage.log().clone(), storage.state().clone());
        let entries: Vec<_> = (0..100).map(|index| entry(1, index)).collect();
        append(&mut store, entries.clone()).await;
        assert!(store.recent().range(90, 100).is_some() && store.recent().range(0, 10).is_none());
        for from in [0, 90] {
            let piece = store.limited_get_log_entries(from, 100).await.unwrap();
            assert!((5..12).contains(&piece.len()), "{} entries of 100 kB are about a piece", piece.len());
            assert_eq!(piece, entries[from as usize..][..piece.len()]);
        }
        assert_eq!(store.try_get_log_entries(..).await.unwrap(), entries);
        let streamed: Vec<_> = store.entries_stream(3..77).await.map(Result::unwrap).collect().await;
        assert_eq!(indices(&streamed), (3..77).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stream_ends_as_soon_as_another_leads() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(&dir);
        let mut store = LogStore::new(storage.log().clone(), storage.state().clone());
        append(&mut store, (0..20).map(|index| entry(1, index)).collect()).await;
        let leader = Vote::new_committed(1, NodeId::default());
        store.save_vote(&leader).await.unwrap();
        let mut reader = store.clone();
        let mut stream = Box::pin(reader.leader_bounded_stream(leader.leader_id, 0..20).await);
        assert_eq!(stream.next().await.unwrap().unwrap().log_id.index, 0);
        store.save_vote(&Vote::new(2, NodeId::from(9))).await.unwrap();
        assert!(matches!(stream.next().await, Some(Err(LeaderBoundedStreamError::LeaderChanged(_)))));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn nothing_is_purged_that_the_state_has_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(&dir);
        let mut store = LogStore::new(storage.log().clone(), storage.state().clone());
        append(&mut store, vec![entry(1, 0), entry(1, 1)]).await;
        let refused = store.purge(test_log_id::<TypeConfig>(1, NodeId::default(), 0)).await.unwrap_err();
        assert!(refused.to_string().contains("not applied"), "{refused}");
        let change = crate::storage::state::Change::Nothing;
        let applied = crate::storage::state::Entry { position: Position { term: 1, index: 0 }, change };
        storage.state().apply(&[applied]).unwrap();
        assert_eq!(storage.state().persisted_position(), None);
        store.purge(test_log_id::<TypeConfig>(1, NodeId::default(), 0)).await.unwrap();
        assert_eq!(storage.state().persisted_position(), Some(Position { term: 1, index: 0 }));
        assert_eq!(indices(&store.try_get_log_entries(..).await.unwrap()), [1]);
    }

    #[tokio::test]
    async fn a_committed_entry_that_only_a_snapshot_has_is_not_missed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        {
            let storage = open(&dir);
            let mut store = LogStore::new(storage.log().clone(), storage.state().clone());
            append(&mut store, vec![entry(1, 0)]).await;
            store.save_committed(Some(test_log_id::<TypeConfig>(1, NodeId::default(), 70))).await.unwrap();
            assert_eq!(store.read_committed().await.unwrap(), None);
        }
        open(&dir);
    }
}
