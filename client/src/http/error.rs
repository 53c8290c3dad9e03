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
}
