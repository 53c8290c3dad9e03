//! openraft's state machine over the state on disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use muster_cluster::world::spawn_blocking;
use openraft::OptionalSend;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::types::{
    Applied, Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, log_id, position,
};
use crate::kv::{Operation, Write};
use crate::storage::log::Log;
use crate::storage::snapshot::{SnapshotReader, SnapshotView, StagedSnapshot};
use crate::storage::state::{self, Change, State, StateError};

/// Bytes of writes that are applied together: the first of them waits for the last, and all of them are in memory.
const TOGETHER_BYTES: usize = 1 << 20;

/// How often a disk without room is looked at again.
const ROOM: Duration = Duration::from_millis(100);

/// Entries that are applied together.
const TOGETHER: usize = 512;

/// Bytes of writes that are applied where they are: less than a millisecond's work, in which this thread does nothing else.
const AT_ONCE_BYTES: usize = 128 << 10;

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
        match self {
            Self::View(view) => view.reader().map_err(io::Error::other),
            Self::Staged(_) => Err(io::Error::other("a received snapshot is installed, not sent")),
        }
    }
}

/// The state as openraft sees it. Clones share it.
#[derive(Debug, Clone)]
pub struct StateMachine {
    state: Arc<State>,
    room: Option<Room>,
}

/// Tells whether entries may be applied now.
#[derive(Debug, Clone)]
pub struct Room {
    /// Watches the disk that the state is on as well.
    pub log: Arc<Log>,
    /// False while the engine starts and once it stops: then nothing waits.
    pub waits: Arc<AtomicBool>,
}

impl StateMachine {
    /// A state machine over this state.
    pub fn new(state: Arc<State>) -> Self {
        Self { state, room: None }
    }

    /// The same, that applies nothing while the disk has no room: the log keeps the entries, and reads go on over what was applied.
    pub fn with_room(state: Arc<State>, room: Room) -> Self {
        Self { state, room: Some(room) }
    }

    async fn wait_for_room(&self) {
        let Some(room) = &self.room else { return };
        while room.waits.load(Ordering::Relaxed) && room.log.is_starved() {
            tokio::time::sleep(ROOM).await;
        }
    }

    /// An error ends the engine. One for want of room is held back until there is room: what was applied can be read until then, and the start
    /// that follows finds room for the rest.
    async fn held_back<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let (Some(room), Err(_)) = (&self.room, &result)
            && self.state.ran_out_of_room()
        {
            log::error!(
                "the disk is full: nothing is applied until there is room, and reads show what was applied before"
            );
            while room.waits.load(Ordering::Relaxed) && !room.log.has_room() {
                tokio::time::sleep(ROOM).await;
            }
        }
        result
    }

    async fn snapshot(&self) -> io::Result<Snapshot> {
        let state = self.state.clone();
        let view = self.held_back(blocking(move || state.view()).await).await?;
        let meta = SnapshotMeta {
            last_log_id: view.applied().map(log_id),
            last_membership: decode_membership(view.membership().map(|bytes| &bytes[..]))?,
        };
        Ok(Snapshot { meta, snapshot: SnapshotData::View(view) })
    }

    /// Small batches are applied here and now, unless the engine may hold them up: handing them, or the other tasks of this thread, to another
    /// thread costs as much as applying them.
    fn apply_together(
        &self,
        entries: &[state::Entry],
        bytes: usize,
        responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    ) -> io::Result<()> {
        let small = bytes <= AT_ONCE_BYTES && !entries.iter().any(|entry| is_long(&entry.change));
        let at_once = small.then(|| self.state.apply_at_once(entries)).flatten();
        let outcomes = at_once.unwrap_or_else(|| in_place(|| self.state.apply(entries))).map_err(io::Error::other)?;
        for (responder, outcomes) in responders.into_iter().zip(outcomes) {
            if let Some(responder) = responder {
                responder.send(Applied { outcomes });
            }
        }
        Ok(())
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    /// One sync: the state is on disk already.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.snapshot().await
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.state.progress().borrow().applied.map(log_id);
        let membership = self.state.membership().map_err(io::Error::other)?;
        Ok((applied, decode_membership(membership.as_deref())?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        loop {
            let (mut together, mut responders, mut bytes) = (Vec::new(), Vec::new(), 0);
            while together.len() < TOGETHER && bytes < TOGETHER_BYTES {
                let Some(next) = entries.next().await else { break };
                let (entry, responder) = next?;
                let entry = to_state(entry)?;
                bytes += size(&entry.change);
                together.push(entry);
                responders.push(responder);
            }
            if together.is_empty() {
                return Ok(());
            }
            self.wait_for_room().await;
            let applied = self.apply_together(&together, bytes, responders);
            self.held_back(applied).await?;
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let state = self.state.clone();
        let expected = meta.last_log_id.map(position);
        let installed = blocking(move || {
            let staged = match snapshot {
                SnapshotData::Staged(staged) => staged,
                // Built in this process, as openraft does at a start and in its tests.
                SnapshotData::View(view) => {
                    let (mut reader, mut writer) = (view.reader()?, state.receive_snapshot()?);
                    while let Some(frame) = reader.next_frame()? {
                        writer.write_frame(&frame)?;
                    }
                    writer.finish()?
                }
            };
            if staged.applied() != expected {
                let found = staged.applied();
                return Err(StateError(format!(
                    "the snapshot is of {found:?}, not of {expected:?} as announced; it is refused"
                )));
            }
            state.install(staged)
        });
        self.held_back(installed.await).await
    }

    /// A fresh one: all there is now. `None` while nothing was applied.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.state.progress().borrow().applied.is_none() {
            return Ok(None);
        }
        self.snapshot().await.map(Some)
    }
}

/// An entry as the state knows it.
fn to_state(entry: Entry) -> io::Result<state::Entry> {
    let change = match entry.payload {
        Payload::Blank => Change::Nothing,
        Payload::Normal(command) => Change::Writes { stamp_ms: command.stamp_ms, writes: command.writes },
        Payload::Membership(membership) => {
            let stored = StoredMembership::new(Some(entry.log_id), membership);
            Change::Membership(postcard::to_stdvec(&stored).map_err(io::Error::other)?.into())
        }
    };
    Ok(state::Entry { position: position(entry.log_id), change })
}

fn decode_membership(bytes: Option<&[u8]>) -> io::Result<StoredMembership> {
    bytes.map_or_else(|| Ok(StoredMembership::default()), |bytes| postcard::from_bytes(bytes).map_err(io::Error::other))
}

/// Bytes that an entry takes in memory, nearly.
fn size(change: &Change) -> usize {
    let of_write = |write: &Write| match &write.operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key, .. } => key.len(),
        Operation::DeletePrefix { prefix } => prefix.len(),
        Operation::Configure { name, value } => name.len() + value.len(),
        Operation::SkipRevisions { .. } => 0,
    };
    match change {
        Change::Nothing => 0,
        Change::Membership(bytes) => bytes.len(),
        Change::Writes { writes, .. } => writes.iter().map(of_write).sum(),
    }
}

/// Whether its length does not show the work that it is.
fn is_long(change: &Change) -> bool {
    let touches_many = |write: &Write| matches!(write.operation, Operation::DeletePrefix { .. });
    matches!(change, Change::Writes { writes, .. } if writes.iter().any(touches_many))
}

/// Runs what may block for a while, mostly does not, and is not worth a hand-over to another thread.
fn in_place<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        // A runtime of one thread has nobody to hand its tasks to.
        Ok(_) | Err(_) => run(),
    }
}

/// Runs what blocks on the disk on a thread for that.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T, StateError> + Send + 'static) -> io::Result<T> {
    spawn_blocking(run).await.map_err(io::Error::other)?.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::storage::{Storage, StorageOptions};

    #[tokio::test(start_paused = true)]
    async fn nothing_is_applied_while_the_disk_has_no_room_and_everything_after_that() {
        let dir = tempfile::tempdir().unwrap();
        // No disk has that much to keep in reserve.
        let options = StorageOptions { cache_bytes: 1 << 20, reserve_bytes: 1 << 60, ..StorageOptions::default() };
        let storage = Storage::open(dir.path(), &options).unwrap();
        while !storage.log().is_starved() {
            std::thread::yield_now();
        }
        let room = Room { log: storage.log().clone(), waits: Arc::new(AtomicBool::new(true)) };
        let mut machine = StateMachine::with_room(storage.state().clone(), room.clone());
        let entry = Entry { log_id: log_id(crate::storage::Position { term: 1, index: 0 }), payload: Payload::Blank };
        let entries = stream::iter([Ok((entry, None))]);
        let applying = machine.apply(entries);
        tokio::pin!(applying);
        tokio::select! {
            applied = &mut applying => panic!("applied without room: {applied:?}"),
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        assert_eq!(storage.state().progress().borrow().applied, None);
        room.waits.store(false, Ordering::Relaxed);
        applying.await.unwrap();
        assert_eq!(storage.state().progress().borrow().applied.map(|applied| applied.index), Some(0));
    }
}
