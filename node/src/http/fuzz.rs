//! The door of what stands in a request's query and headers; see `crate::fuzz`.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::query::Query;
use super::{Route, condition, idempotency};
use crate::kv::{Condition, Operation};

/// A query, and values of the headers that we read.
pub(crate) fn request<'a>(query: &str, values: impl Iterator<Item = &'a str>) {
    let _ = Route::of(query);
    if let Ok(mut query) = Query::parse(query) {
        let _ = (query.freshness(), query.timeout(), query.number("limit"), query.flag("all"), query.text("prefix"));
        let _: Result<_, _> = query.finish();
    }
    for value in values {
        let Ok(value) = HeaderValue::from_str(value) else { continue };
        for name in [header::IF_MATCH, header::IF_NONE_MATCH, HeaderName::from_static("idempotency-key")] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.clone());
            let _ = (condition::of_read(&headers), condition::of_write(&headers));
            let delete = Operation::Delete { key: "key".into(), condition: Condition::default() };
            let _: Result<_, _> = idempotency::of(&headers, &delete);
        }
    }
}
