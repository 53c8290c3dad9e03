//! `GET /livez` and `GET /readyz`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The answer of a health call: 200 when `ok`, else 503, the same body with both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether every check passed.
    pub ok: bool,
    /// Each check by name.
    pub checks: BTreeMap<String, Check>,
    /// How many more voters may fail before writes stop; only nodes of a cluster say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_tolerated: Option<u32>,
}

/// One check of a health call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Whether it passed.
    pub ok: bool,
    /// What it saw; when it failed, what to do.
    pub message: String,
}

impl Health {
    /// Sums up checks: healthy when all are.
    pub fn of(checks: BTreeMap<String, Check>) -> Self {
        Self { ok: checks.values().all(|check| check.ok), checks, failures_tolerated: None }
    }
}
