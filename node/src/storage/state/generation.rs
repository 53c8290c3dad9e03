//! The directories of the state: one engine each, and the file that names the one in use.
//!
//! `state/current` holds a number; `state/<number>/` is the engine in use. A snapshot is received into another directory, and becomes the state by
//! one rename of `current`. So a crash leaves the old state or the new one, and the leftovers of either are removed at the next start.

use std::cell::Cell;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use muster_cluster::world;

use super::rows::APPLIED;
use super::{REPLACE, StateError, intact};
use crate::storage::OpenError;
use crate::storage::log::{create_dir, free_bytes, sync_dir};

/// Memory for writes before they are flushed to a table; the engine keeps up to four more of them while it flushes, and the allocator some of what they took.
/// With 4 MiB a process with 10,000 keys of 256 bytes rested at 39 MiB and took 67 at most, with 2 MiB at 34 and 52, for 3.9 instead of 3.4 us of
/// processor time a write.
const MEMTABLE: u64 = 2 << 20;

/// With so many tables in the first level the engine would begin to hold writes up (it does from 20 on).
const TABLES: usize = 16;

/// From 30 on it takes none.
const HALTING_TABLES: usize = 29;

/// It takes none while four memtables wait to be flushed. One more may be waiting by the time that a batch is in.
const SEALED: usize = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Threads that flush and compact. With a second one, fjall 3.1 has the first spin for as long as the second compacts: a fifth of a loaded
/// node's processor time. With one, a flush waits for a compaction; four full memtables may wait before a write does.
const WORKERS: usize = 1;

/// The engine's own journal. It only bridges the time between flushes, since the log can replay the rest: the least that it accepts.
const JOURNAL: u64 = 64 << 20;

/// Open files of tables that are kept: a table has up to 64 MiB, so this serves gigabytes without reopening.
const FILES: usize = 128;

/// 64 MiB, a table: with less room than one takes, a flush or a compaction that failed most likely did so for want of it.
const NO_ROOM: u64 = 64 << 20;

/// What the engine makes last of a new directory that it cannot do without, and at one blow. It does not open a directory that it has begun and not
/// come so far with.
const MADE_LAST: &str = "keyspaces/0/current";

/// An open engine.
pub(in crate::storage) struct Generation {
    pub(super) number: u64,
    pub(super) dir: PathBuf,
    engine: Option<(Database, Keyspace)>,
    /// Removed when the last one who uses it lets go.
    doomed: AtomicBool,
    /// A write of it found no room. It takes none after that, and can still be read.
    ran_out: AtomicBool,
}

impl Generation {
    /// Opens the engine in use, or makes the first; removes leftovers of others.
    pub(super) fn open_current(state_dir: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        create_dir(state_dir).map_err(|error| OpenError::io("create", state_dir, error))?;
        let path = state_dir.join("current");
        let number = match std::fs::read_to_string(&path) {
            Ok(text) => Some(
                text.trim()
                    .parse::<u64>()
                    .map_err(|_| OpenError::damaged(&path, 0, "the file does not hold a number"))?,
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(OpenError::io("read", &path, error)),
        };
        let Some(number) = number else {
            // A first start may have ended before `current` was there; then there is nothing in any of them, and maybe too little to be opened.
            for (other, dir) in generations(state_dir)? {
                if dir.join(MADE_LAST).exists() && !is_empty(&Self::open(dir, other, cache_bytes)?) {
                    return Err(OpenError::damaged(&path, 0, "it is missing, but the state that it named is there"));
                }
            }
            remove_others(state_dir, None)?;
            let first = Self::open(state_dir.join("1"), 1, cache_bytes)?;
            first.make_current(state_dir).map_err(|error| OpenError::io("write", &path, error))?;
            return Ok(first);
        };
        let dir = state_dir.join(number.to_string());
        if !dir.is_dir() {
            return Err(OpenError::damaged(&dir, 0, "the directory is missing"));
        }
        // Nothing is removed before that succeeded: a bit of `current` may have turned over.
        let current = Self::open(dir, number, cache_bytes)?;
        remove_others(state_dir, Some(number))?;
        Ok(current)
    }

    /// Makes an empty engine beside the one in use. It is removed when dropped, until it is made current.
    pub(super) fn stage(state_dir: &Path, number: u64, cache_bytes: u64) -> Result<Self, OpenError> {
        let dir = state_dir.join(number.to_string());
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(|error| OpenError::io("remove", &dir, error))?;
        }
        let generation = Self::open(dir, number, cache_bytes)?;
        generation.doom();
        Ok(generation)
    }

    fn open(dir: PathBuf, number: u64, cache_bytes: u64) -> Result<Self, OpenError> {
        intact::check(&dir)?;
        // The engine asserts some of what it reads; no file may make the process panic.
        let opened = quietly(|| {
            let database = Database::builder(&dir)
                .cache_size(cache_bytes)
                .worker_threads(WORKERS)
                .max_journaling_size(JOURNAL)
                .max_cached_files(Some(FILES))
                // What a crash takes is replayed from the log; no need to hand every batch to the system.
                .manual_journal_persist(true)
                .open()?;
            let rows = database.keyspace("state", || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE))?;
            Ok((database, rows))
        });
        let engine = opened.map_err(|error| match error {
            fjall::Error::Locked => OpenError::locked(&dir),
            fjall::Error::InvalidVersion(Some(version)) => OpenError::newer(&dir, u16::from(version as u8)),
            fjall::Error::Io(error) => OpenError::io("open", &dir, error),
            other => OpenError::damaged(&dir, 0, &format!("the state engine cannot read it ({other:?})")),
        })?;
        Ok(Self { number, dir, engine: Some(engine), doomed: AtomicBool::new(false), ran_out: AtomicBool::new(false) })
    }

    /// From here on this is the state, also after a crash.
    pub(super) fn make_current(&self, state_dir: &Path) -> std::io::Result<()> {
        sync_dir(state_dir)?;
        sync_dirs(&self.dir)?;
        let aside = state_dir.join("current.new");
        let mut file = std::fs::File::create(&aside)?;
        writeln!(file, "{}", self.number)?;
        file.sync_all()?;
        // Before the name is there: whatever fails behind it, what `current` names stays.
        self.doomed.store(false, Ordering::SeqCst);
        std::fs::rename(&aside, state_dir.join("current")).inspect_err(|_| self.doom())?;
        sync_dir(state_dir)
    }

    /// Remove it when nobody uses it any more.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
    }

    pub(in crate::storage) fn database(&self) -> Result<&Database, StateError> {
        self.engine.as_ref().map(|(database, _)| database).ok_or_else(closed)
    }

    pub(in crate::storage) fn rows(&self) -> Result<&Keyspace, StateError> {
        self.engine.as_ref().map(|(_, rows)| rows).ok_or_else(closed)
    }

    /// Whether the engine holds up no small batch now: nothing is full, waits to be flushed, or is being flushed (which syncs the engine's journal
    /// while batches wait).
    pub(super) fn is_calm(&self) -> bool {
        self.engine
            .as_ref()
            .is_some_and(|(database, rows)| database.write_buffer_size() < MEMTABLE && rows.l0_table_count() < TABLES)
    }

    /// Waits while the engine would wait for its own thread if it were given a batch now. It would do so for ever once that thread has failed.
    pub(super) fn wait_for_room(&self) -> Result<(), StateError> {
        let (database, rows) = (self.database()?, self.rows()?);
        self.wait_while(database, || rows.sealed_memtable_count() >= SEALED || rows.l0_table_count() >= HALTING_TABLES)
    }

    /// Has the engine put what it holds in memory into a table.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        let (database, rows) = (self.database()?, self.rows()?);
        match rows.rotate_memtable() {
            Ok(true) => self.wait_while(database, || rows.sealed_memtable_count() > 0),
            Ok(false) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn wait_while(&self, database: &Database, busy: impl Fn() -> bool) -> Result<(), StateError> {
        while busy() {
            // It says whether the engine has failed.
            database.persist(PersistMode::Buffer).map_err(|error| self.error(&error))?;
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Whether the engine takes no writes any more since one of them found no room.
    pub(super) fn ran_out(&self) -> bool {
        self.ran_out.load(Ordering::Relaxed)
    }

    /// An error of the engine, in one line.
    pub(in crate::storage) fn error(&self, error: &fjall::Error) -> StateError {
        if is_for_want_of_room(error, &self.dir) {
            self.ran_out.store(true, Ordering::Relaxed);
        }
        let what_to_do = match error {
            fjall::Error::Io(_) | fjall::Error::Storage(fjall::LsmError::Io(_)) => {
                "check the disk and restart the node".to_owned()
            }
            // It says no more of what failed in the background than it has logged by itself.
            fjall::Error::Poisoned => format!(
                "the lines before say why; restart the node, and when that ends the same way, a file is damaged: {REPLACE}"
            ),
            _ => REPLACE.to_owned(),
        };
        StateError(format!("{}: the state engine failed: {error:?}; {what_to_do}", self.dir.display()))
    }
}

thread_local! {
    /// A panic on this thread is about to become an error, and says nothing by itself.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Opens the engine; a panic of it is an error like others, without the words and the backtrace that a panic prints.
fn quietly<T>(open: impl FnOnce() -> fjall::Result<T>) -> fjall::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                others(panic);
            }
        }));
    });
    EXPECTED.set(true);
    let opened = catch_unwind(AssertUnwindSafe(open));
    EXPECTED.set(false);
    opened.unwrap_or(Err(fjall::Error::Unrecoverable))
}

/// What fails in the background only says afterwards that something did: then the room that there is now tells.
fn is_for_want_of_room(error: &fjall::Error, dir: &Path) -> bool {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        }
        fjall::Error::Poisoned => free_bytes(dir).is_some_and(|free| free < NO_ROOM),
        _ => false,
    }
}

fn closed() -> StateError {
    StateError("the state is closed".to_owned())
}

/// Makes the names of all directories in one durable: the engine makes some without doing so.
fn sync_dirs(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_dirs(&entry.path())?;
        }
    }
    sync_dir(dir)
}

/// Whether nothing was ever applied to it.
fn is_empty(generation: &Generation) -> bool {
    generation.rows().is_ok_and(|rows| matches!(rows.get(APPLIED), Ok(None)))
}

fn remove_others(state_dir: &Path, number: Option<u64>) -> Result<(), OpenError> {
    for (other, dir) in generations(state_dir)? {
        if Some(other) != number {
            std::fs::remove_dir_all(&dir).map_err(|error| OpenError::io("remove", &dir, error))?;
        }
    }
    Ok(())
}

/// The engines in a directory.
fn generations(state_dir: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let listed = std::fs::read_dir(state_dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = listed.map_err(|error| OpenError::io("list", state_dir, error))?;
    let numbered = |entry: std::fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
    Ok(entries.into_iter().filter_map(numbered).collect())
}

impl Drop for Generation {
    fn drop(&mut self) {
        let engine = self.engine.take();
        if self.doomed.load(Ordering::SeqCst) {
            let dir = self.dir.clone();
            // The last one to let go may be a reader; closing and deleting can take a while.
            world::detach(move || {
                drop(engine);
                if let Err(error) = std::fs::remove_dir_all(&dir) {
                    log::warn!("{}: cannot remove: {error}; the next start tries again", dir.display());
                }
            });
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({})", self.number)
    }
}
