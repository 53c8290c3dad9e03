//! What every failing call answers with.

use serde::{Deserialize, Serialize};

/// The body of an error: `{"error":{"code":..,"message":..,"outcome":..}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The only field.
    pub error: ErrorDetail,
}

/// What went wrong, what became of the data, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what happened to the data and what to do.
    pub message: String,
    /// What became of a write; `null` where nothing was to be written.
    pub outcome: Option<Outcome>,
    /// Where the leader's client port is, when a node that does not lead knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// What became of a write that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Certainly not applied, now or later: safe to send again.
    NotApplied,
    /// It may have been applied, or may yet be: send again only with the same idempotency key or a condition.
    Unknown,
}

/// Why a call failed. A program decides by this and by the status; unknown codes of newer servers read as [`ErrorCode::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request cannot be understood.
    BadRequest,
    /// 404: no such key, member or path.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 409: it contradicts what stands.
    Conflict,
    /// 409: the idempotency key was used for another request.
    IdempotencyMismatch,
    /// 412: `If-Match` or `If-None-Match` does not hold.
    ConditionFailed,
    /// 413: key or value too large.
    TooLarge,
    /// 429: too much is waiting already.
    Overloaded,
    /// 500: a defect or a broken disk of the server.
    Internal,
    /// 503: nobody leads, or nobody who can be reached.
    NoLeader,
    /// 503: this node does not lead (any more) and the request had been forwarded once.
    NotLeader,
    /// 503: the node is starting, stopping, or has no cluster yet.
    NotReady,
    /// 503: the wanted freshness was not reached in time.
    TooStale,
    /// 504: no answer in time.
    Timeout,
    /// 507: no room on disk.
    DiskFull,
    /// A code that this version does not know.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// The HTTP status that belongs to the code.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Conflict | Self::IdempotencyMismatch => 409,
            Self::ConditionFailed => 412,
            Self::TooLarge => 413,
            Self::Overloaded => 429,
            Self::Internal | Self::Other => 500,
            Self::NoLeader | Self::NotLeader | Self::NotReady | Self::TooStale => 503,
            Self::Timeout => 504,
            Self::DiskFull => 507,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_documented_one() {
        let body = ErrorBody {
            error: ErrorDetail {
                code: ErrorCode::NoLeader,
                message: "nobody leads".to_owned(),
                outcome: Some(Outcome::NotApplied),
                leader: None,
            },
        };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"error":{"code":"no_leader","message":"nobody leads","outcome":"not_applied"}}"#);
    }

    #[test]
    fn a_code_from_the_future_is_read_as_other() {
        let text = r#"{"error":{"code":"moon_phase","message":"","outcome":null}}"#;
        assert_eq!(serde_json::from_str::<ErrorBody>(text).unwrap().error.code, ErrorCode::Other);
    }
}
