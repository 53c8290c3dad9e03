//! One operation of a client: what was asked, when, and what the client may conclude.

use serde::{Deserialize, Serialize};

/// A time of the run: microseconds since it began, on the one clock that all clients share.
pub type Micros = u64;

/// What a client did and saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who: clients are numbered, each does one thing at a time.
    pub client: usize,
    /// Whom it was sent to: a node's number, or `None` for the client library, which finds its own way.
    pub node: Option<usize>,
    /// When it was sent.
    pub began: Micros,
    /// When the answer was there, or hope was given up.
    pub ended: Micros,
    /// What was asked.
    pub call: Call,
    /// What came of it.
    pub seen: Seen,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Sets a key. No two puts of a run have the same value, unless they are the same put, sent again with the same `again`.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// On what condition.
        condition: Condition,
        /// The idempotency key.
        again: Option<String>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
        /// On what condition.
        condition: Condition,
        /// The idempotency key.
        again: Option<String>,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: String,
        /// How fresh.
        freshness: Freshness,
    },
    /// Reads every key under a prefix, as one cut.
    List {
        /// The prefix.
        prefix: String,
        /// How fresh.
        freshness: Freshness,
    },
}

/// On what a write depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// On nothing.
    Always,
    /// The key is absent.
    Absent,
    /// This revision was the last to write the key.
    At(u64),
}

/// How fresh a read is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freshness {
    /// As the node has it.
    Local,
    /// As old as that at most.
    Within(Micros),
    /// As if there were one copy.
    Linearizable,
}

/// What the client may conclude.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// The write was acknowledged.
    Wrote {
        /// With this revision.
        revision: u64,
        /// Whether the key was there before.
        existed: bool,
    },
    /// The condition did not hold.
    Refused {
        /// The key's revision; `None`: it is absent, or nobody said.
        current: Option<u64>,
    },
    /// A key was read.
    Read {
        /// The key, if it is there.
        found: Option<Found>,
        /// The revision that the node had applied; `None`: the client library does not tell it of an absent key.
        applied: Option<u64>,
        /// By how much the answer may be behind, as the node says, in milliseconds; `None`: it cannot say.
        staleness: Option<u64>,
    },
    /// Keys were listed.
    Listed {
        /// All that is there under the prefix, in the order of the keys.
        found: Vec<(String, Found)>,
        /// The revision of the cut; `None`: the client library does not tell it of an empty page.
        applied: Option<u64>,
        /// As with a read.
        staleness: Option<u64>,
    },
    /// A write was certainly not applied, or a read not answered.
    Failed(String),
    /// A write may have been applied, or may yet be.
    Unknown(String),
}

/// A key as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its value.
    pub value: String,
    /// The revision that last wrote it.
    pub revision: u64,
}

impl Call {
    /// The key, unless it is a listing.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Get { key, .. } => Some(key),
            Self::List { .. } => None,
        }
    }

    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Delete { .. })
    }

    /// How fresh a read is to be; `None` for a write.
    pub fn freshness(&self) -> Option<Freshness> {
        match self {
            Self::Get { freshness, .. } | Self::List { freshness, .. } => Some(*freshness),
            Self::Put { .. } | Self::Delete { .. } => None,
        }
    }

    /// The idempotency key.
    pub fn again(&self) -> Option<&str> {
        match self {
            Self::Put { again, .. } | Self::Delete { again, .. } => again.as_deref(),
            Self::Get { .. } | Self::List { .. } => None,
        }
    }
}

impl Seen {
    /// Whether a write was acknowledged.
    pub fn is_acked(&self) -> bool {
        matches!(self, Self::Wrote { .. })
    }
}

impl Operation {
    /// The revision of an acknowledged write.
    pub fn acked(&self) -> Option<u64> {
        match self.seen {
            Seen::Wrote { revision, .. } => Some(revision),
            _ => None,
        }
    }

    /// What a read saw of the store: the revision applied, and the staleness announced (in milliseconds).
    pub fn view(&self) -> Option<(u64, Option<u64>)> {
        match self.seen {
            Seen::Read { applied, staleness, .. } | Seen::Listed { applied, staleness, .. } => {
                Some((applied?, staleness))
            }
            _ => None,
        }
    }

    /// What it says of a key: `Some(None)` when it saw that the key is absent.
    pub fn saw(&self, key: &str) -> Option<Option<&Found>> {
        match (&self.call, &self.seen) {
            (Call::Get { key: asked, .. }, Seen::Read { found, .. }) if asked == key => Some(found.as_ref()),
            (Call::List { prefix, .. }, Seen::Listed { found, .. }) if key.starts_with(prefix) => {
                let at = found.binary_search_by(|(listed, _)| listed.as_str().cmp(key));
                Some(at.ok().map(|at| &found[at].1))
            }
            _ => None,
        }
    }
}
