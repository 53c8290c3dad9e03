//! Reads and what they give.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Confirmed by a majority: as if there were one copy.
    pub linearizable: bool,
    /// Proved to be at most this old; what cannot be proved becomes linearizable.
    pub max_staleness: Option<Duration>,
    /// This node has applied this revision; waits for it.
    pub min_revision: Option<u64>,
}

/// A value with its revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes as they were put.
    pub value: Bytes,
    /// The `Content-Type` as it was put.
    pub content_type: Option<String>,
    /// The write that created the key.
    pub create_revision: u64,
    /// The write that last set it.
    pub modify_revision: u64,
}

/// What was read, and how good it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<T> {
    /// What was read.
    pub data: T,
    /// The revision applied here when it was read.
    pub revision: u64,
    /// By how much it may be behind; `None`: unknown.
    pub staleness: Option<Duration>,
    /// The leader as this node knows it.
    pub leader: Option<Uuid>,
}

/// What page of keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys after this one.
    pub start_after: Option<String>,
    /// At most so many, 1 to [`muster_client::api::kv::MAX_PAGE`].
    pub limit: usize,
    /// Leave the values out.
    pub keys_only: bool,
}

/// A page in byte order of the keys: one consistent cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values (empty bytes with `keys_only`).
    pub items: Vec<(String, Versioned)>,
    /// Whether keys follow behind the last item.
    pub more: bool,
}
