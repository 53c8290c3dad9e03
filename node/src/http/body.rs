//! Request bodies: bounded in size and in time, and not copied when they come in one piece.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::error::ApiError;

/// Ten seconds for a whole body: 16 MiB over a slow home line, and an end to who sends a byte a minute.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body of up to `limit` bytes. A declared length over the limit is refused before a byte is read; the server then
/// discards what still comes for a moment before it closes, so that the answer is not lost in a reset.
pub(super) async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared == Some(0) {
        return Ok(Bytes::new());
    }
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::too_large(limit));
    }
    match tokio::time::timeout(BODY_TIMEOUT, collect(payload, declared, limit)).await {
        Ok(body) => body,
        Err(_) => Err(ApiError::slow_body(BODY_TIMEOUT)),
    }
}

async fn collect(mut payload: Payload, declared: Option<u64>, limit: usize) -> Result<Bytes, ApiError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(broken)?;
    if declared == Some(first.len() as u64) {
        return Ok(first);
    }
    let mut body = BytesMut::from(first);
    loop {
        if body.len() > limit {
            return Err(ApiError::too_large(limit));
        }
        match payload.next().await {
            Some(piece) => body.extend_from_slice(&piece.map_err(broken)?),
            None => return Ok(body.freeze()),
        }
    }
}

fn broken(error: actix_web::error::PayloadError) -> ApiError {
    ApiError::bad_request(format!("the body broke off: {error}"))
}
