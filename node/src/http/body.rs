//! Request bodies: bounded in size and in time, and not copied when they are long and come in one piece.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::error::ApiError;
use super::load::Share;
use super::state::AppState;

/// Ten seconds for a whole body: 16 MiB over a slow home line, and an end to who sends a byte a minute.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// 4 KiB: copying so little costs less than a new buffer for the connection, which has 32 KiB.
const COPIED: usize = 4 * 1024;

/// An eighth of a body must have come before memory is set aside for the whole.
const TRUSTED: usize = 8;

/// Reads a body of up to `limit` bytes. A declared length over the limit is refused before a byte is read; the server then
/// discards what still comes for a moment before it closes, so that the answer is not lost in a reset.
///
/// What comes with the body is its share of the budget for bodies; drop it when the bytes are out of memory. While the client is waited for,
/// the request does not count as one in flight.
pub(super) async fn read<'a>(
    app: &'a AppState,
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<(Bytes, Share<'a>), ApiError> {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // Without a declared length it may become as long as is allowed.
    let length = usize::try_from(declared.unwrap_or(limit as u64)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(ApiError::too_large(limit));
    }
    let mut share = app.load.body(length)?;
    if length == 0 {
        return Ok((Bytes::new(), share));
    }
    let aside = app.load.await_client();
    let body = tokio::time::timeout(BODY_TIMEOUT, collect(payload, declared, limit, &mut share)).await;
    let body = body.map_err(|_| ApiError::slow_body(BODY_TIMEOUT))??;
    aside.back()?;
    app.metrics.received(body.len());
    Ok((body, share))
}

async fn collect(
    mut payload: Payload,
    declared: Option<u64>,
    limit: usize,
    share: &mut Share<'_>,
) -> Result<Bytes, ApiError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(broken)?;
    share.grow(first.len())?;
    if declared == Some(first.len() as u64) {
        // It is a part of what was read from the socket: kept, it would keep all of that from being used again.
        return Ok(if first.len() <= COPIED { Bytes::copy_from_slice(&first) } else { first });
    }
    let mut body = BytesMut::with_capacity(first.len());
    body.extend_from_slice(&first);
    let declared = declared.map_or(0, |length| length as usize);
    loop {
        if body.len() > limit {
            return Err(ApiError::too_large(limit));
        }
        let Some(piece) = payload.next().await else { return Ok(body.freeze()) };
        let piece = piece.map_err(broken)?;
        share.grow(piece.len())?;
        if body.capacity() - body.len() < piece.len() && body.len() >= declared / TRUSTED {
            // What has come of it is worth the memory for the rest; before that it grows with what comes.
            body.reserve(declared.saturating_sub(body.len()));
        }
        body.extend_from_slice(&piece);
    }
}

fn broken(error: actix_web::error::PayloadError) -> ApiError {
    ApiError::bad_request(format!("the body broke off: {error}"))
}
