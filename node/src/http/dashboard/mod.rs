//! `/`: the dashboard, one page that asks the other calls for what it shows.
//!
//! Names and reasons in it come from others, so it only ever sets text, and its policy lets nothing else run or load: the
//! one style and the one script are told apart from anything injected by a nonce that is new with every answer.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use uuid::Uuid;

use super::error::ApiError;
use super::query::Query;

const PAGE: &str = include_str!("page.html");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// `GET /`.
pub(super) fn get(request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Query::parse(request.query_string())?.finish()?;
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, HTML))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(PAGE.replace("NONCE", &nonce)))
}
