//! A place in the log.

use serde::{Deserialize, Serialize};

/// Term and index of an entry, in the order in which logs are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The term in which it was proposed.
    pub term: u64,
    /// Its place, from 0.
    pub index: u64,
}
