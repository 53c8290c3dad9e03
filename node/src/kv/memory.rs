//! What is remembered of a write so that a retry of it is answered, not applied.

use serde::{Deserialize, Serialize};

use super::operation::Outcome;

/// How long a write is remembered: longer than any client retries. Counted by the stamps in the log entries.
pub const REMEMBERED_MS: u64 = 10 * 60 * 1000;

/// A write that had an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Digest of the request.
    pub digest: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was applied, by the stamp of its entry.
    pub stamp_ms: u64,
}

impl Remembered {
    /// Whether it is to be forgotten. The same on every replica, whenever its record is really removed.
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.stamp_ms) >= REMEMBERED_MS
    }

    /// What to answer to a write with the same key.
    pub fn answer(&self, digest: u64) -> Outcome {
        if self.digest == digest { self.outcome.clone() } else { Outcome::IdempotencyMismatch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_answered_for_ten_minutes_and_another_request_is_noticed() {
        let outcome = Outcome::PrefixDeleted { revision: 7, deleted: 2 };
        let remembered = Remembered { digest: 1, outcome: outcome.clone(), stamp_ms: 1_000 };
        assert_eq!(remembered.answer(1), outcome);
        assert_eq!(remembered.answer(2), Outcome::IdempotencyMismatch);
        assert!(!remembered.is_forgotten(0), "a stamp that goes back forgets nothing");
        assert!(!remembered.is_forgotten(1_000 + REMEMBERED_MS - 1));
        assert!(remembered.is_forgotten(1_000 + REMEMBERED_MS));
    }
}
