//! What is on disk: the log, the state that it was applied to, and snapshots of that state. Knows nothing of replication.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

pub mod log;
mod position;
pub mod snapshot;
pub mod state;

pub use position::Position;

/// Everything that a data dir holds but the identity.
pub struct Storage {
    log: Arc<log::Log>,
    state: Arc<state::State>,
}

/// How to open a data dir.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Bytes of blocks that the state engine keeps in memory.
    pub cache_bytes: u64,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// With less than this free on the file system the disk counts as full.
    pub reserve_bytes: u64,
}

/// Why a data dir cannot be used. Nothing was changed. One line each that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0}")]
    Locked(String),
    /// Of a newer release.
    #[error("{0}")]
    Newer(String),
    /// A file is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The system refused.
    #[error("{0}")]
    Io(String),
}

/// Disk figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DiskStatus {
    /// Bytes that the log takes.
    pub log_bytes: u64,
    /// Bytes that the state takes.
    pub state_bytes: u64,
    /// Bytes left on the file system.
    pub free_bytes: u64,
    /// Median of the last log syncs.
    pub sync_p50: std::time::Duration,
    /// 99th percentile of the last log syncs.
    pub sync_p99: std::time::Duration,
    /// Whether writes are to be refused for want of room.
    pub full: bool,
    /// Why the log takes nothing any more, if so; only a restart helps.
    pub failed: Option<String>,
}

impl OpenError {
    fn io(what: &str, path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Io(format!("{}: cannot {what} it: {error}", path.display()))
    }

    fn newer(path: &Path, version: u16) -> Self {
        Self::Newer(format!(
            "{}: written by a newer release (format {version}); start that release, or a newer one, on this data dir",
            path.display()
        ))
    }

    fn damaged(path: &Path, offset: u64, what: &str) -> Self {
        Self::Damaged(format!(
            "{}: damaged at byte {offset}: {what}; check the disk, put this data dir aside and start with an empty one: the others send the data anew",
            path.display()
        ))
    }
}

impl Storage {
    /// Opens or creates what is in `dir`. The dir is locked until this and all that came of it is dropped.
    pub fn open(dir: &Path, options: StorageOptions) -> Result<Self, OpenError> {
        let _ = (dir, options);
        todo!()
    }

    /// The log.
    pub fn log(&self) -> &Arc<log::Log> {
        &self.log
    }

    /// The state.
    pub fn state(&self) -> &Arc<state::State> {
        &self.state
    }

    /// The cluster that the data is of; `None` before it was founded or joined.
    pub fn cluster_id(&self) -> Option<Uuid> {
        todo!()
    }

    /// Ties the data to a cluster, for good; on disk when this returns. An error if it is tied to another.
    pub fn set_cluster_id(&self, id: Uuid) -> Result<(), OpenError> {
        let _ = id;
        todo!()
    }

    /// Disk figures now.
    pub fn disk(&self) -> DiskStatus {
        todo!()
    }
}
