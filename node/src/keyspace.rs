//! The door that HTTP knocks at: one keyspace, whatever stands behind it. Today that is a map in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_client::api::kv::MAX_PAGE_BYTES;
use tokio::sync::watch;
use uuid::Uuid;

use crate::election::Lead;
use crate::kv::{Freshness, Operation, Outcome, Page, PageQuery, Reading, Versioned, Write};

/// The log keyspace of this node.
#[derive(Debug)]
pub struct Keyspace {
    state: Mutex<State>,
    leader: watch::Receiver<Lead>,
}

/// Why a write has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was applied; try again when somebody leads.
    #[error("nobody leads: {reason}; nothing was written")]
    NoLeader {
        /// Why, for people.
        reason: String,
    },
    /// This node does not lead and the write had been forwarded to it once; nothing was applied.
    #[error("this node does not lead; nothing was written, send it to the leader")]
    NotLeader {
        /// The leader's client port.
        leader: Option<String>,
    },
    /// It may have been applied, or may be applied later.
    #[error("no answer in time; whether it was written is unknown")]
    Unknown,
    /// Too much is waiting; nothing was applied.
    #[error("too many writes wait already; nothing was written, retry a little later")]
    Overloaded,
    /// No room on disk; nothing was applied.
    #[error("the disk is full; nothing was written, make room and retry")]
    DiskFull,
    /// The node is starting or stopping; nothing was applied.
    #[error("{reason}; nothing was written")]
    NotReady {
        /// Why, for people.
        reason: String,
    },
}

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Linearizable reads need a leader.
    #[error("nobody leads: {reason}")]
    NoLeader {
        /// Why, for people.
        reason: String,
    },
    /// The wanted freshness was not reached in time.
    #[error("{reason}")]
    TooStale {
        /// What was reached, for people.
        reason: String,
    },
    /// The node is starting or stopping.
    #[error("{reason}")]
    NotReady {
        /// Why, for people.
        reason: String,
    },
    /// The disk or its contents are broken.
    #[error("{reason}")]
    Storage {
        /// What was found and what to do.
        reason: String,
    },
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    keys: BTreeMap<String, Versioned>,
}

impl Keyspace {
    /// Empty and in memory; readers are told who leads, though no other node has this data.
    pub fn in_memory(leader: watch::Receiver<Lead>) -> Self {
        Self { state: Mutex::default(), leader }
    }

    /// Applies a write, waiting up to `timeout` for a leader and its answer.
    pub async fn write(&self, write: Write, _timeout: Duration) -> Result<Outcome, WriteError> {
        Ok(self.state().apply(write.operation))
    }

    /// Reads a key, waiting up to `timeout` for the wanted freshness.
    pub async fn get(
        &self,
        key: &str,
        _freshness: Freshness,
        _timeout: Duration,
    ) -> Result<Reading<Option<Versioned>>, ReadError> {
        let state = self.state();
        Ok(state.reading(state.keys.get(key).cloned(), self.leader.borrow().leader))
    }

    /// Lists a page of keys, waiting up to `timeout` for the wanted freshness.
    pub async fn list(
        &self,
        query: &PageQuery,
        _freshness: Freshness,
        _timeout: Duration,
    ) -> Result<Reading<Page>, ReadError> {
        let state = self.state();
        Ok(state.reading(state.page(query), self.leader.borrow().leader))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made of infallible steps, so a panic elsewhere cannot have left half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reading<T>(&self, data: T, leader: Option<Uuid>) -> Reading<T> {
        Reading { data, revision: self.revision, staleness: Some(Duration::ZERO), leader }
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn apply(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Put { key, value, content_type, condition } => {
                let old = self.keys.get(&key);
                let current = old.map(|old| old.modify_revision);
                if !condition.holds(current) {
                    return Outcome::ConditionFailed { current };
                }
                let created_at = old.map(|old| old.create_revision);
                let revision = self.next_revision();
                let create_revision = created_at.unwrap_or(revision);
                self.keys.insert(key, Versioned { value, content_type, create_revision, modify_revision: revision });
                Outcome::Put { revision, created: created_at.is_none() }
            }
            Operation::Delete { key, condition } => {
                let current = self.keys.get(&key).map(|old| old.modify_revision);
                if !condition.holds(current) {
                    return Outcome::ConditionFailed { current };
                }
                let existed = self.keys.remove(&key).is_some();
                Outcome::Deleted { revision: self.next_revision(), existed }
            }
            Operation::DeletePrefix { prefix } => {
                let before = self.keys.len();
                self.keys.retain(|key, _| !key.starts_with(&prefix));
                let deleted = (before - self.keys.len()) as u64;
                Outcome::PrefixDeleted { revision: self.next_revision(), deleted }
            }
            Operation::Configure { .. } => Outcome::Configured { revision: self.next_revision() },
        }
    }

    fn page(&self, query: &PageQuery) -> Page {
        let from = match &query.start_after {
            Some(after) if *after >= query.prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(query.prefix.as_str()),
        };
        let mut page = Page::default();
        let mut bytes = 0;
        let in_prefix = self.keys.range::<str, _>((from, Bound::Unbounded));
        for (key, versioned) in in_prefix.take_while(|(key, _)| key.starts_with(&query.prefix)) {
            let value = if query.keys_only { bytes::Bytes::new() } else { versioned.value.clone() };
            bytes += key.len() + value.len();
            if page.items.len() == query.limit || (bytes > MAX_PAGE_BYTES && !page.items.is_empty()) {
                page.more = true;
                break;
            }
            page.items.push((key.clone(), Versioned { value, ..versioned.clone() }));
        }
        page
    }
}
