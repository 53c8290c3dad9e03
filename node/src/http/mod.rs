//! The client port.
//!
//! ```text
//! raw path -> Route (the table below) -> handler -> keyspace, admin
//! ```
//!
//! We route by ourselves, on the path as it came: actix would decode it first, and in a store `a%2Fb`, `a//b` and `a/../b`
//! are keys like others. It also keeps the hot path short. No handler knows about replication or storage.

mod answer;
mod body;
mod condition;
pub mod error;
mod health;
mod idempotency;
mod kv;
mod query;
pub mod server;
pub mod state;

use actix_web::http::Method;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use error::ApiError;
pub use state::AppState;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A key.
    Key,
    /// All keys.
    Keys,
    /// Liveness.
    Live,
    /// Readiness.
    Ready,
}

/// Every route: its path as the description writes it, and its methods as `Allow` does.
pub const ROUTES: &[(Route, &str, &str)] = &[
    (Route::Key, "/kv/{key}", "GET, HEAD, PUT, POST, DELETE"),
    (Route::Keys, "/kv", "GET, HEAD, DELETE"),
    (Route::Live, "/livez", "GET, HEAD"),
    (Route::Ready, "/readyz", "GET, HEAD"),
];

impl Route {
    /// What a raw path names, with the part of it that varies.
    fn of(path: &str) -> Option<(Self, &str)> {
        if let Some(key) = path.strip_prefix("/kv/") {
            return Some((Self::Key, key));
        }
        match path {
            "/kv" => Some((Self::Keys, "")),
            "/livez" => Some((Self::Live, "")),
            "/readyz" => Some((Self::Ready, "")),
            _ => None,
        }
    }

    fn allow(self) -> &'static str {
        ROUTES.iter().find(|(route, ..)| *route == self).map_or("", |(_, _, methods)| methods)
    }
}

async fn handle(app: &AppState, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let path = request.uri().path();
    let (route, varying) = Route::of(path).ok_or_else(|| ApiError::no_such_path(path))?;
    let method = request.method();
    // HEAD is GET; the server leaves the body out.
    let get = method == Method::GET || method == Method::HEAD;
    match route {
        Route::Key if get => kv::get(app, request, varying).await,
        Route::Key if method == Method::PUT || method == Method::POST => kv::put(app, request, payload, varying).await,
        Route::Key if method == Method::DELETE => kv::delete(app, request, varying).await,
        Route::Keys if get => kv::list(app, request).await,
        Route::Keys if method == Method::DELETE => kv::delete_prefix(app, request).await,
        Route::Live if get => health::live(request).await,
        Route::Ready if get => health::ready(app, request).await,
        Route::Key | Route::Keys | Route::Live | Route::Ready => Err(ApiError::method_not_allowed(route.allow())),
    }
}

/// Answers a request, whatever it is.
async fn serve(app: &AppState, request: &HttpRequest, payload: Payload) -> HttpResponse {
    let answered = handle(app, request, payload).await;
    let mut response = answered.unwrap_or_else(|error| {
        let reads = request.method().is_safe();
        if reads { error.into_response() } else { error.of_write().into_response() }
    });
    response.headers_mut().insert(answer::NODE, app.node.clone());
    response
}
