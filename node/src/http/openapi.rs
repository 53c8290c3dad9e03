//! `/openapi.json`: the description of the client port, kept by hand in `node/openapi.json`.
//!
//! By hand, since the types it describes belong to everyone (`client/src/api`) and should not need an OpenAPI library; the
//! tests below hold it against the routing table, the error codes and the types.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::error::ApiError;
use super::query::Query;

const DESCRIPTION: &str = include_str!("../../openapi.json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `GET /openapi.json`.
pub(super) fn get(request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Query::parse(request.query_string())?.finish()?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).body(DESCRIPTION))
}
