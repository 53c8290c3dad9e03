//! One request to one endpoint, and nothing about retries.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error::Error;
use super::outgoing::Departure;
use crate::api::{ErrorBody, ErrorCode, Outcome, header};

/// 64 MiB: four times the largest value that a node can be set to accept.
const MAX_ANSWER: usize = 64 << 20;

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
    /// Whether the server may wait (for a leader, a revision): it is then told for how long.
    pub(super) waits: bool,
    /// Whether the same effect comes of sending it twice.
    pub(super) repeatable: bool,
    /// Whether it takes as long as it takes: one attempt may then use all the time there is.
    pub(super) slow: bool,
    /// Whether "no leader" is worth waiting for; otherwise it is the answer.
    pub(super) patient: bool,
}

impl Request {
    /// A read.
    pub(super) fn get(target: String) -> Self {
        let (method, body) = (Method::GET, Bytes::new());
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body,
            writes: false,
            waits: false,
            repeatable: true,
            slow: false,
            patient: true,
        }
    }

    /// What sending it may take longer than a short one: a second for every MiB, the slowest link on which anyone would run a store.
    pub(super) fn upload(&self) -> Duration {
        Duration::from_secs(self.body.len() as u64 >> 20)
    }

    /// A change with a JSON body.
    pub(super) fn change(method: Method, target: String, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Invalid(error.to_string()))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = Bytes::from(body);
        Ok(Self {
            method,
            target,
            headers,
            body,
            writes: true,
            waits: false,
            repeatable: false,
            slow: false,
            patient: true,
        })
    }
}

/// How long one attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// To the first byte of the answer.
    pub(super) begin: Duration,
    /// To its last byte.
    pub(super) end: Duration,
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
    pub(super) fn new(connect_timeout: Duration) -> Result<Self, Error> {
        // No proxy: one that is set for the web knows nothing of nodes, and would answer in place of a dead one.
        let http = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .no_proxy()
            .build()
            .map_err(|error| Error::Invalid(format!("the HTTP client cannot be set up: {error}")))?;
        Ok(Self { http })
    }

    /// Sends `request` to `endpoint` (`http://host:port`) and reads the answer to its end. The answer must begin within
    /// `limits.begin` and end within `limits.end`.
    pub(super) async fn send(&self, endpoint: &str, request: &Request, limits: Limits) -> Result<Answer, Lost> {
        let started = Instant::now();
        let mut url = String::with_capacity(endpoint.len() + request.target.len() + 16);
        url.push_str(endpoint);
        url.push_str(&request.target);
        if request.waits {
            // A little less than we wait ourselves: a node's own word about the outcome is better than our giving up.
            let separator = if request.target.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}timeout={}ms", (limits.begin - limits.begin / 10).as_millis().max(1)));
        }
        let mut call = self.http.request(request.method.clone(), url).headers(request.headers.clone());
        let (departure, body_to_send) = Departure::of(request.body.clone());
        if request.method != Method::GET {
            call = call.body(body_to_send);
        }
        let mut response = match timeout_at(started + limits.begin, call.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(lost(&error)),
            Err(_) if departure.call_off() => {
                return Err(Lost { unsent: true, reason: "no connection in time".to_owned() });
            }
            Err(_) => return Err(Lost { unsent: false, reason: "no answer in time".to_owned() }),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        match timeout_at(started + limits.end.max(limits.begin), body(&mut response)).await {
            Ok(Ok(body)) => Ok(Answer { endpoint: endpoint.to_owned(), status, headers, body }),
            Ok(Err(reason)) => Err(Lost { unsent: false, reason }),
            Err(_) => Err(Lost { unsent: false, reason: "its answer broke off".to_owned() }),
        }
    }
}

async fn body(response: &mut reqwest::Response) -> Result<Bytes, String> {
    let mut whole = match response.chunk().await.map_err(|error| lost(&error).reason)? {
        Some(first) => first,
        None => return Ok(Bytes::new()),
    };
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error).reason)? {
        if whole.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {} MiB", MAX_ANSWER >> 20));
        }
        // The usual answer is one chunk and is not copied.
        let mut joined = match whole.try_into_mut() {
            Ok(bytes) => bytes,
            Err(shared) => BytesMut::from(shared),
        };
        joined.extend_from_slice(&chunk);
        whole = joined.freeze();
    }
    Ok(whole)
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

    /// A header's id.
    pub(super) fn id(&self, name: &str) -> Option<Uuid> {
        self.text(name)?.parse().ok()
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
            leader: error.leader,
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
