//! `/clusters`: the founding records.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use muster_client::api::registry::{Clusters, Forgotten, Founding, check_name};
use serde::Deserialize;
use uuid::Uuid;

use super::{NoQuery, Refusal, last_segment};
use crate::registry::Registry;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Only {
    cluster_id: Option<Uuid>,
}

fn cluster_name(request: &HttpRequest) -> Result<String, Refusal> {
    let name = last_segment(request)?;
    check_name(&name).map_err(Refusal::bad_request)?;
    Ok(name)
}

pub(super) async fn list(registry: web::Data<Registry>, _: web::Query<NoQuery>) -> web::Json<Clusters> {
    web::Json(registry.clusters())
}

/// 201 when recorded now, 200 when this founding stood already; the body is the record.
pub(super) async fn found(
    registry: web::Data<Registry>,
    request: HttpRequest,
    wanted: web::Json<Founding>,
    _: web::Query<NoQuery>,
) -> Result<HttpResponse, Refusal> {
    let name = cluster_name(&request)?;
    let wanted = wanted.into_inner();
    if wanted.cluster_id.is_nil() || wanted.founder.is_nil() {
        return Err(Refusal::bad_request("the nil UUID is nobody's id"));
    }
    let founding = wanted.clone();
    let new = aside(move || registry.found(&name, founding)).await??;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(wanted))
}

pub(super) async fn forget(
    registry: web::Data<Registry>,
    request: HttpRequest,
    only: web::Query<Only>,
) -> Result<web::Json<Forgotten>, Refusal> {
    let name = cluster_name(&request)?;
    let existed = aside(move || registry.forget(&name, only.cluster_id)).await??;
    Ok(web::Json(Forgotten { existed }))
}

/// A disk sync takes milliseconds: off the threads that answer everyone else.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    web::block(work).await.map_err(|_| Refusal::abandoned())
}
