//! What is on disk: the log, the state that it was applied to, and snapshots of that state. Knows nothing of replication.
//!
//! ```text
//! DIR/lock        held by the process that uses the dir
//! DIR/canary      a few bytes that are written over and over, to see whether the disk answers
//! DIR/format      format version, and the cluster that the data is of
//! DIR/log/        segments, and the control file with the vote
//! DIR/state/      the engine in use, and maybe one that a snapshot is received into
//! ```
//!
//! `docs/storage.md` has the bytes, and what is done about every damage.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod canary;
pub(crate) mod json_file;
pub mod log;
mod position;
pub mod snapshot;
pub mod state;

#[cfg(test)]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub use position::Position;

use self::canary::Canary;
use self::log::{Log, LogOptions};
use self::state::State;

/// The format of the data dir as a whole.
const FORMAT: u16 = 1;

/// Everything that a data dir holds but the identity. The dir stays locked until this is dropped.
pub struct Storage {
    dir: PathBuf,
    log: Arc<Log>,
    state: Arc<State>,
    cluster_id: Mutex<Option<Uuid>>,
    resting: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
    canary: Canary,
    /// Bytes of the state, and free ones, when they were last looked at.
    seen: Mutex<(u64, u64)>,
    /// Locked as long as it is open.
    _lock: File,
}

/// How to open a data dir.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Bytes of blocks that the state engine keeps in memory (`--cache-size`).
    pub cache_bytes: u64,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// With less than this free on the file system the disk counts as full.
    pub reserve_bytes: u64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            // As `--cache-size` has it: a fifth of a small machine's memory, and taken only as it fills.
            cache_bytes: 64 << 20,
            // Rolls about once in two seconds under full load, so that its few milliseconds are lost among the syncs; two of them are no burden on any disk.
            segment_bytes: 16 << 20,
            // What the state still writes once the log has stopped: its journal and the compactions that are due.
            reserve_bytes: 64 << 20,
        }
    }
}

/// Why a data dir cannot be used. One line each that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it. Nothing was changed.
    #[error("{0}")]
    Locked(String),
    /// Of a newer release. Nothing was changed.
    #[error("{0}")]
    Newer(String),
    /// Of another cluster. Nothing was changed.
    #[error("{0}")]
    OtherCluster(String),
    /// A file is damaged. Nothing was repaired.
    #[error("{0}")]
    Damaged(String),
    /// The system refused; try again when what it names is mended.
    #[error("{0}")]
    Io(String),
}

/// Disk figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskStatus {
    /// Bytes that the log takes.
    pub log_bytes: u64,
    /// Bytes that the state takes.
    pub state_bytes: u64,
    /// Bytes left on the file system.
    pub free_bytes: u64,
    /// Median of the last log syncs.
    pub sync_p50: Duration,
    /// 99th percentile of the last log syncs.
    pub sync_p99: Duration,
    /// Whether writes are to be refused for want of room.
    pub full: bool,
    /// Why the log takes nothing any more, if so; only a restart helps.
    pub failed: Option<String>,
    /// For how long the disk has not answered, if that is so long that it hangs. Bytes are those that were seen before then.
    pub stalled: Option<Duration>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FormatFile {
    format: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<Uuid>,
}

impl OpenError {
    fn io(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::Io(format!(
            "{}: cannot {what} it: {error}; see to --data-dir, the rights there and the room on that disk",
            path.display()
        ))
    }

    fn locked(path: &Path) -> Self {
        Self::Locked(format!(
            "{}: another process uses this data dir; stop it, or name another with --data-dir",
            path.display()
        ))
    }

    /// A file of a newer release.
    pub(crate) fn newer(path: &Path, version: u16) -> Self {
        Self::Newer(format!(
            "{}: written by a newer release (format {version}); start that release, or a newer one, on this data dir",
            path.display()
        ))
    }

    fn damaged(path: &Path, offset: u64, what: &str) -> Self {
        Self::Damaged(format!("{}: damaged at byte {offset}: {what}; {}", path.display(), state::REPLACE))
    }
}

impl Storage {
    /// Opens or creates what is in `dir`, and locks it.
    pub fn open(dir: &Path, options: &StorageOptions) -> Result<Self, OpenError> {
        log::create_dir(dir).map_err(|error| OpenError::io("create", dir, error))?;
        let lock = lock(dir)?;
        let format = read_format(dir)?;
        let cluster_id = format.as_ref().and_then(|format| format.cluster_id);
        if format.is_none() {
            for part in ["log", "state"] {
                let path = dir.join(part);
                if path.exists() {
                    return Err(OpenError::damaged(
                        &dir.join("format"),
                        0,
                        &format!("it is missing, but {part}/ is there"),
                    ));
                }
            }
            write_format(dir, None)?;
        }
        // What was acknowledged and the vote are there, however far the state had come.
        let control = dir.join("log").join("control");
        if cluster_id.is_some() && !control.exists() {
            return Err(OpenError::damaged(&control, 0, "it is missing, although the data is part of a cluster"));
        }
        let state = State::open(&dir.join("state"), options.cache_bytes)?;
        let log_options = LogOptions { segment_bytes: options.segment_bytes, reserve_bytes: options.reserve_bytes };
        let log = Log::open(&dir.join("log"), &log_options)?;
        check_state_reaches_log(dir, &log, &state)?;
        let state = Arc::new(state);
        let log = Arc::new(log);
        // It would bring its own chance; what it does, a restart does as well.
        #[cfg(simulated)]
        let resting = Ok::<_, std::io::Error>(None);
        #[cfg(not(simulated))]
        let resting = rest_now_and_then(state.clone(), log.clone()).map(Some);
        let canary = Canary::start(dir).map_err(|error| OpenError::io("watch", dir, error))?;
        Ok(Self {
            dir: dir.to_owned(),
            log,
            resting: resting.map_err(|error| OpenError::io("start a thread for", dir, error))?,
            state,
            canary,
            seen: Mutex::default(),
            cluster_id: Mutex::new(cluster_id),
            _lock: lock,
        })
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The state.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The cluster that the data is of; `None` before it was founded or joined.
    pub fn cluster_id(&self) -> Option<Uuid> {
        *self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ties the data to a cluster, for good; on disk when this returns. An error if it is tied to another.
    pub fn set_cluster_id(&self, id: Uuid) -> Result<(), OpenError> {
        let mut known = self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(known) if known == id => Ok(()),
            Some(known) => Err(OpenError::OtherCluster(format!(
                "{}: the data is of cluster {known}, not of {id}; name another data dir, or put this one aside to join with an empty one",
                self.dir.display()
            ))),
            None => {
                write_format(&self.dir, Some(id))?;
                *known = Some(id);
                Ok(())
            }
        }
    }

    /// Ties the data to the cluster that takes the place of its own after a recovery; on disk when this returns. An error if it is of neither.
    pub fn replace_cluster_id(&self, from: Uuid, to: Uuid) -> Result<(), OpenError> {
        let mut known = self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(own) if own == to => Ok(()),
            Some(own) if own == from => {
                write_format(&self.dir, Some(to))?;
                *known = Some(to);
                Ok(())
            }
            other => Err(OpenError::OtherCluster(format!(
                "{}: the data is of cluster {}, not of {from}; nothing was changed",
                self.dir.display(),
                other.map_or_else(|| "none".to_owned(), |id| id.to_string())
            ))),
        }
    }

    /// For how long the disk has not answered, if that is so long that it hangs.
    pub fn stalled(&self) -> Option<Duration> {
        self.canary.stalled()
    }

    /// Disk figures now. Whoever asks is not held up by a disk that hangs.
    pub fn disk(&self) -> DiskStatus {
        let log = self.log.status();
        let stalled = self.stalled();
        // Looked at before the lock is taken: a disk may begin to hang just then.
        let now = stalled.is_none().then(|| (self.state.bytes(), log::free_bytes(&self.dir).unwrap_or(log.free_bytes)));
        let (state_bytes, free_bytes) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = now.unwrap_or(*seen);
            *seen
        };
        DiskStatus {
            log_bytes: log.bytes,
            state_bytes,
            free_bytes,
            sync_p50: log.sync_p50,
            sync_p99: log.sync_p99,
            full: self.log.is_full(),
            failed: self.log.failure(),
            stalled,
        }
    }
}

/// How often a state is asked to rest: soon after a load, seldom enough to cost nothing.
#[cfg(not(simulated))]
const REST_INTERVAL: Duration = Duration::from_secs(2);

/// Lets the state give memory back when it is at rest and the disk has room, until told to end.
#[cfg(not(simulated))]
fn rest_now_and_then(state: Arc<State>, log: Arc<Log>) -> std::io::Result<(JoinHandle<()>, Arc<AtomicBool>)> {
    let end = Arc::new(AtomicBool::new(false));
    let ended = end.clone();
    let thread = std::thread::Builder::new().name("state-rest".to_owned()).spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            // A table needs room; without it the engine would be lost until a restart.
            if !log.is_starved()
                && let Err(error) = state.rest()
            {
                ::log::warn!("{error}");
            }
            std::thread::park_timeout(REST_INTERVAL);
        }
    })?;
    Ok((thread, end))
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some((thread, end)) = self.resting.take() {
            end.store(true, Ordering::SeqCst);
            thread.thread().unpark();
            if thread.join().is_err() {
                ::log::error!("the thread that lets the state rest panicked");
            }
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.dir.display())
    }
}

/// Locks a data dir until the file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.map_err(|error| OpenError::io("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::locked(dir)),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path, error)),
    }
}

fn read_format(dir: &Path) -> Result<Option<FormatFile>, OpenError> {
    #[derive(Deserialize)]
    struct Version {
        format: u16,
    }
    let path = dir.join("format");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("read", &path, error)),
    };
    let damaged = |error: serde_json::Error| {
        OpenError::damaged(&path, 0, &format!("it is not what this program writes: {error}"))
    };
    // The version first: what else a newer release writes there is unknown.
    let (object, vouched) = json_file::parse(&bytes).map_err(damaged)?;
    let version = Version::deserialize(&object).map_err(damaged)?;
    if version.format > FORMAT {
        return Err(OpenError::newer(&path, version.format));
    }
    let format: FormatFile = serde_json::from_value(object).map_err(damaged)?;
    if !vouched && let Err(why) = write_format(dir, format.cluster_id) {
        ::log::info!("{why}; it has no checksum yet, and gets one with the next start");
    }
    Ok(Some(format))
}

fn write_format(dir: &Path, cluster_id: Option<Uuid>) -> Result<(), OpenError> {
    let path = dir.join("format");
    json_file::replace(&path, &FormatFile { format: FORMAT, cluster_id })
        .map_err(|error| OpenError::io("write", &path, error))
}

/// What was purged from the log must be in the state.
fn check_state_reaches_log(dir: &Path, log: &Log, state: &State) -> Result<(), OpenError> {
    let applied = state.progress().borrow().applied.map(|applied| applied.index);
    let purged = log.bounds().purged.map(|purged| purged.index);
    if applied >= purged {
        return Ok(());
    }
    let number = |index: Option<u64>| index.map_or_else(|| "nothing".to_owned(), |index| format!("entry {index}"));
    let what = format!("it holds the log up to {}, but the log begins behind {}", number(applied), number(purged));
    Err(OpenError::damaged(&dir.join("state"), 0, &what))
}
