//! `/kv/{key}` and `/kv`: HTTP's words turned into operations and readings, and back.

use actix_web::body::MessageBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_client::api::Key;
use muster_client::api::kv::{DEFAULT_PAGE, DeleteAnswer, Item, MAX_PAGE, Page, PrefixDeleteAnswer, PutAnswer};

use super::condition::{self, Verdict};
use super::error::ApiError;
use super::load::Aside;
use super::query::Query;
use super::state::AppState;
use super::{answer, body, idempotency};
use crate::kv::{Freshness, Operation, Outcome, PageQuery, Versioned, Write};

/// 256: longer than any registered media type with its parameters; it is kept with every value.
const MAX_CONTENT_TYPE: usize = 256;
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox");
const CONTENT_TYPE_OPTIONS: HeaderName = header::X_CONTENT_TYPE_OPTIONS;

/// `GET` and `HEAD /kv/{key}`.
pub(super) async fn get(app: &AppState, request: &HttpRequest, raw_key: &str) -> Result<HttpResponse, ApiError> {
    let key = Key::from_path(raw_key)?;
    let mut query = Query::parse(request.query_string())?;
    let freshness = query.freshness()?;
    let timeout = query.timeout()?;
    query.finish()?;
    let conditions = condition::of_read(request.headers())?;
    let aside = aside(app, freshness)?;
    let reading = app.keyspace.get(key.as_str(), freshness, timeout).await?;
    drop(aside);
    let current = reading.data.as_ref().map(|found| found.modify_revision);
    let mut response = match (conditions.judge(current), &reading.data) {
        (Verdict::Failed, _) => ApiError::condition_failed(current).into_response(),
        (Verdict::Go | Verdict::NotModified, None) => ApiError::no_such_key().into_response(),
        (Verdict::NotModified, Some(found)) => with_tags(HttpResponse::NotModified().finish(), found),
        (Verdict::Go, Some(found)) => value(app, found)?,
    };
    answer::quality(response.headers_mut(), &reading);
    Ok(response)
}

/// The bytes as they were put. Anyone may have put them, so a browser must neither guess at them nor run them.
fn value(app: &AppState, found: &Versioned) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok().body(app.load.outgoing.body(found.value.clone())?);
    let kept = found.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kept.unwrap_or(OCTETS));
    headers.insert(CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    Ok(with_tags(response, found))
}

fn with_tags(mut response: HttpResponse, found: &Versioned) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, answer::etag(found.modify_revision));
    answer::create_revision(headers, found.create_revision);
    response
}

/// `PUT` and `POST /kv/{key}`.
pub(super) async fn put(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    raw_key: &str,
) -> Result<HttpResponse, ApiError> {
    let key = Key::from_path(raw_key)?;
    let timeout = Query::only_timeout(request)?;
    let condition = condition::of_write(request.headers())?;
    let content_type = content_type(request)?;
    // The share is held until the write is answered: until then the bytes are in memory.
    let (value, _share) = body::read(app, request, payload, app.max_value_size).await?;
    let name = key.to_string();
    let operation = Operation::Put { key: key.into(), value, content_type, condition };
    match write(app, request, operation, timeout).await? {
        Outcome::Put { revision, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = answer::json(status, &PutAnswer { key: name, revision, created });
            response.headers_mut().insert(header::ETAG, answer::etag(revision));
            answer::revision(response.headers_mut(), revision);
            Ok(response)
        }
        other => Err(foreign(&other)),
    }
}

fn content_type(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let Some(given) = request.headers().get(header::CONTENT_TYPE) else { return Ok(None) };
    match given.to_str() {
        Ok(text) if text.len() <= MAX_CONTENT_TYPE => Ok(Some(text.to_owned())),
        _ => Err(ApiError::bad_request(format!(
            "Content-Type must be up to {MAX_CONTENT_TYPE} bytes of visible ASCII text"
        ))),
    }
}

/// `DELETE /kv/{key}`.
pub(super) async fn delete(app: &AppState, request: &HttpRequest, raw_key: &str) -> Result<HttpResponse, ApiError> {
    let key = Key::from_path(raw_key)?;
    let timeout = Query::only_timeout(request)?;
    let condition = condition::of_write(request.headers())?;
    let name = key.to_string();
    match write(app, request, Operation::Delete { key: key.into(), condition }, timeout).await? {
        Outcome::Deleted { revision, existed } => {
            let mut response = answer::json(StatusCode::OK, &DeleteAnswer { key: name, revision, existed });
            answer::revision(response.headers_mut(), revision);
            Ok(response)
        }
        other => Err(foreign(&other)),
    }
}

/// `GET` and `HEAD /kv`.
pub(super) async fn list(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string())?;
    let limit = match query.number("limit")? {
        None => DEFAULT_PAGE,
        Some(limit @ 1..=1_000) => limit as usize,
        Some(_) => return Err(ApiError::bad_request(format!("query parameter `limit` must be 1 to {MAX_PAGE}"))),
    };
    let wanted = PageQuery {
        prefix: query.text("prefix").unwrap_or_default().into_owned(),
        start_after: query.text("start_after").map(|key| key.into_owned()),
        limit,
        keys_only: query.flag("keys_only")?,
    };
    let freshness = query.freshness()?;
    let timeout = query.timeout()?;
    query.finish()?;
    let aside = aside(app, freshness)?;
    let mut reading = app.keyspace.list(&wanted, freshness, timeout).await?;
    drop(aside);
    let page = std::mem::take(&mut reading.data);
    // What would not be taken is not made: that costs many times what reading it does.
    let values = page.items.iter().map(|(_, found)| if wanted.keys_only { 0 } else { found.value.len() });
    app.load.outgoing.has_room(values.sum::<usize>() / 3 * 4)?;
    let next = page.items.last().filter(|_| page.more).map(|(key, _)| key.clone());
    let items = page.items.into_iter().map(|(key, found)| Item {
        key,
        value: (!wanted.keys_only).then(|| STANDARD.encode(&found.value)),
        create_revision: found.create_revision,
        modify_revision: found.modify_revision,
    });
    let answered = Page { revision: reading.revision, items: items.collect(), next };
    let mut response = answer::json(StatusCode::OK, &answered);
    drop(answered);
    answer::quality(response.headers_mut(), &reading);
    let (head, body) = response.into_parts();
    match body.try_into_bytes() {
        Ok(bytes) => Ok(head.set_body(app.load.outgoing.body(bytes)?)),
        Err(body) => Ok(head.set_body(body)),
    }
}

/// A read that waits for a revision which is not here yet waits for others, perhaps for a minute: it takes nobody's place meanwhile.
fn aside(app: &AppState, freshness: Freshness) -> Result<Option<Aside<'_>>, ApiError> {
    match freshness.min_revision {
        Some(revision) if revision > app.keyspace.revision() => app.load.await_others().map(Some),
        _ => Ok(None),
    }
}

/// `DELETE /kv?prefix=P`.
pub(super) async fn delete_prefix(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string())?;
    let prefix = query.text("prefix").unwrap_or_default().into_owned();
    let all = query.flag("all")?;
    let timeout = query.timeout()?;
    query.finish()?;
    for header in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if request.headers().contains_key(&header) {
            return Err(ApiError::bad_request(format!("{header} has no meaning for the keys of a prefix")));
        }
    }
    if prefix.is_empty() && !all {
        let message = "an empty prefix deletes every key; say all=true if that is meant. Nothing was deleted";
        return Err(ApiError::bad_request(message));
    }
    match write(app, request, Operation::DeletePrefix { prefix }, timeout).await? {
        Outcome::PrefixDeleted { revision, deleted } => {
            let mut response = answer::json(StatusCode::OK, &PrefixDeleteAnswer { revision, deleted });
            answer::revision(response.headers_mut(), revision);
            Ok(response)
        }
        other => Err(foreign(&other)),
    }
}

/// Writes, and turns the outcomes that are refusals into errors.
async fn write(
    app: &AppState,
    request: &HttpRequest,
    operation: Operation,
    timeout: std::time::Duration,
) -> Result<Outcome, ApiError> {
    let idempotency = idempotency::of(request.headers(), &operation)?;
    match app.keyspace.write(Write { operation, idempotency }, timeout).await? {
        Outcome::ConditionFailed { current } => Err(ApiError::condition_failed(current)),
        Outcome::IdempotencyMismatch => Err(ApiError::idempotency_mismatch()),
        applied => Ok(applied),
    }
}

fn foreign(outcome: &Outcome) -> ApiError {
    ApiError::internal(format!("a write was answered with the outcome of another kind of write: {outcome:?}"))
}
