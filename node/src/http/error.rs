//! Every failing answer of the client port is made here: one voice for the caller, one for the log.
//!
//! The caller learns what became of the data and what to do; paths, causes and other inner matters go to the log only.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use log::error;
use muster_client::api::error::{ErrorBody, ErrorCode, ErrorDetail, Outcome};
use muster_client::api::key::KeyError;
use muster_listener::TooMuchUnread;

use super::answer;
use crate::admin::AdminError;
use crate::keyspace::{ReadError, WriteError};

/// One second: an election takes less, and so does a queue that is full now.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A call that failed.
#[derive(Debug)]
pub struct ApiError {
    code: ErrorCode,
    message: String,
    outcome: Option<Outcome>,
    leader: Option<String>,
    /// The key's modify revision: what the condition should have said.
    current: Option<u64>,
    allow: Option<&'static str>,
    /// For the log; never for the caller.
    cause: Option<String>,
}

impl ApiError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, outcome: None, leader: None, current: None, allow: None, cause: None }
    }

    /// The request cannot be understood; as it stands it never will be.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// There is no such path.
    pub fn no_such_path(path: &str) -> Self {
        let shown: String = path.chars().take(100).collect();
        Self::new(ErrorCode::NotFound, format!("there is no path `{shown}`; /openapi.json describes what there is"))
    }

    /// There is no such key.
    pub fn no_such_key() -> Self {
        Self::new(ErrorCode::NotFound, "there is no such key")
    }

    /// The path exists, the method does not; `allow` as in the header.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this path takes {allow}");
        Self { allow: Some(allow), ..Self::new(ErrorCode::MethodNotAllowed, message) }
    }

    /// `If-Match` or `If-None-Match` does not hold.
    pub fn condition_failed(current: Option<u64>) -> Self {
        let message = match current {
            Some(revision) => format!("the condition does not hold: the key is at revision {revision}"),
            None => "the condition does not hold: the key is absent".to_owned(),
        };
        Self { current, ..Self::new(ErrorCode::ConditionFailed, message) }
    }

    /// The idempotency key was used for something else.
    pub fn idempotency_mismatch() -> Self {
        let message = "this Idempotency-Key was used for another request within the last ten minutes; use a new one";
        Self::new(ErrorCode::IdempotencyMismatch, message)
    }

    /// A body over the limit.
    pub fn too_large(limit: usize) -> Self {
        Self::new(ErrorCode::TooLarge, format!("the body is too large; this call takes up to {limit} bytes"))
    }

    /// Nobody leads.
    pub fn no_leader(reason: &str) -> Self {
        Self::new(ErrorCode::NoLeader, format!("nobody leads: {reason}"))
    }

    /// The body did not arrive in time.
    pub fn slow_body(limit: std::time::Duration) -> Self {
        let message = format!("the body did not arrive within {} s; nothing was written", limit.as_secs());
        Self::new(ErrorCode::RequestTimeout, message)
    }

    /// Too much is going on already.
    pub fn overloaded() -> Self {
        Self::new(ErrorCode::Overloaded, "too many requests are in flight; retry a little later")
    }

    /// A defect or a broken disk. The caller is told no more than that.
    pub fn internal(cause: impl Into<String>) -> Self {
        let message = "this node failed; its log says how. Another node may answer";
        Self { cause: Some(cause.into()), ..Self::new(ErrorCode::Internal, message) }
    }

    /// Of a call that was to write: unless it is known better, what was refused was not applied, and what failed may be.
    pub fn of_write(self) -> Self {
        let otherwise = match self.code {
            ErrorCode::Internal | ErrorCode::Timeout => Outcome::Unknown,
            _ => Outcome::NotApplied,
        };
        Self { outcome: self.outcome.or(Some(otherwise)), ..self }
    }

    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer to the caller; what is for the log goes there.
    pub fn into_response(self) -> HttpResponse {
        if let Some(cause) = &self.cause {
            error!("{cause}");
        }
        let status = self.status();
        let detail = ErrorDetail { code: self.code, message: self.message, outcome: self.outcome, leader: self.leader };
        let mut response = answer::json(status, &ErrorBody { error: detail });
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(current) = self.current {
            headers.insert(header::ETAG, answer::etag(current));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<TooMuchUnread> for ApiError {
    fn from(_: TooMuchUnread) -> Self {
        let message =
            "too much of what clients asked for waits to be taken; retry a little later, or ask for less at a time";
        Self::new(ErrorCode::Overloaded, message)
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::TooLong(_) => Self::new(ErrorCode::TooLarge, error.to_string()),
            KeyError::Empty | KeyError::Dots | KeyError::NotUtf8 | KeyError::BadEscape => {
                Self::bad_request(error.to_string())
            }
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        let (code, outcome, leader) = match error {
            WriteError::NoLeader { .. } => (ErrorCode::NoLeader, Outcome::NotApplied, None),
            WriteError::NotLeader { leader } => (ErrorCode::NotLeader, Outcome::NotApplied, leader),
            WriteError::Unknown => (ErrorCode::Timeout, Outcome::Unknown, None),
            WriteError::Overloaded => (ErrorCode::Overloaded, Outcome::NotApplied, None),
            WriteError::DiskFull => (ErrorCode::DiskFull, Outcome::NotApplied, None),
            WriteError::NotReady { .. } => (ErrorCode::NotReady, Outcome::NotApplied, None),
        };
        Self { outcome: Some(outcome), leader, ..Self::new(code, message) }
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        match error {
            AdminError::NotFound { .. } => Self::new(ErrorCode::NotFound, message),
            AdminError::Invalid { .. } => Self::bad_request(message),
            AdminError::Conflict { .. } => Self::new(ErrorCode::Conflict, message),
            AdminError::NoLeader { .. } => Self::new(ErrorCode::NoLeader, message),
            AdminError::Timeout { .. } => Self::new(ErrorCode::Timeout, message),
            AdminError::NotReady { .. } => Self::new(ErrorCode::NotReady, message),
            AdminError::Write(error) => error.into(),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::NoLeader { .. } => Self::new(ErrorCode::NoLeader, message),
            ReadError::TooStale { .. } => Self::new(ErrorCode::TooStale, message),
            ReadError::NotReady { .. } => Self::new(ErrorCode::NotReady, message),
            ReadError::Storage { .. } => Self::internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> String {
        "n2 is gone".to_owned()
    }

    #[test]
    fn every_failed_write_says_what_became_of_it() {
        let cases = [
            (WriteError::NoLeader { reason: reason() }, 503, ErrorCode::NoLeader, Outcome::NotApplied),
            (WriteError::NotLeader { leader: Some("h:1".into()) }, 503, ErrorCode::NotLeader, Outcome::NotApplied),
            (WriteError::Unknown, 504, ErrorCode::Timeout, Outcome::Unknown),
            (WriteError::Overloaded, 429, ErrorCode::Overloaded, Outcome::NotApplied),
            (WriteError::DiskFull, 507, ErrorCode::DiskFull, Outcome::NotApplied),
            (WriteError::NotReady { reason: reason() }, 503, ErrorCode::NotReady, Outcome::NotApplied),
        ];
        for (error, status, code, outcome) in cases {
            let answered = ApiError::from(error.clone()).of_write();
            assert_eq!((answered.status().as_u16(), answered.code), (status, code), "{error}");
            assert_eq!(answered.outcome, Some(outcome), "{error}");
            let response = answered.into_response();
            let retry = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(retry, matches!(status, 429 | 503), "{error}");
        }
    }

    #[test]
    fn a_refused_write_was_not_applied_and_a_failed_one_may_be() {
        assert_eq!(ApiError::bad_request("x").of_write().outcome, Some(Outcome::NotApplied));
        assert_eq!(ApiError::overloaded().of_write().outcome, Some(Outcome::NotApplied));
        assert_eq!(ApiError::internal("x").of_write().outcome, Some(Outcome::Unknown));
        assert_eq!(
            ApiError::from(AdminError::Timeout { reason: "late".to_owned() }).of_write().outcome,
            Some(Outcome::Unknown)
        );
    }

    #[test]
    fn inner_causes_are_for_the_log_only() {
        let error = ApiError::from(ReadError::Storage { reason: "/data/state.7: bad checksum".to_owned() });
        assert_eq!((error.status().as_u16(), error.cause.as_deref()), (500, Some("/data/state.7: bad checksum")));
        assert!(!error.message.contains("/data"));
    }
}
