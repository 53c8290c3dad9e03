//! `/metrics`: what was asked of the client port and how long it took, by route; then what others have to say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::error::ApiError;
use super::query::Query;
use super::state::AppState;
use super::{ROUTES, Route, Verb};
use crate::metrics::{Kind, Text, process};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Upper bounds in microseconds: from a local read in memory to the longest wait of a write, about two for each decade.
const BUCKETS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// One more than there are routes: the last is for paths that do not exist.
const SERIES: usize = ROUTES.len() + 1;

/// Counts of answered requests. The sets of labels are fixed, so all of it is a few arrays of atomics.
#[derive(Debug)]
pub(super) struct Metrics {
    series: [Series; SERIES],
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Series {
    answered: [[AtomicU64; CLASSES.len()]; Verb::ALL.len()],
    /// Not cumulative; the last is what is slower than all bounds.
    took: [AtomicU64; BUCKETS.len() + 1],
    took_us: AtomicU64,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            series: std::array::from_fn(|_| Series::default()),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }
    }

    /// Counts an answered request; `route` is `None` for a path that does not exist.
    pub(super) fn answered(&self, route: Option<Route>, verb: Verb, response: &HttpResponse, took: Duration) {
        let series = &self.series[route.map_or(SERIES - 1, |route| route as usize)];
        let class = usize::from(response.status().as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        series.answered[verb as usize][class].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        series.took[BUCKETS.partition_point(|&bound| bound < us)].fetch_add(1, Ordering::Relaxed);
        series.took_us.fetch_add(us, Ordering::Relaxed);
        if let BodySize::Sized(bytes) = response.body().size() {
            self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a body that came in.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn write(&self, into: &mut Text) {
        let routes = || ROUTES.iter().map(|(_, path, _)| *path).chain(["other"]).zip(&self.series);
        let name = "muster_http_requests_total";
        into.family(name, Kind::Counter, "Answered requests by route, method and class of status.");
        for (route, series) in routes() {
            for (verb, classes) in Verb::ALL.iter().zip(&series.answered) {
                for (class, count) in CLASSES.iter().zip(classes) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        into.sample(name, &[("route", route), ("method", verb.name()), ("status", class)], count);
                    }
                }
            }
        }
        let name = "muster_http_request_seconds";
        into.family(name, Kind::Histogram, "From the head of a request to its answer, by route.");
        for (route, series) in routes() {
            let counts: Vec<u64> = series.took.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let total: u64 = counts.iter().sum();
            if total == 0 {
                continue;
            }
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(&counts) {
                below += count;
                let bound = (*bound as f64 / 1e6).to_string();
                into.sample("muster_http_request_seconds_bucket", &[("route", route), ("le", &bound)], below);
            }
            into.sample("muster_http_request_seconds_bucket", &[("route", route), ("le", "+Inf")], total);
            let sum = series.took_us.load(Ordering::Relaxed) as f64 / 1e6;
            into.sample("muster_http_request_seconds_sum", &[("route", route)], sum);
            into.sample("muster_http_request_seconds_count", &[("route", route)], total);
        }
        let received = self.received_bytes.load(Ordering::Relaxed);
        into.single("muster_http_received_bytes_total", Kind::Counter, "Bytes of request bodies.", received);
        let sent = self.sent_bytes.load(Ordering::Relaxed);
        into.single("muster_http_sent_bytes_total", Kind::Counter, "Bytes of answers' bodies.", sent);
    }
}

/// `GET /metrics`.
pub(super) async fn get(app: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Query::parse(request.query_string())?.finish()?;
    let mut text = Text::default();
    text.family("muster_build_info", Kind::Gauge, "Always 1; the label says which version runs.");
    text.sample("muster_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    app.metrics.write(&mut text);
    let in_flight = app.load.in_flight();
    text.single("muster_http_in_flight", Kind::Gauge, "Requests being answered, this one included.", in_flight);
    let waiting = app.load.waiting();
    text.single("muster_http_waiting", Kind::Gauge, "Reads that wait for a revision; they are not in flight.", waiting);
    let answers = app.load.outgoing.bytes();
    text.single("muster_http_answer_bytes", Kind::Gauge, "Bytes of long answers that are being taken.", answers);
    let bodies = app.load.body_bytes();
    text.single("muster_http_body_bytes", Kind::Gauge, "Bytes of bodies received and not yet written.", bodies);
    process(&mut text);
    app.admin.collect(&mut text).await;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, TEXT)).body(text.into_string()))
}
