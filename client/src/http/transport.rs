//! One request to one endpoint, and nothing about retries.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use super::error::Error;
use crate::api::{ErrorBody, ErrorCode, Outcome, header};

/// 1 s to connect: ten times a round trip across an ocean. A host that is down is left for another after that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections to all nodes.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
}

/// A request without the node that it goes to.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query, from the first `/`.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether it changes something when it arrives.
    pub(super) writes: bool,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) endpoint: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Lost {
    /// Whether the request certainly never reached anyone.
    pub(super) unsent: bool,
    pub(super) reason: String,
}

impl Transport {
    pub(super) fn new() -> Result<Self, Error> {
        // No proxy: one that is set for the web knows nothing of nodes, and would answer in place of a dead one.
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| Error::Invalid(format!("the HTTP client cannot be set up: {error}")))?;
        Ok(Self { http })
    }

    /// Sends `request` to `endpoint` (`http://host:port`) and reads the answer to its end.
    pub(super) async fn send(&self, endpoint: &str, request: &Request, within: Duration) -> Result<Answer, Lost> {
        let attempt = async {
            let response = self
                .http
                .request(request.method.clone(), format!("{endpoint}{}", request.target))
                .headers(request.headers.clone())
                .body(request.body.clone())
                .send()
                .await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await?;
            Ok(Answer { endpoint: endpoint.to_owned(), status, headers, body })
        };
        match tokio::time::timeout(within, attempt).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(Lost { unsent: false, reason: "no answer in time".to_owned() }),
        }
    }
}

/// The innermost cause is the one that says something ("connection refused").
fn lost(error: &reqwest::Error) -> Lost {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let reason = if error.is_timeout() { "no connection in time".to_owned() } else { cause.to_string() };
    Lost { unsent: error.is_connect() || error.is_builder(), reason }
}

impl Answer {
    /// A header's text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header's number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The revision in the `ETag`.
    pub(super) fn etag(&self) -> Option<u64> {
        self.text("etag")?.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
    }

    /// The body as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, writes: bool) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.garbled(writes, format!("its answer: {error}")))
    }

    /// The error that a status other than 2xx stands for.
    pub(super) fn into_error(self, writes: bool) -> Error {
        if self.status == StatusCode::PRECONDITION_FAILED {
            return Error::ConditionFailed { current: self.etag() };
        }
        let Ok(ErrorBody { error }) = serde_json::from_slice(&self.body) else {
            let reason = format!("status {} without an error of Muster's", self.status.as_u16());
            return self.garbled(writes, reason);
        };
        let unsaid = match error.code {
            // A defect or an unknown code proves nothing about a write that does not say what became of it.
            ErrorCode::Internal | ErrorCode::Timeout | ErrorCode::Other if writes => Outcome::Unknown,
            _ => Outcome::NotApplied,
        };
        Error::Refused {
            code: error.code,
            message: error.message,
            outcome: if writes { error.outcome.unwrap_or(unsaid) } else { Outcome::NotApplied },
            retry_after: self.number("retry-after").map(Duration::from_secs),
            endpoint: self.endpoint,
        }
    }

    /// Whether a node of Muster's gave this answer.
    pub(super) fn is_from_node(&self) -> bool {
        self.headers.contains_key(header::NODE)
    }

    pub(super) fn garbled(&self, writes: bool, reason: String) -> Error {
        let outcome = if writes { Outcome::Unknown } else { Outcome::NotApplied };
        Error::Garbled { endpoint: self.endpoint.clone(), reason, outcome }
    }
}
