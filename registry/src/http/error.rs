//! Every refusal in one place: what the caller is told, with which status.

use std::fmt;

use actix_web::error::{JsonPayloadError, PayloadError, QueryPayloadError};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use muster_client::api::registry::{FoundingConflict, Standing};
use muster_client::api::{ErrorBody, ErrorCode, ErrorDetail, Outcome};
use muster_listener::TooMuchUnread;

use super::MAX_BODY;
use crate::registry::{NotRecorded, RegisterError};

/// A call that is not done.
#[derive(Debug)]
pub struct Refusal {
    error: ErrorDetail,
    /// For a founding in conflict: what stands.
    standing: Option<Option<Standing>>,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl fmt::Display, outcome: Option<Outcome>) -> Self {
        let error = ErrorDetail { code, message: message.to_string(), outcome, leader: None };
        Self { error, standing: None, retry_after: None }
    }

    /// 400.
    pub fn bad_request(message: impl fmt::Display) -> Self {
        Self::new(ErrorCode::BadRequest, message, None)
    }

    /// 404.
    pub fn no_path(path: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is nothing at {path}; /openapi.json lists what there is"), None)
    }

    /// 405.
    pub fn no_method(method: &Method, path: &str) -> Self {
        Self::new(
            ErrorCode::MethodNotAllowed,
            format!("{method} is not possible at {path}; see the Allow header"),
            None,
        )
    }

    /// 500: the work was given up on the way.
    pub fn abandoned() -> Self {
        let message = "the registry gave up in the middle of this; ask again, which does no harm";
        Self::new(ErrorCode::Internal, message, Some(Outcome::Unknown))
    }

    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<TooMuchUnread> for Refusal {
    fn from(_: TooMuchUnread) -> Self {
        let message = "too much of what was asked for waits to be taken; retry a little later";
        Self::new(ErrorCode::Overloaded, message, None).retry_after(1)
    }
}

impl From<JsonPayloadError> for Refusal {
    fn from(error: JsonPayloadError) -> Self {
        let too_large = matches!(
            error,
            JsonPayloadError::Overflow { .. }
                | JsonPayloadError::OverflowKnownLength { .. }
                | JsonPayloadError::Payload(PayloadError::Overflow)
        );
        if too_large {
            Self::new(
                ErrorCode::TooLarge,
                format!("a body here is at most {MAX_BODY} bytes; nothing was changed"),
                None,
            )
        } else if let JsonPayloadError::Deserialize(error) = error {
            Self::bad_request(format!("the body is not the documented JSON: {error}"))
        } else {
            Self::bad_request(error)
        }
    }
}

impl From<QueryPayloadError> for Refusal {
    fn from(error: QueryPayloadError) -> Self {
        match error {
            QueryPayloadError::Deserialize(error) => {
                Self::bad_request(format!("the query is not one of this call: {error}"))
            }
            error => Self::bad_request(error),
        }
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Malformed(error) => Self::bad_request(error),
            RegisterError::Full(error) => {
                Self::new(ErrorCode::Overloaded, error, Some(Outcome::NotApplied)).retry_after(5)
            }
        }
    }
}

impl From<NotRecorded> for Refusal {
    fn from(error: NotRecorded) -> Self {
        let refuse = |code, outcome| Self::new(code, &error, Some(outcome));
        match &error {
            NotRecorded::Stands(standing) => {
                Self { standing: Some(*standing), ..refuse(ErrorCode::Conflict, Outcome::NotApplied) }
            }
            NotRecorded::Quiet(left) => {
                refuse(ErrorCode::NotReady, Outcome::NotApplied).retry_after(left.as_secs() + 1)
            }
            NotRecorded::Full => refuse(ErrorCode::Overloaded, Outcome::NotApplied).retry_after(60),
            NotRecorded::Disk(disk) => {
                log::error!("{error}");
                let full = disk.kind() == std::io::ErrorKind::StorageFull;
                refuse(if full { ErrorCode::DiskFull } else { ErrorCode::Internal }, Outcome::Unknown)
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponseBuilder::new(self.status_code());
        if let Some(seconds) = self.retry_after {
            answer.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        let error = self.error.clone();
        match self.standing {
            Some(standing) => answer.json(FoundingConflict { error, standing }),
            None => answer.json(ErrorBody { error }),
        }
    }
}

impl actix_web::Responder for Refusal {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &actix_web::HttpRequest) -> HttpResponse {
        self.error_response()
    }
}
