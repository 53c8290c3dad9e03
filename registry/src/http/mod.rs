//! The door: the routing table, and nothing that decides anything.

mod clusters;
mod error;
mod health;
mod nodes;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Route, guard, web};

pub use error::Refusal;

/// 16 KiB: a registration with the longest names is under 2 KiB.
pub const MAX_BODY: usize = 16 * 1024;

/// The whole table. `openapi.json` describes the same, and a test holds the two together.
pub fn configure(app: &mut web::ServiceConfig) {
    let json = web::JsonConfig::default()
        .limit(MAX_BODY)
        // curl sends a form's type unless told otherwise; the body says what it is.
        .content_type_required(false)
        .content_type(|_| true)
        .error_handler(|error, _| Refusal::from(error).into());
    app.app_data(json)
        .app_data(web::QueryConfig::default().error_handler(|error, _| Refusal::from(error).into()))
        .route_table()
        .default_service(web::to(|request: HttpRequest| async move { Refusal::no_path(request.path()) }));
}

trait RouteTable {
    fn route_table(&mut self) -> &mut Self;
}

impl RouteTable for web::ServiceConfig {
    #[rustfmt::skip]
    fn route_table(&mut self) -> &mut Self {
        self.service(on("/nodes", READS).route(read().to(nodes::list)))
            .service(on("/nodes/{id}", "PUT, DELETE").route(web::put().to(nodes::register)).route(web::delete().to(nodes::deregister)))
            .service(on("/seeds", READS).route(read().to(nodes::seeds)))
            .service(on("/clusters", READS).route(read().to(clusters::list)))
            .service(on("/clusters/{name}", "PUT, DELETE").route(web::put().to(clusters::found)).route(web::delete().to(clusters::forget)))
            .service(on("/livez", READS).route(read().to(health::livez)))
            .service(on("/readyz", READS).route(read().to(health::readyz)))
            .service(on("/metrics", READS).route(read().to(health::metrics)))
            .service(on("/openapi.json", READS).route(read().to(openapi)))
    }
}

const READS: &str = "GET, HEAD";

/// HEAD is answered like GET, and the server leaves the body out.
fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// What a call without parameters knows of a query: nothing, so that a misspelt one is noticed.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// A path and what may be done there; anything else is answered with 405 and that list.
fn on(path: &str, methods: &'static str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        let mut answer = HttpResponse::from_error(Refusal::no_method(request.method(), request.path()));
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        answer
    }))
}

/// The description with the version that runs.
async fn openapi(_: web::Query<NoQuery>) -> HttpResponse {
    let version = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");
    let text = include_str!("openapi.json").replacen("\"VERSION\"", version, 1);
    HttpResponse::Ok().content_type("application/json").body(text)
}

/// The last segment of the path as it was sent, decoded strictly: actix would replace what is no UTF-8.
fn last_segment(request: &HttpRequest) -> Result<String, Refusal> {
    let raw = request.uri().path().rsplit('/').next().unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Refusal::bad_request("the path is not UTF-8"))
}

#[cfg(test)]
mod tests;
