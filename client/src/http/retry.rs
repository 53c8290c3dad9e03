//! What to do after an attempt that did not succeed, and how long to wait before the next.
//!
//! Pure. A read may always be sent again. A write may too, because it carries an idempotency key, and every retry carries
//! the same: the cluster applies it once. A call without such a key is sent again only while it is certain that nobody
//! acted on it.

use std::time::Duration;

use super::error::Error;
use crate::api::{ErrorCode, Outcome};

/// First back-off: shorter than an election, so that a quick one is not waited past.
const FIRST: Duration = Duration::from_millis(10);
/// Longest back-off: short beside the deadline of a call, long beside an answer.
const LONGEST: Duration = Duration::from_millis(500);
/// How often a full or broken disk is asked again: leadership may just be moving away from it.
const DISK_RETRIES: u32 = 3;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more: the error is the answer.
    GiveUp,
    /// Ask again after a back-off; the node is fine.
    BackOff,
    /// Leave this node and ask another at once.
    Elsewhere,
    /// This node does not lead: ask whoever does.
    FollowLeader,
}

/// Decides after the failed attempt number `attempt` (from 0).
pub(super) fn next(error: &Error, repeatable: bool, attempt: u32) -> Next {
    if error.outcome() == Outcome::Unknown && !repeatable {
        return Next::GiveUp;
    }
    match error {
        Error::Invalid(_) | Error::ConditionFailed { .. } => Next::GiveUp,
        Error::NoAnswer { .. } | Error::Garbled { .. } => Next::Elsewhere,
        Error::Refused { code, .. } => match code {
            ErrorCode::BadRequest
            | ErrorCode::NotFound
            | ErrorCode::MethodNotAllowed
            | ErrorCode::Conflict
            | ErrorCode::IdempotencyMismatch
            | ErrorCode::ConditionFailed
            | ErrorCode::TooLarge
            | ErrorCode::Other => Next::GiveUp,
            ErrorCode::NotLeader => Next::FollowLeader,
            ErrorCode::NotReady => Next::Elsewhere,
            ErrorCode::RequestTimeout
            | ErrorCode::NoLeader
            | ErrorCode::Overloaded
            | ErrorCode::TooStale
            | ErrorCode::Timeout => Next::BackOff,
            ErrorCode::DiskFull | ErrorCode::Internal if attempt < DISK_RETRIES => Next::BackOff,
            ErrorCode::DiskFull | ErrorCode::Internal => Next::GiveUp,
        },
    }
}

/// How long to wait before attempt number `attempt + 1`: twice as long each time, and a random part of it (`chance` from 0
/// to 1), so that clients that failed together do not come back together. What the server asked for is a lower bound,
/// up to `patience`.
pub(super) fn pause(attempt: u32, chance: f64, asked: Option<Duration>, patience: Duration) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << attempt.min(10)).min(LONGEST);
    ceiling.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0).max(asked.unwrap_or_default().min(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode, outcome: Outcome) -> Error {
        Error::Refused {
            code,
            message: String::new(),
            outcome,
            endpoint: String::new(),
            leader: None,
            retry_after: None,
        }
    }

    #[test]
    fn what_may_have_happened_is_repeated_only_under_a_key() {
        let lost = refused(ErrorCode::Timeout, Outcome::Unknown);
        assert_eq!(next(&lost, true, 0), Next::BackOff);
        assert_eq!(next(&lost, false, 0), Next::GiveUp);
        assert_eq!(next(&refused(ErrorCode::NoLeader, Outcome::NotApplied), false, 0), Next::BackOff);
    }

    #[test]
    fn an_answer_is_not_argued_with() {
        for code in [ErrorCode::BadRequest, ErrorCode::TooLarge, ErrorCode::Conflict, ErrorCode::IdempotencyMismatch] {
            assert_eq!(next(&refused(code, Outcome::NotApplied), true, 0), Next::GiveUp);
        }
        assert_eq!(next(&Error::ConditionFailed { current: None }, true, 0), Next::GiveUp);
    }

    #[test]
    fn a_full_disk_is_asked_a_few_times_for_leadership_may_move() {
        let full = refused(ErrorCode::DiskFull, Outcome::NotApplied);
        assert_eq!(next(&full, true, DISK_RETRIES - 1), Next::BackOff);
        assert_eq!(next(&full, true, DISK_RETRIES), Next::GiveUp);
    }

    #[test]
    fn pauses_grow_to_half_a_second_and_heed_the_server() {
        let patience = Duration::from_secs(1);
        assert_eq!(pause(0, 1.0, None, patience), FIRST);
        assert_eq!(pause(0, 0.0, None, patience), FIRST / 2);
        assert_eq!(pause(u32::MAX, 1.0, None, patience), LONGEST);
        assert_eq!(pause(0, 1.0, Some(Duration::from_secs(3600)), patience), patience);
    }
}
