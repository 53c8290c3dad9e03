//! `/nodes` and `/seeds`.

use actix_web::{HttpRequest, HttpResponse, web};
use muster_client::api::registry::{Forgotten, Registered, Registration, Seeds, check_name};
use muster_listener::Outgoing;
use serde::Deserialize;
use uuid::Uuid;

use super::{NoQuery, Refusal, last_segment};
use crate::registry::Registry;
use crate::roll::SEEDS;

/// 100: more seeds than anyone tries.
const MAX_SEEDS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfCluster {
    cluster: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SomeOfCluster {
    cluster: String,
    limit: Option<usize>,
}

fn node_id(request: &HttpRequest) -> Result<Uuid, Refusal> {
    let text = last_segment(request)?;
    Uuid::try_parse(&text).map_err(|_| Refusal::bad_request(format!("`{text}` is not a node's id; it is a UUID")))
}

pub(super) async fn register(
    registry: web::Data<Registry>,
    request: HttpRequest,
    said: web::Json<Registration>,
    _: web::Query<NoQuery>,
) -> Result<web::Json<Registered>, Refusal> {
    let id = node_id(&request)?;
    let from = request.peer_addr().ok_or_else(|| Refusal::bad_request("the connection has no address"))?;
    Ok(web::Json(registry.register(id, said.into_inner(), from.ip())?))
}

pub(super) async fn deregister(
    registry: web::Data<Registry>,
    request: HttpRequest,
    _: web::Query<NoQuery>,
) -> Result<web::Json<Forgotten>, Refusal> {
    let id = node_id(&request)?;
    Ok(web::Json(Forgotten { existed: registry.deregister(id) }))
}

pub(super) async fn list(
    registry: web::Data<Registry>,
    outgoing: web::Data<Outgoing>,
    query: web::Query<OfCluster>,
) -> Result<HttpResponse, Refusal> {
    if let Some(name) = &query.cluster {
        check_name(name).map_err(Refusal::bad_request)?;
    }
    // Twenty megabytes when the roll is full.
    let nodes = serde_json::to_vec(&registry.nodes(query.cluster.as_deref())).map_err(|_| Refusal::abandoned())?;
    Ok(HttpResponse::Ok().content_type("application/json").body(outgoing.body(nodes.into())?))
}

pub(super) async fn seeds(
    registry: web::Data<Registry>,
    query: web::Query<SomeOfCluster>,
) -> Result<web::Json<Seeds>, Refusal> {
    check_name(&query.cluster).map_err(Refusal::bad_request)?;
    let limit = query.limit.unwrap_or(SEEDS);
    if !(1..=MAX_SEEDS).contains(&limit) {
        return Err(Refusal::bad_request(format!("`limit` is from 1 to {MAX_SEEDS}")));
    }
    Ok(web::Json(registry.seeds(&query.cluster, limit)))
}
