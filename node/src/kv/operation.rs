//! Writes and their outcomes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One write as it stands in the replicated log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// What to do.
    pub operation: Operation,
    /// Makes a retry of the same write apply once.
    pub idempotency: Option<Idempotency>,
}

/// What to do. Keys are valid ([`muster_client::api::Key`]): they were checked where they came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// The key.
        key: String,
        /// Any bytes.
        value: Bytes,
        /// The `Content-Type` to answer with.
        content_type: Option<String>,
        /// Must hold, or nothing happens.
        condition: Condition,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
        /// Must hold, or nothing happens.
        condition: Condition,
    },
    /// Removes every key that starts with a prefix (all of them when it is empty).
    DeletePrefix {
        /// Bytes of UTF-8.
        prefix: String,
    },
    /// Sets a value of the replicated configuration.
    Configure {
        /// Name of the value.
        name: String,
        /// As text, already checked.
        value: String,
    },
    /// Gives so many revisions to nobody: behind a recovery, where writes that were acknowledged and are lost had some. Releases up to 2.2 do not
    /// know it, and stop at it.
    SkipRevisions {
        /// How many.
        count: u64,
    },
}

/// What must hold of a key for a write to apply: HTTP's `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// `If-Match: *`
    Exists,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "5", "7"`: the modify revision is one of these. Empty (no tag could be a revision): never holds.
    ModifiedAt(Vec<u64>),
    /// `If-None-Match: "5", "7"`: the modify revision is none of these, or the key is absent.
    NotModifiedAt(Vec<u64>),
}

impl Condition {
    /// Whether it holds of a key whose modify revision is `current` (`None`: absent).
    pub fn holds(&self, current: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Exists => current.is_some(),
            Self::Absent => current.is_none(),
            Self::ModifiedAt(revisions) => current.is_some_and(|revision| revisions.contains(&revision)),
            Self::NotModifiedAt(revisions) => !current.is_some_and(|revision| revisions.contains(&revision)),
        }
    }
}

/// Recognises a retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The caller's `Idempotency-Key`.
    pub key: String,
    /// Digest of the request, so that another request under the same key is noticed.
    pub digest: u64,
}

/// What came of a [`Write`]. All that name a revision took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of a put.
    Put {
        /// Of this write.
        revision: u64,
        /// Whether the key was absent.
        created: bool,
    },
    /// Of a delete.
    Deleted {
        /// Of this write.
        revision: u64,
        /// Whether the key was there.
        existed: bool,
    },
    /// Of a prefix delete.
    PrefixDeleted {
        /// Of this write.
        revision: u64,
        /// How many keys went.
        deleted: u64,
    },
    /// Of a configuration, or of skipped revisions. It is no write to the keys and takes no revision.
    Configured,
    /// The condition did not hold; nothing changed.
    ConditionFailed {
        /// The key's modify revision, if it is there.
        current: Option<u64>,
    },
    /// The idempotency key was used for another request within the last ten minutes; nothing changed.
    IdempotencyMismatch,
}
