//! Applying entries: one batch of the engine for many of them, unsynced, each batch with the position that it reaches.
//!
//! A crash loses whole batches from the end; the log replays them. Decisions are made against the batch over the engine, so that a write sees those
//! before it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::Cache;
use super::deletion::Deletion;
use super::generation::Generation;
use super::rows::{self, APPLIED, Applied, CONFIGURATION, IDEMPOTENCY, KEY, MEMBERSHIP, Part};
use super::sessions::Sessions;
use super::{Change, Entry, StateError};
use crate::kv::memory::REMEMBERED_MS;
use crate::kv::session::{Carried, Past};
use crate::kv::{Decision, Idempotency, Operation, Outcome, Remembered, Write, decide};

/// A batch is committed when its rows take this: bounds memory, and the engine's memtable takes it whole.
const BATCH_BYTES: usize = 1 << 20;

/// A prefix delete of no more keys is one batch: nobody sees half of it. A larger one is applied in batches of so many,
/// and hidden from readers meanwhile (see [`Deletion`]).
pub(super) const DELETED_AT_ONCE: usize = 4096;

/// After so many writes that are remembered, up to twice as many old ones are forgotten: a backlog shrinks, no entry takes long, and
/// the search for the oldest costs little for each.
const FORGET_EVERY: u32 = 32;

/// What the applier keeps from one batch to the next.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) applied: Applied,
    sessions: Sessions,
    /// Bytes of rows that the engine was handed since it last rested.
    pub(super) unrested: usize,
    /// Writes that were remembered since old ones were forgotten last.
    remembered: u32,
    /// No record is older than this stamp.
    oldest_ms: u64,
    /// The last expiry row that was removed: the search goes on behind it, over no graves.
    forgotten: Vec<u8>,
}

impl Progress {
    pub(super) fn new(applied: Applied, sessions: Sessions) -> Self {
        Self { applied, sessions, ..Self::default() }
    }
}

/// Entries on their way into the engine.
pub(super) struct Applier<'a> {
    generation: &'a Generation,
    cache: &'a Cache,
    deletion: &'a Deletion,
    progress: &'a mut Progress,
    /// Rows that are set (`None`: removed) but not committed.
    pending: BTreeMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
    configured: bool,
}

impl<'a> Applier<'a> {
    pub(super) fn new(
        generation: &'a Generation,
        cache: &'a Cache,
        deletion: &'a Deletion,
        progress: &'a mut Progress,
    ) -> Self {
        Self { generation, cache, deletion, progress, pending: BTreeMap::new(), bytes: 0, configured: false }
    }

    /// Applies one entry. On disk, or in the engine's memory, only after [`Self::commit`].
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<Vec<Outcome>, StateError> {
        let outcomes = match &entry.change {
            Change::Nothing => Vec::new(),
            Change::Membership(membership) => {
                self.set(MEMBERSHIP.to_vec(), Some(membership.clone()));
                Vec::new()
            }
            Change::Writes { stamp_ms, writes } => self.apply_writes(entry.position.index, *stamp_ms, writes)?,
        };
        self.progress.applied.position = Some(entry.position);
        self.progress.applied.part = None;
        if self.bytes > BATCH_BYTES {
            self.commit()?;
        }
        Ok(outcomes)
    }

    /// Hands all that was applied to the engine; readers see it then. Says whether the configuration changed.
    pub(super) fn commit(&mut self) -> Result<bool, StateError> {
        for (row, value) in self.progress.sessions.rows()? {
            self.set(row, value);
        }
        self.generation.wait_for_room()?;
        let rows = self.generation.rows()?;
        let mut batch = self.generation.database()?.batch();
        for (row, value) in &self.pending {
            match value {
                Some(value) => batch.insert(rows, &row[..], &value[..]),
                None => batch.remove(rows, &row[..]),
            }
        }
        let applied = postcard::to_stdvec(&self.progress.applied).map_err(|error| StateError(error.to_string()))?;
        batch.insert(rows, APPLIED, applied);
        batch.commit().map_err(|error| self.generation.error(&error))?;
        for (row, value) in std::mem::take(&mut self.pending) {
            if let Some(key) = key_of(&row) {
                self.cache.change(key, value);
            }
        }
        self.progress.unrested += std::mem::take(&mut self.bytes);
        Ok(self.configured)
    }

    fn apply_writes(&mut self, index: u64, stamp_ms: u64, writes: &Arc<[Write]>) -> Result<Vec<Outcome>, StateError> {
        // A leader whose clock is behind does not turn time back.
        self.progress.applied.stamp_ms = self.progress.applied.stamp_ms.max(stamp_ms);
        let part = self.progress.applied.part.take().filter(|part| part.index == index);
        let (done, mut deleted) = part.map_or((0, 0), |part| (part.writes, part.deleted));
        let mut outcomes = Vec::with_capacity(writes.len());
        for (at, write) in (0u64..).zip(writes.iter()) {
            if at < done {
                // Applied before a crash; nobody waits for what came of it any more.
                outcomes.push(Outcome::IdempotencyMismatch);
                continue;
            }
            let part = Part { index, writes: at, deleted: std::mem::take(&mut deleted), prefix: String::new() };
            outcomes.push(self.apply_write(write, part)?);
        }
        Ok(outcomes)
    }

    fn apply_write(&mut self, write: &Write, part: Part) -> Result<Outcome, StateError> {
        if let Some(carried) = write.idempotency.as_ref().and_then(Carried::parse) {
            return self.apply_carried(write, carried, part);
        }
        if let Some(idempotency) = &write.idempotency
            && let Some(remembered) = self.remembered(idempotency)?
        {
            if !remembered.is_forgotten(self.progress.applied.stamp_ms) {
                return Ok(remembered.answer(idempotency.digest));
            }
            self.set(rows::expiry_row(remembered.stamp_ms, &idempotency.key), None);
        }
        let outcome = self.apply_operation(write.operation.clone(), part)?;
        if let Some(idempotency) = &write.idempotency {
            self.remember(idempotency, outcome.clone())?;
        }
        Ok(outcome)
    }

    fn apply_carried(&mut self, write: &Write, carried: Carried, part: Part) -> Result<Outcome, StateError> {
        match self.progress.sessions.past(carried) {
            Past::Applied(outcome) => return Ok(outcome),
            // Nobody waits for this either.
            Past::Settled => return Ok(Outcome::IdempotencyMismatch),
            Past::New => {}
        }
        let outcome = self.apply_operation(write.operation.clone(), part)?;
        self.progress.sessions.remember(carried, outcome.clone(), self.progress.applied.stamp_ms);
        Ok(outcome)
    }

    fn apply_operation(&mut self, operation: Operation, part: Part) -> Result<Outcome, StateError> {
        let current = match &operation {
            Operation::Put { key, .. } | Operation::Delete { key, .. } => {
                let value = self.get(&rows::row(KEY, key))?;
                value.map(|value| rows::parse_revisions(&value).ok_or_else(|| self.unreadable(key))).transpose()?
            }
            Operation::DeletePrefix { .. } | Operation::Configure { .. } | Operation::SkipRevisions { .. } => None,
        };
        let revision = self.progress.applied.revision + 1;
        let outcome = match decide(operation, current, revision) {
            Decision::Refuse(outcome) => return Ok(outcome),
            Decision::Set { key, versioned, outcome } => {
                self.set(rows::row(KEY, &key), Some(rows::encode_value(&versioned).into()));
                outcome
            }
            Decision::Remove { key, outcome } => {
                if current.is_some() {
                    self.set(rows::row(KEY, &key), None);
                }
                outcome
            }
            Decision::RemovePrefix(prefix) => {
                Outcome::PrefixDeleted { revision, deleted: self.delete_prefix(&prefix, part)? }
            }
            Decision::Configure { name, value } => {
                self.set(rows::row(CONFIGURATION, &name), Some(value.into()));
                self.configured = true;
                return Ok(Outcome::Configured);
            }
            Decision::SkipRevisions(count) => {
                self.progress.applied.revision = self.progress.applied.revision.saturating_add(count);
                return Ok(Outcome::Configured);
            }
        };
        self.progress.applied.revision = revision;
        Ok(outcome)
    }

    /// Removes all keys with a prefix, in one batch if they are few, and says how many there were. A large one
    /// commits batches of its own, which say how far it got, so that it goes on there after a crash and still counts right. Readers see none of
    /// its keys from the first of them on.
    fn delete_prefix(&mut self, name: &str, mut part: Part) -> Result<u64, StateError> {
        let prefix = rows::row(KEY, name);
        let few = self.next_with_prefix(&prefix, &[], DELETED_AT_ONCE + 1)?;
        if few.len() <= DELETED_AT_ONCE {
            let few_deleted = few.len() as u64;
            part.deleted += few_deleted;
            for row in few {
                self.set(row, None);
            }
            let deleted = part.deleted;
            if deleted > few_deleted {
                // The rest of one that a crash interrupted.
                self.progress.applied.part = Some(part);
                self.commit()?;
                self.progress.applied.part = None;
                self.deletion.end();
            }
            return Ok(deleted);
        }
        name.clone_into(&mut part.prefix);
        self.deletion.begin(name);
        let mut after = Vec::new();
        loop {
            let some = self.next_with_prefix(&prefix, &after, DELETED_AT_ONCE)?;
            let Some(last) = some.last().cloned() else {
                // The entry is not done yet, and the next commit must not say that it is at this write.
                self.progress.applied.part = None;
                self.deletion.end();
                return Ok(part.deleted);
            };
            after = last;
            part.deleted += some.len() as u64;
            for row in some {
                self.set(row, None);
            }
            self.progress.applied.part = Some(part.clone());
            self.commit()?;
        }
    }

    /// The first rows behind `after` that start with a prefix.
    fn next_with_prefix(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StateError> {
        let mut found = Vec::new();
        let from = if after > prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let pending = self.pending.range::<[u8], _>((from, Bound::Unbounded));
        let mut pending = pending.take_while(|(row, _)| row.starts_with(prefix)).peekable();
        for guard in self.generation.rows()?.range::<&[u8], _>((from, Bound::Unbounded)) {
            let row = guard.key().map_err(|error| self.generation.error(&error))?;
            if !row.starts_with(prefix) {
                break;
            }
            while let Some((earlier, value)) = pending.next_if(|(pending, _)| pending.as_slice() < &row[..]) {
                found.extend(value.is_some().then(|| earlier.clone()));
            }
            match pending.next_if(|(pending, _)| pending.as_slice() == &row[..]) {
                Some((_, None)) => {}
                Some((_, Some(_))) | None => found.push(row.to_vec()),
            }
            if found.len() >= limit {
                break;
            }
        }
        if found.len() < limit {
            found.extend(pending.filter(|(_, value)| value.is_some()).map(|(row, _)| row.clone()));
        }
        found.truncate(limit);
        Ok(found)
    }

    fn remembered(&self, idempotency: &Idempotency) -> Result<Option<Remembered>, StateError> {
        let value = self.get(&rows::row(IDEMPOTENCY, &idempotency.key))?;
        let parse = |value: Bytes| postcard::from_bytes(&value).map_err(|_| self.unreadable(&idempotency.key));
        value.map(parse).transpose()
    }

    fn remember(&mut self, idempotency: &Idempotency, outcome: Outcome) -> Result<(), StateError> {
        let stamp_ms = self.progress.applied.stamp_ms;
        self.forget(stamp_ms)?;
        let remembered = Remembered { digest: idempotency.digest, outcome, stamp_ms };
        let value = postcard::to_stdvec(&remembered).map_err(|error| StateError(error.to_string()))?;
        self.set(rows::row(IDEMPOTENCY, &idempotency.key), Some(value.into()));
        self.set(rows::expiry_row(stamp_ms, &idempotency.key), Some(Bytes::new()));
        Ok(())
    }

    /// Now and then removes a few records that are forgotten already. That they are does not depend on it.
    fn forget(&mut self, now_ms: u64) -> Result<(), StateError> {
        self.progress.remembered += 1;
        let before = now_ms.saturating_sub(REMEMBERED_MS);
        if self.progress.remembered < FORGET_EVERY || self.progress.oldest_ms > before {
            return Ok(());
        }
        self.progress.remembered = 0;
        let after = std::mem::take(&mut self.progress.forgotten);
        let oldest = self.next_with_prefix(&[rows::EXPIRY], &after, 2 * FORGET_EVERY as usize)?;
        self.progress.forgotten = after;
        for row in oldest {
            let Some((stamp, key)) = rows::parse_expiry_row(&row) else { continue };
            self.progress.oldest_ms = stamp;
            if stamp > before {
                break;
            }
            let record = rows::row(IDEMPOTENCY, key);
            self.set(record, None);
            self.set(row.clone(), None);
            self.progress.forgotten = row;
        }
        Ok(())
    }

    fn get(&self, row: &[u8]) -> Result<Option<Bytes>, StateError> {
        if let Some(pending) = self.pending.get(row) {
            return Ok(pending.clone());
        }
        if let Some(Ok(cached)) = key_of(row).map(|key| self.cache.get(key)) {
            return Ok(Some(cached));
        }
        let value = self.generation.rows()?.get(row).map_err(|error| self.generation.error(&error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn set(&mut self, row: Vec<u8>, value: Option<Bytes>) {
        self.bytes += row.len() + value.as_ref().map_or(0, Bytes::len);
        self.pending.insert(row, value);
    }

    fn unreadable(&self, what: &str) -> StateError {
        StateError(format!("{}: the row of {what:?} cannot be read; {}", self.generation.dir.display(), super::REPLACE))
    }
}

/// The key whose row this is, if it is one's.
fn key_of(row: &[u8]) -> Option<&str> {
    row.strip_prefix(&[KEY]).and_then(|key| std::str::from_utf8(key).ok())
}
