//! The pieces that answers are made of: JSON bodies, entity tags, and the headers that say how good a reading is.

use std::io::Write;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use muster_client::api::header as muster;
use serde::Serialize;
use uuid::Uuid;

use crate::kv::Reading;

/// `Muster-Node`.
pub(super) const NODE: HeaderName = HeaderName::from_static(muster::NODE);
const LEADER: HeaderName = HeaderName::from_static(muster::LEADER);
const REVISION: HeaderName = HeaderName::from_static(muster::REVISION);
const CREATE_REVISION: HeaderName = HeaderName::from_static(muster::CREATE_REVISION);
const STALENESS_MS: HeaderName = HeaderName::from_static(muster::STALENESS_MS);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body of JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(bytes) => HttpResponse::build(status).insert_header((header::CONTENT_TYPE, JSON)).body(bytes),
        // Our own types have text keys and finite numbers, so this is a defect; it must not take the worker down.
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// `"<revision>"`, strong: the same revision is the same bytes.
pub(super) fn etag(revision: u64) -> HeaderValue {
    // Two quotes and the 20 digits of the largest u64; formatted on the stack, copied once.
    let mut text = [0u8; 22];
    let mut rest = &mut text[..];
    let _ = write!(rest, "\"{revision}\"");
    let unused = rest.len();
    HeaderValue::from_bytes(&text[..22 - unused]).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The hyphenated form as a header's value.
pub(super) fn id(id: Uuid) -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// `Muster-Create-Revision`.
pub(super) fn create_revision(headers: &mut HeaderMap, revision: u64) {
    headers.insert(CREATE_REVISION, HeaderValue::from(revision));
}

/// `Muster-Revision` of a write.
pub(super) fn revision(headers: &mut HeaderMap, revision: u64) {
    headers.insert(REVISION, HeaderValue::from(revision));
}

/// `Muster-Revision`, `Muster-Staleness-Ms` and `Muster-Leader` of a reading.
pub(super) fn quality<T>(headers: &mut HeaderMap, reading: &Reading<T>) {
    revision(headers, reading.revision);
    let staleness = match reading.staleness {
        // Rounded up: it is a bound.
        Some(bound) => HeaderValue::from(u64::try_from(bound.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)),
        None => HeaderValue::from_static(muster::UNKNOWN),
    };
    headers.insert(STALENESS_MS, staleness);
    if let Some(leader) = reading.leader {
        headers.insert(LEADER, id(leader));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_the_quoted_revision() {
        assert_eq!(etag(0), "\"0\"");
        assert_eq!(etag(u64::MAX), "\"18446744073709551615\"");
    }
}
