//! `/livez` and `/readyz`.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use muster_client::api::health::{Check, Health};

use super::answer;
use super::error::ApiError;
use super::query::Query;
use super::state::AppState;

/// `GET /livez`: this process answers. A failing one is to be restarted, so nothing that a restart would not mend counts.
pub(super) async fn live(request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Query::parse(request.query_string())?.finish()?;
    let check = Check { ok: true, message: "requests are answered".to_owned() };
    Ok(of(&Health::of(BTreeMap::from([("http".to_owned(), check)]))))
}

/// `GET /readyz`: this node is of use to clients now.
pub(super) async fn ready(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Query::parse(request.query_string())?.finish()?;
    let (mut checks, failures_tolerated) = app.admin.health_checks().await;
    let check = match app.is_stopping() {
        false => Check { ok: true, message: "requests are taken".to_owned() },
        true => Check { ok: false, message: "the node is stopping; ask another".to_owned() },
    };
    checks.insert("http".to_owned(), check);
    Ok(of(&Health { failures_tolerated, ..Health::of(checks) }))
}

fn of(health: &Health) -> HttpResponse {
    answer::json(if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, health)
}
