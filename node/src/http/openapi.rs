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
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).body(text()))
}

/// The description with the version that runs.
fn text() -> String {
    DESCRIPTION.replacen("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""), 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use muster_client::api::error::ErrorCode;
    use muster_client::api::{cluster, error, health, kv};
    use serde_json::{Value, json};

    use super::super::ROUTES;
    use super::*;

    fn description() -> Value {
        serde_json::from_str(&text()).unwrap()
    }

    fn keys(object: &Value) -> BTreeSet<String> {
        object.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_route_is_described_and_every_description_is_a_route() {
        let described: BTreeSet<(String, String)> = description()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| keys(item).into_iter().map(move |method| (path.clone(), method.to_uppercase())))
            .filter(|(_, method)| method != "PARAMETERS")
            .collect();
        let routed: BTreeSet<(String, String)> = ROUTES
            .iter()
            .flat_map(|(_, path, methods)| methods.split(", ").map(|method| ((*path).to_owned(), method.to_owned())))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let whole = description();
        let mut open = vec![&whole];
        let mut seen = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        let target = target.strip_prefix('#').unwrap();
                        assert!(whole.pointer(target).is_some(), "{target}");
                        seen += 1;
                    }
                    open.extend(object.values());
                }
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        assert!(seen > 100);
    }

    #[test]
    fn the_error_codes_and_their_statuses_are_those_of_the_type() {
        let whole = description();
        let codes = whole["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
        let mut statuses = BTreeSet::new();
        for code in codes {
            let known: ErrorCode = serde_json::from_value(code.clone()).unwrap();
            assert_ne!(known, ErrorCode::Other, "{code} is described and does not exist");
            statuses.insert(known.status());
        }
        // The type has one code more: the one for codes from the future.
        assert_eq!(codes.len(), 16);
        let mut described = BTreeSet::from([405]);
        for item in whole["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values().filter(|value| value.is_object()) {
                described.extend(keys(&operation["responses"]).iter().map(|status| status.parse::<u16>().unwrap()));
            }
        }
        let errors: BTreeSet<u16> = described.into_iter().filter(|status| *status >= 400).collect();
        assert_eq!(errors, statuses);
    }

    #[test]
    fn the_schemas_have_the_fields_of_the_types() {
        let id = uuid::Uuid::nil();
        let member = cluster::Member {
            id,
            name: String::new(),
            http: String::new(),
            peer: String::new(),
            state: cluster::MemberState::Alive,
            incarnation: 0,
            role: None,
            priority: 0,
            last_seen_ms: None,
            round_trip_ms: None,
            suspected_by: Vec::new(),
        };
        let replica = cluster::Replica {
            id,
            name: String::new(),
            matched_index: None,
            lag: None,
            state: None,
            snapshot_percent: Some(1),
        };
        let link = cluster::Link { id, connected: false, version: None, round_trip_ms: None, last_error: None };
        let status = cluster::Status {
            id,
            name: String::new(),
            version: String::new(),
            cluster_id: None,
            role: None,
            term: 0,
            leader: None,
            leader_since_ms: None,
            no_leader_reason: None,
            last_log_index: 0,
            committed_index: 0,
            applied_index: 0,
            revision: 0,
            voters: vec![],
            learners: vec![],
            failures_tolerated: 0,
            disk: cluster::Disk::default(),
            network: vec![],
        };
        let item = kv::Item { key: String::new(), value: Some(String::new()), create_revision: 0, modify_revision: 0 };
        let detail = error::ErrorDetail {
            code: ErrorCode::Internal,
            message: String::new(),
            outcome: None,
            leader: Some(String::new()),
        };
        let check = health::Check { ok: true, message: String::new() };
        let members = cluster::Members { cluster_id: None, local: id, leader: None, members: vec![] };
        let samples = [
            ("Member", json!(member)),
            ("Members", json!(members)),
            ("Replica", json!(replica)),
            ("Link", json!(link)),
            ("Disk", json!(status.disk)),
            ("Status", json!(status)),
            ("Item", json!(item)),
            ("Page", json!(kv::Page { revision: 0, items: vec![], next: None })),
            ("PutAnswer", json!(kv::PutAnswer { key: String::new(), revision: 0, created: true })),
            ("DeleteAnswer", json!(kv::DeleteAnswer { key: String::new(), revision: 0, existed: true })),
            ("PrefixDeleteAnswer", json!(kv::PrefixDeleteAnswer { revision: 0, deleted: 0 })),
            ("ErrorDetail", json!(detail)),
            ("Check", json!(check)),
            ("Health", json!(health::Health { failures_tolerated: Some(0), ..health::Health::of([].into()) })),
            ("Leader", json!(cluster::Leader { id, name: String::new(), http: String::new(), term: 0 })),
            ("Transfer", json!(cluster::Transfer { to: Some(id) })),
            ("State", json!(cluster::State { add_set: [].into(), remove_set: [].into() })),
            ("Config", json!(cluster::Config { voters: 1, replace_after: String::new() })),
            ("ConfigValue", json!(cluster::ConfigValue { value: String::new() })),
        ];
        let whole = description();
        for (name, sample) in samples {
            assert_eq!(keys(&whole["components"]["schemas"][name]["properties"]), keys(&sample), "{name}");
        }
    }
}
