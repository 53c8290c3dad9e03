//! The state on disk: keys, replicated configuration, what is remembered of writes, and how far the log was applied.
//!
//! Entries are applied in batches that are not synced one by one: what a crash takes is replayed from the log, so the log may only be purged up to what
//! [`State::persist`] has put on disk. Reads go straight to the engine, beside the applier; no lock is held while they read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use fjall::{PersistMode, Readable};
use tokio::sync::watch;

use super::snapshot::{SnapshotView, SnapshotWriter, StagedSnapshot};
use super::{OpenError, Position};
use crate::kv::{Outcome, Page, PageQuery, Versioned, Write};

mod apply;
mod cache;
mod deletion;
mod generation;
mod intact;
mod read;
mod rows;
mod sessions;

#[cfg(test)]
mod flips;
#[cfg(test)]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;

use apply::Applier;
use cache::Cache;
use deletion::Deletion;
pub(super) use generation::Generation;
use rows::{APPLIED, Applied, MEMBERSHIP};
use sessions::Sessions;

/// What to do about a state that cannot be read.
pub(super) const REPLACE: &str =
    "check the disk, put this data dir aside and start with an empty one: the others send the data anew";

/// This part of the memory for caching goes to the engine, for blocks that listings and misses read; the rest holds rows.
const BLOCKS_SHARE: u64 = 8;

/// Less is not flushed when the state rests: many small tables would only be work for later.
const WORTH_A_TABLE: usize = 256 << 10;

/// The state. Share it in an [`Arc`].
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    /// For the engine.
    block_bytes: u64,
    cache: Cache,
    current: RwLock<Arc<Generation>>,
    applier: Mutex<apply::Progress>,
    persisted: Mutex<Option<Position>>,
    /// Held while the engine for a snapshot is begun: two that begin at one moment need a number each.
    staging: Mutex<()>,
    /// Held by whoever has the engine sync or flush, which holds up batches.
    syncing: Mutex<()>,
    /// What was applied when [`Self::rest`] was called last.
    rested: Mutex<Option<Position>>,
    deletion: Deletion,
    progress: watch::Sender<Progress>,
    configuration: watch::Sender<Arc<BTreeMap<String, String>>>,
}

/// How far the log has been applied here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last applied entry.
    pub applied: Option<Position>,
    /// The revision of the last write.
    pub revision: u64,
    /// The highest stamp of an applied entry, in milliseconds; 0: none had one.
    pub stamp_ms: u64,
}

/// The state cannot be read or written: the disk or what is on it is broken. One line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

/// An entry of the log, as far as the state is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    pub change: Change,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// Who votes from here on, as replication encodes it.
    Membership(Bytes),
    /// Writes, in order, stamped by the leader that proposed them.
    Writes {
        /// In milliseconds.
        stamp_ms: u64,
        /// In this order.
        writes: Arc<[Write]>,
    },
}

impl State {
    /// Opens the state in `dir`, or creates an empty one.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        let block_bytes = cache_bytes / BLOCKS_SHARE;
        let generation = Generation::open_current(dir, block_bytes)?;
        #[cfg(simulated)]
        muster_cluster::world::disk::synced(dir).map_err(|error| OpenError::io("sync", dir, error))?;
        let damaged = |error: StateError| OpenError::Damaged(error.0);
        let applied = read::applied(&generation).map_err(damaged)?;
        let sessions = Sessions::load(&generation).map_err(damaged)?;
        let configuration = read::configuration(&generation).map_err(damaged)?;
        let progress = publishable(&applied);
        let resumed = applied.part.as_ref().map(|part| part.prefix.clone()).filter(|prefix| !prefix.is_empty());
        Ok(Self {
            dir: dir.to_owned(),
            block_bytes,
            cache: Cache::new(cache_bytes - block_bytes),
            rested: Mutex::new(None),
            current: RwLock::new(Arc::new(generation)),
            deletion: Deletion::resumed(resumed),
            staging: Mutex::new(()),
            applier: Mutex::new(apply::Progress::new(applied, sessions)),
            // What was read may have been in the system's memory only.
            persisted: Mutex::new(None),
            syncing: Mutex::new(()),
            progress: watch::Sender::new(progress),
            configuration: watch::Sender::new(Arc::new(configuration)),
        })
    }

    /// A key's value, and the revision that it was read at: every write up to it is in the answer.
    pub fn get(&self, key: &str) -> Result<(Option<Versioned>, u64), StateError> {
        // Before the read: what is applied meanwhile may be in the answer, what was applied before is.
        let revision = self.progress.borrow().revision;
        match read::get(&self.cache, &self.deletion, || self.generation(), key)? {
            Some(found) => {
                let revision = revision.max(found.modify_revision);
                Ok((Some(found), revision))
            }
            // What is not there does not say since when.
            None => read::get_at(&self.generation(), &self.deletion, key),
        }
    }

    /// A page of keys: one consistent cut, and its revision.
    pub fn page(&self, query: &PageQuery) -> Result<(Page, u64), StateError> {
        read::page(&self.generation(), &self.deletion, query)
    }

    /// How far the log has been applied; changes after the state can be read.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The replicated configuration.
    pub fn configuration(&self) -> watch::Receiver<Arc<BTreeMap<String, String>>> {
        self.configuration.subscribe()
    }

    /// The membership that was applied last.
    pub fn membership(&self) -> Result<Option<Bytes>, StateError> {
        read::row(&self.generation(), MEMBERSHIP)
    }

    /// Applies entries in order and says what came of the writes of each. Blocks: short, unless the engine has to catch up with flushing.
    pub fn apply(&self, entries: &[Entry]) -> Result<Vec<Vec<Outcome>>, StateError> {
        let mut applier = self.applier();
        let generation = self.generation();
        let mut batch = Applier::new(&generation, &self.cache, &self.deletion, &mut applier);
        let outcomes = entries.iter().map(|entry| batch.apply(entry)).collect::<Result<Vec<_>, _>>()?;
        if batch.commit()? {
            self.configuration.send_replace(Arc::new(read::configuration(&generation)?));
        }
        self.publish(&applier.applied);
        Ok(outcomes)
    }

    /// The same, if it is certain that the engine has nothing to catch up with: a few microseconds for each write, and the look-ups. `None`: it
    /// may have, and nothing was done.
    pub fn apply_at_once(&self, entries: &[Entry]) -> Option<Result<Vec<Vec<Outcome>>, StateError>> {
        let _nobody_syncs = self.syncing.try_lock().ok()?;
        self.generation().is_calm().then(|| self.apply(entries))
    }

    /// Syncs what was applied: the position that it returns is on disk with all before it. Blocks.
    pub fn persist(&self) -> Result<Option<Position>, StateError> {
        let (position, generation) = {
            let applier = self.applier();
            (applier.applied.position, self.generation())
        };
        if self.persisted().is_some_and(|persisted| Some(persisted) >= position) {
            return Ok(position);
        }
        let _syncing = self.syncing();
        if self.persisted().is_none() {
            // What the engine has read from its journal when it was opened may never have come to the disk, if a sync of it had failed: the system
            // takes such pages for clean, and another sync does nothing for them. In a table it is written anew.
            generation.flush()?;
        }
        generation.database()?.persist(PersistMode::SyncAll).map_err(|error| generation.error(&error))?;
        #[cfg(simulated)]
        muster_cluster::world::disk::synced(&self.dir).map_err(|error| StateError(error.to_string()))?;
        let mut persisted = self.persisted();
        *persisted = (*persisted).max(position);
        Ok(position)
    }

    /// The last position that is known to be on disk.
    pub fn persisted_position(&self) -> Option<Position> {
        *self.persisted()
    }

    /// A consistent view of all there is, on disk: to be sent to others. Cheap; nothing is copied. Blocks on a sync.
    pub fn view(&self) -> Result<SnapshotView, StateError> {
        self.persist()?;
        // No batch comes between the position and the view.
        let applier = self.applier();
        let generation = self.generation();
        let snapshot = generation.database()?.snapshot();
        let membership = match snapshot.get(generation.rows()?, MEMBERSHIP) {
            Ok(row) => row.map(|row| Bytes::copy_from_slice(&row)),
            Err(error) => return Err(generation.error(&error)),
        };
        Ok(SnapshotView { generation, snapshot, applied: applier.applied.position, membership })
    }

    /// Starts to receive a snapshot beside the state. Dropping the writer discards what came. Blocks a little.
    pub fn receive_snapshot(&self) -> Result<SnapshotWriter, StateError> {
        let _staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let number = {
            let used = self.generation().number;
            let staged = std::fs::read_dir(&self.dir)
                .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok()).max());
            staged.ok().flatten().unwrap_or(used).max(used) + 1
        };
        let generation =
            Generation::stage(&self.dir, number, self.block_bytes).map_err(|error| StateError(error.to_string()))?;
        Ok(SnapshotWriter::new(generation))
    }

    /// Replaces the state by a received one, at once and for good. Readers that are reading finish on the old one. Blocks.
    pub fn install(&self, staged: StagedSnapshot) -> Result<(), StateError> {
        let mut applier = self.applier();
        let generation = staged.generation;
        let applied = read::applied(&generation)?;
        let sessions = Sessions::load(&generation)?;
        let configuration = read::configuration(&generation)?;
        generation
            .make_current(&self.dir)
            .map_err(|error| StateError(format!("{}: cannot install a snapshot: {error}", self.dir.display())))?;
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(generation))
        };
        // Whoever reads the old one has a ticket from before this.
        self.cache.clear();
        self.deletion.end();
        old.doom();
        drop(old);
        #[cfg(simulated)]
        muster_cluster::world::disk::synced(&self.dir).map_err(|error| StateError(error.to_string()))?;
        *self.persisted() = applied.position;
        self.publish(&applied);
        *applier = apply::Progress::new(applied, sessions);
        self.configuration.send_replace(Arc::new(configuration));
        Ok(())
    }

    /// Gives memory back if nothing was applied since the last call: what the engine holds in memory goes into a table, if it is worth one.
    /// Call it every few seconds.
    pub fn rest(&self) -> Result<(), StateError> {
        let (applied, unrested) = {
            let applier = self.applier();
            (applier.applied.position, applier.unrested)
        };
        let before = std::mem::replace(&mut *self.rested(), applied);
        if self.ran_out_of_room() || before != applied || unrested < WORTH_A_TABLE {
            return Ok(());
        }
        // Twice, with the same position written in between: the engine lets go of a flushed memtable at the next rotation only.
        for _ in 0..2 {
            let generation = {
                let mut applier = self.applier();
                let generation = self.generation();
                Applier::new(&generation, &self.cache, &self.deletion, &mut applier).commit()?;
                applier.unrested = 0;
                generation
            };
            let _syncing = self.syncing();
            generation.flush()?;
        }
        Ok(())
    }

    /// Whether it takes no writes any more since one of them found no room on the disk. Reads go on. What was applied is in the log as well, and a
    /// start with room reads it from there.
    pub fn ran_out_of_room(&self) -> bool {
        self.generation().ran_out()
    }

    /// Bytes that it takes on disk, nearly.
    pub fn bytes(&self) -> u64 {
        self.generation().database().ok().and_then(|database| database.disk_space().ok()).unwrap_or(0)
    }

    fn publish(&self, applied: &Applied) {
        self.progress.send_replace(publishable(applied));
    }

    fn generation(&self) -> Arc<Generation> {
        // Held for the time of a clone; written only when a snapshot is installed.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn applier(&self) -> MutexGuard<'_, apply::Progress> {
        self.applier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn syncing(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rested(&self) -> MutexGuard<'_, Option<Position>> {
        self.rested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn persisted(&self) -> MutexGuard<'_, Option<Position>> {
        self.persisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for State {
    /// So that the next start has nothing to replay.
    fn drop(&mut self) {
        if !self.ran_out_of_room()
            && let Err(error) = self.persist()
        {
            log::warn!("the state was not synced at the end; the log will replay what is missing: {error}");
        }
    }
}

fn publishable(applied: &Applied) -> Progress {
    Progress { applied: applied.position, revision: applied.revision, stamp_ms: applied.stamp_ms }
}

/// Whether a row says how far the log was applied: a snapshot without it is none.
pub(super) fn is_applied_row(row: &[u8]) -> bool {
    row == APPLIED
}

/// How far the log was applied to an engine.
pub(super) fn applied_position(generation: &Generation) -> Result<Option<Position>, StateError> {
    read::applied(generation).map(|applied| applied.position)
}

/// Begins the journal of an engine that was filled without it, with what is known already. The engine leaves out what has a lower number than its tables,
/// so a bit of a batch's number would do, and the first batch has none before it that its number could be held against (see [`intact`]).
pub(super) fn write_applied_again(generation: &Generation) -> Result<(), StateError> {
    let Some(applied) = read::row(generation, APPLIED)? else { return Ok(()) };
    generation.rows()?.insert(APPLIED, &applied[..]).map_err(|error| generation.error(&error))
}
