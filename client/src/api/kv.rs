//! The log keyspace, `/kv`.

use serde::{Deserialize, Serialize};

/// Answer to `PUT /kv/{key}`: 201 when `created`, else 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAnswer {
    /// The key as the server understood it.
    pub key: String,
    /// The revision of this write, from 1.
    pub revision: u64,
    /// Whether the key was absent before.
    pub created: bool,
}

/// Answer to `DELETE /kv/{key}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteAnswer {
    /// The key as the server understood it.
    pub key: String,
    /// The revision of this write, from 1.
    pub revision: u64,
    /// Whether there was something to delete.
    pub existed: bool,
}

/// Answer to `DELETE /kv?prefix=P`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixDeleteAnswer {
    /// The revision of this write, from 1.
    pub revision: u64,
    /// How many keys went.
    pub deleted: u64,
}

/// Answer to `GET /kv?prefix=P`: one page, a consistent cut in byte order of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The revision of the cut.
    pub revision: u64,
    /// The keys and their values.
    pub items: Vec<Item>,
    /// What to give as `start_after` for the next page; `null` on the last.
    pub next: Option<String>,
}

/// One key of a [`Page`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The key.
    pub key: String,
    /// The value in base64 (standard alphabet, padded); absent with `keys_only=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The revision that created the key.
    pub create_revision: u64,
    /// The revision that last wrote it: what `If-Match` compares.
    pub modify_revision: u64,
}

/// Keys of a page when `limit` is not given.
pub const DEFAULT_PAGE: usize = 100;
/// Most keys of a page.
pub const MAX_PAGE: usize = 1_000;
/// Most bytes of keys and values in a page: what a client may have to hold at once.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
