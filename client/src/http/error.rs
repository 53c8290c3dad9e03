//! What a call can fail with, and what then became of the data.
//!
//! Three things can have happened to a write: it was acknowledged (`Ok`), it certainly did not and will not happen
//! ([`Outcome::NotApplied`]), or nobody can say ([`Outcome::Unknown`]). [`Error::outcome`] tells the last two apart.

use std::fmt;
use std::time::Duration;

use crate::api::{ErrorCode, Outcome};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's mistake, found before anything was sent. Nothing was read or written; sending it again does not help.
    #[error("{0}")]
    Invalid(String),
    /// `if_revision`, `if_absent` or `if_exists` does not hold. Nothing was written; read the key and decide anew.
    #[error("{}; nothing was written", match current {
        Some(revision) => format!("the condition does not hold: the key is at revision {revision}"),
        None => "the condition does not hold: the key is absent".to_owned(),
    })]
    ConditionFailed {
        /// The key's modify revision, `None` when it is absent.
        current: Option<u64>,
    },
    /// A node answered with an error.
    #[error("{message} ({endpoint})")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// What became of the data.
        outcome: Outcome,
        /// Who said so.
        endpoint: String,
        /// Where the leader is, as that node knows it.
        leader: Option<String>,
        /// How long the node asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No node gave an answer in time.
    #[error("no node answered: {}", list(tried))]
    NoAnswer {
        /// What became of the data.
        outcome: Outcome,
        /// Whom it was sent to and what came of it.
        tried: Vec<Tried>,
    },
    /// Something answered that does not speak Muster's API; look at the address.
    #[error("{endpoint} does not answer like a Muster server: {reason}")]
    Garbled {
        /// Who answered.
        endpoint: String,
        /// What was wrong with the answer.
        reason: String,
        /// What became of the data.
        outcome: Outcome,
    },
}

/// What a caller may do after an error. The client itself has already retried what is safe, up to the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call cannot succeed; something in it has to change.
    Never,
    /// Nothing happened: the same call may succeed after this long.
    After(Duration),
    /// It may have happened: find out first, or repeat only what does no harm twice.
    AfterReading,
}

/// An attempt that brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The address.
    pub endpoint: String,
    /// What happened.
    pub reason: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.reason)
    }
}

fn list(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return "none is known".to_owned();
    }
    tried.iter().map(Tried::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// What became of the data: certainly nothing, or nobody knows. Reads change nothing, so theirs is always
    /// [`Outcome::NotApplied`].
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::ConditionFailed { .. } => Outcome::NotApplied,
            Self::Refused { outcome, .. } | Self::NoAnswer { outcome, .. } | Self::Garbled { outcome, .. } => *outcome,
        }
    }

    /// The server's code, where a server gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::ConditionFailed { .. } => Some(ErrorCode::ConditionFailed),
            Self::Invalid(_) | Self::NoAnswer { .. } | Self::Garbled { .. } => None,
        }
    }

    /// What the caller may do now.
    pub fn retry(&self) -> Retry {
        /// 1 s: an election is over by then.
        const SOON: Duration = Duration::from_secs(1);
        if self.outcome() == Outcome::Unknown {
            return Retry::AfterReading;
        }
        match self {
            Self::Invalid(_) | Self::ConditionFailed { .. } | Self::Garbled { .. } => Retry::Never,
            Self::NoAnswer { .. } => Retry::After(SOON),
            Self::Refused { code, retry_after, .. } => match code {
                ErrorCode::BadRequest
                | ErrorCode::NotFound
                | ErrorCode::MethodNotAllowed
                | ErrorCode::Conflict
                | ErrorCode::IdempotencyMismatch
                | ErrorCode::ConditionFailed
                | ErrorCode::TooLarge
                | ErrorCode::Other => Retry::Never,
                ErrorCode::RequestTimeout
                | ErrorCode::Overloaded
                | ErrorCode::Internal
                | ErrorCode::NoLeader
                | ErrorCode::NotLeader
                | ErrorCode::NotReady
                | ErrorCode::TooStale
                | ErrorCode::Timeout
                | ErrorCode::DiskFull => Retry::After(retry_after.unwrap_or(SOON)),
            },
        }
    }

    /// The same error after an earlier attempt of the same call that may have been applied: nobody knows any more.
    /// A condition that failed stays failed, since the cluster answers a retry with the outcome of the first.
    pub(super) fn after_unknown(mut self) -> Self {
        match &mut self {
            Self::Invalid(_) | Self::ConditionFailed { .. } => {}
            Self::Refused { outcome, .. } | Self::NoAnswer { outcome, .. } | Self::Garbled { outcome, .. } => {
                *outcome = Outcome::Unknown;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_a_plain_retry() {
        let nobody = Error::NoAnswer { outcome: Outcome::NotApplied, tried: Vec::new() };
        assert!(matches!(nobody.retry(), Retry::After(_)));
        assert_eq!(nobody.after_unknown().retry(), Retry::AfterReading);
        assert_eq!(Error::ConditionFailed { current: None }.after_unknown().outcome(), Outcome::NotApplied);
    }
}
