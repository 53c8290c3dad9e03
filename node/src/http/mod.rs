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
mod cluster;
mod condition;
mod dashboard;
pub mod error;
#[cfg(test)]
pub(crate) mod fuzz;
mod health;
mod idempotency;
mod kv;
mod load;
mod metrics;
mod openapi;
mod query;
pub mod server;
pub mod state;

use std::time::Instant;

use actix_web::http::Method;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use error::ApiError;
pub use state::AppState;

/// What a path names; the order is that of [`ROUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum Route {
    Key,
    Keys,
    Members,
    State,
    Leader,
    Status,
    Config,
    ConfigValue,
    Transfer,
    Leave,
    Remove,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Dashboard,
}

/// Every route: its path as the description writes it, and its methods as `Allow` does.
pub const ROUTES: [(Route, &str, &str); 16] = [
    (Route::Key, "/kv/{key}", "GET, HEAD, PUT, POST, DELETE"),
    (Route::Keys, "/kv", "GET, HEAD, DELETE"),
    (Route::Members, "/cluster/members", "GET, HEAD"),
    (Route::State, "/cluster/state", "GET, HEAD"),
    (Route::Leader, "/cluster/leader", "GET, HEAD"),
    (Route::Status, "/cluster/status", "GET, HEAD"),
    (Route::Config, "/cluster/config", "GET, HEAD"),
    (Route::ConfigValue, "/cluster/config/{name}", "PUT"),
    (Route::Transfer, "/cluster/leader/transfer", "POST"),
    (Route::Leave, "/cluster/members/{id}/leave", "POST"),
    (Route::Remove, "/cluster/members/{id}/remove", "POST"),
    (Route::Live, "/livez", "GET, HEAD"),
    (Route::Ready, "/readyz", "GET, HEAD"),
    (Route::Metrics, "/metrics", "GET, HEAD"),
    (Route::OpenApi, "/openapi.json", "GET, HEAD"),
    (Route::Dashboard, "/", "GET, HEAD"),
];

async fn handle(app: &AppState, request: &HttpRequest, payload: Payload, at: At<'_>) -> Result<HttpResponse, ApiError> {
    let At { route, varying, verb } = at;
    match (route, verb) {
        (Route::Key, Verb::Get | Verb::Head) => kv::get(app, request, varying).await,
        (Route::Key, Verb::Put | Verb::Post) => kv::put(app, request, payload, varying).await,
        (Route::Key, Verb::Delete) => kv::delete(app, request, varying).await,
        (Route::Keys, Verb::Get | Verb::Head) => kv::list(app, request).await,
        (Route::Keys, Verb::Delete) => kv::delete_prefix(app, request).await,
        (Route::Members, Verb::Get | Verb::Head) => cluster::members(app, request),
        (Route::State, Verb::Get | Verb::Head) => cluster::state(app, request).await,
        (Route::Leader, Verb::Get | Verb::Head) => cluster::leader(app, request),
        (Route::Status, Verb::Get | Verb::Head) => cluster::status(app, request).await,
        (Route::Config, Verb::Get | Verb::Head) => cluster::config(app, request).await,
        (Route::ConfigValue, Verb::Put) => cluster::set_config(app, request, payload, varying).await,
        (Route::Transfer, Verb::Post) => cluster::transfer(app, request, payload).await,
        (Route::Leave, Verb::Post) => cluster::leave(app, request, payload, varying).await,
        (Route::Remove, Verb::Post) => cluster::remove(app, request, payload, varying).await,
        (Route::Live, Verb::Get | Verb::Head) => health::live(request),
        (Route::Ready, Verb::Get | Verb::Head) => health::ready(app, request).await,
        (Route::Metrics, Verb::Get | Verb::Head) => metrics::get(app, request).await,
        (Route::OpenApi, Verb::Get | Verb::Head) => openapi::get(request),
        (Route::Dashboard, Verb::Get | Verb::Head) => dashboard::get(request),
        (route, _) => Err(ApiError::method_not_allowed(ROUTES[route as usize].2)),
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At<'a> {
    route: Route,
    /// The part of the path that varies, as it came.
    varying: &'a str,
    verb: Verb,
}

/// A method; HEAD is answered like GET, and the server leaves the body out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Head,
    Put,
    Post,
    Delete,
    Other,
}

impl Verb {
    const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Put, Self::Post, Self::Delete, Self::Other];

    fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::PUT => Self::Put,
            Method::POST => Self::Post,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Other => "other",
        }
    }

    fn only_reads(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

impl Route {
    /// What a raw path names, with the part of it that varies.
    fn of(path: &str) -> Option<(Self, &str)> {
        // First, since nearly every request is one.
        if let Some(key) = path.strip_prefix("/kv/") {
            return Some((Self::Key, key));
        }
        if let Some(rest) = path.strip_prefix("/cluster/members/") {
            let (id, action) = rest.split_once('/')?;
            return match action {
                "leave" => Some((Self::Leave, id)),
                "remove" => Some((Self::Remove, id)),
                _ => None,
            };
        }
        if let Some(name) = path.strip_prefix("/cluster/config/").filter(|name| !name.is_empty() && !name.contains('/'))
        {
            return Some((Self::ConfigValue, name));
        }
        // What varies is in braces, which no path that names anything has.
        let fixed = ROUTES.iter().find(|(_, template, _)| *template == path && !template.contains('{'));
        fixed.map(|(route, ..)| (*route, ""))
    }

    /// Whether it tells how the node is: answered however much is going on.
    fn is_watched(self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Metrics)
    }
}

/// Answers a request, whatever it is.
async fn serve(app: &AppState, request: &HttpRequest, payload: Payload) -> HttpResponse {
    let came = Instant::now();
    let verb = Verb::of(request.method());
    let path = request.uri().path();
    let at = Route::of(path).map(|(route, varying)| At { route, varying, verb });
    let answered = match (at, app.load.request(at.is_some_and(|at| at.route.is_watched()))) {
        (_, Err(overloaded)) => Err(overloaded),
        (None, Ok(_)) => Err(ApiError::no_such_path(path)),
        (Some(at), Ok(_share)) => handle(app, request, payload, at).await,
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(error) if verb.only_reads() => error.into_response(),
        Err(error) => error.of_write().into_response(),
    };
    response.headers_mut().insert(answer::NODE, app.node.clone());
    app.metrics.answered(at.map(|at| at.route), verb, &response, came.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_routes() {
        for (at, (route, ..)) in ROUTES.iter().enumerate() {
            assert_eq!(*route as usize, at, "{route:?}");
        }
    }

    #[test]
    fn paths_are_taken_as_they_come() {
        assert_eq!(Route::of("/kv/a//b"), Some((Route::Key, "a//b")));
        assert_eq!(Route::of("/kv/a/../b"), Some((Route::Key, "a/../b")));
        assert_eq!(Route::of("/kv/"), Some((Route::Key, "")));
        assert_eq!(Route::of("/kv/%2F"), Some((Route::Key, "%2F")));
        assert_eq!(Route::of("/kv"), Some((Route::Keys, "")));
        assert_eq!(Route::of("/"), Some((Route::Dashboard, "")));
        assert_eq!(Route::of("/cluster/members/x/leave"), Some((Route::Leave, "x")));
        assert_eq!(Route::of("/cluster/config/voters"), Some((Route::ConfigValue, "voters")));
        for nowhere in
            ["", "*", "//kv", "/KV", "/kvx", "/kv{key}", "/livez/", "/cluster/config/", "/cluster/members/x", "/%6bv/a"]
        {
            assert_eq!(Route::of(nowhere), None, "{nowhere}");
        }
        assert_eq!(Route::of("/cluster/members/{id}/leave"), Some((Route::Leave, "{id}")));
    }

    #[test]
    fn the_reference_names_every_call() {
        let text = include_str!("../../../docs/reference.md");
        for (_, path, methods) in ROUTES {
            for method in methods.split(", ").filter(|method| *method != "HEAD") {
                assert!(text.contains(&format!("| `{method} {path}`")), "{method} {path}");
            }
        }
    }
}
