//! The door: the routing table, and nothing that decides anything.

mod clusters;
mod error;
mod health;
mod nodes;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

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
        .app_data(web::QueryConfig::default().error_handler(|error, _| Refusal::bad_request(error).into()))
        .route_table()
        .default_service(web::to(|request: HttpRequest| async move { Refusal::no_path(request.path()) }));
}

trait RouteTable {
    fn route_table(&mut self) -> &mut Self;
}

impl RouteTable for web::ServiceConfig {
    #[rustfmt::skip]
    fn route_table(&mut self) -> &mut Self {
        self.service(on("/nodes", "GET").route(web::get().to(nodes::list)))
            .service(on("/nodes/{id}", "PUT, DELETE").route(web::put().to(nodes::register)).route(web::delete().to(nodes::deregister)))
            .service(on("/seeds", "GET").route(web::get().to(nodes::seeds)))
            .service(on("/clusters", "GET").route(web::get().to(clusters::list)))
            .service(on("/clusters/{name}", "PUT, DELETE").route(web::put().to(clusters::found)).route(web::delete().to(clusters::forget)))
            .service(on("/livez", "GET").route(web::get().to(health::livez)))
            .service(on("/readyz", "GET").route(web::get().to(health::readyz)))
            .service(on("/metrics", "GET").route(web::get().to(health::metrics)))
            .service(on("/openapi.json", "GET").route(web::get().to(openapi)))
    }
}

/// A path and what may be done there; anything else is answered with 405 and that list.
fn on(path: &str, methods: &'static str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        let mut answer = HttpResponse::from_error(Refusal::no_method(request.method(), request.path()));
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        answer
    }))
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(include_str!("openapi.json"))
}

/// The last segment of the path as it was sent, decoded strictly: actix would replace what is no UTF-8.
fn last_segment(request: &HttpRequest) -> Result<String, Refusal> {
    let raw = request.uri().path().rsplit('/').next().unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Refusal::bad_request("the path is not UTF-8"))
}

#[cfg(test)]
mod tests;
