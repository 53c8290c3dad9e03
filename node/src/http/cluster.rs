//! `/cluster/...`: what the cluster is like, and what can be done to it.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use muster_client::api::cluster::{ConfigValue, Transfer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::ApiError;
use super::query::Query;
use super::state::AppState;
use super::{answer, body};

/// 4 KiB: the longest body here is an object with one short text.
const MAX_BODY: usize = 4 << 10;

/// `GET /cluster/members`.
pub(super) fn members(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    no_query(request)?;
    Ok(ok(&app.admin.members()))
}

/// `GET /cluster/state`.
pub(super) async fn state(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    no_query(request)?;
    Ok(ok(&app.admin.state().await?))
}

/// `GET /cluster/leader`.
pub(super) fn leader(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    no_query(request)?;
    match app.admin.leader() {
        Some(leader) => Ok(ok(&leader)),
        None => Err(ApiError::no_leader(&app.admin.no_leader_reason())),
    }
}

/// `GET /cluster/status`.
pub(super) async fn status(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    no_query(request)?;
    Ok(ok(&app.admin.status().await))
}

/// `GET /cluster/config`.
pub(super) async fn config(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    no_query(request)?;
    Ok(ok(&app.admin.config().await?))
}

/// `PUT /cluster/config/{name}`.
pub(super) async fn set_config(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    name: &str,
) -> Result<HttpResponse, ApiError> {
    let (timeout, wanted): (_, ConfigValue) = told(app, request, payload, &["value"]).await?;
    Ok(ok(&app.admin.set_config(name, &wanted.value, timeout).await?))
}

/// `POST /cluster/leader/transfer`.
pub(super) async fn transfer(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let (timeout, wanted): (_, Transfer) = told(app, request, payload, &["to"]).await?;
    Ok(ok(&app.admin.transfer(wanted.to, timeout).await?))
}

/// `POST /cluster/members/{id}/leave`.
pub(super) async fn leave(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    id: &str,
) -> Result<HttpResponse, ApiError> {
    let (timeout, id) = departing(app, request, payload, id).await?;
    app.admin.leave(id, timeout).await?;
    Ok(ok(&app.admin.members()))
}

/// `POST /cluster/members/{id}/remove`.
pub(super) async fn remove(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    id: &str,
) -> Result<HttpResponse, ApiError> {
    let (timeout, id) = departing(app, request, payload, id).await?;
    app.admin.remove(id, timeout).await?;
    Ok(ok(&app.admin.members()))
}

/// Who is to be taken out, within which time. The body says nothing.
async fn departing(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    id: &str,
) -> Result<(Duration, Uuid), ApiError> {
    #[derive(serde::Deserialize)]
    struct Nothing {}
    let id = member(id)?;
    let (timeout, Nothing {}) = told(app, request, payload, &[]).await?;
    Ok((timeout, id))
}

/// How long a call that changes something may take, and its body.
async fn told<T: DeserializeOwned>(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    known: &[&str],
) -> Result<(Duration, T), ApiError> {
    let timeout = Query::only_timeout(request)?;
    Ok((timeout, json(app, request, payload, known).await?))
}

fn ok<T: Serialize>(body: &T) -> HttpResponse {
    answer::json(StatusCode::OK, body)
}

fn no_query(request: &HttpRequest) -> Result<(), ApiError> {
    Query::parse(request.query_string())?.finish()
}

fn member(raw: &str) -> Result<Uuid, ApiError> {
    let shown: String = raw.chars().take(64).collect();
    raw.parse().map_err(|_| ApiError::bad_request(format!("`{shown}` is no member's id; /cluster/members lists them")))
}

/// Reads a body of JSON; an empty one is `{}`. Fields that nobody knows are refused: `{"too": id}` must not mean "anyone".
async fn json<T: DeserializeOwned>(
    app: &AppState,
    request: &HttpRequest,
    payload: Payload,
    known: &[&str],
) -> Result<T, ApiError> {
    let (bytes, _share) = body::read(app, request, payload, MAX_BODY).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let refuse =
        |error: serde_json::Error| ApiError::bad_request(format!("the body is not the JSON of this call: {error}"));
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).map_err(refuse)?;
    if let Some(unknown) = object.keys().find(|name| !known.contains(&name.as_str())) {
        let shown: String = unknown.chars().take(64).collect();
        return Err(ApiError::bad_request(format!("the body of this call has no field `{shown}`")));
    }
    serde_json::from_value(object.into()).map_err(refuse)
}
