//! `/livez`, `/readyz` and `/metrics`.
//!
//! The metrics are written by hand: a dozen numbers that are all known when they are asked for need no library that keeps them.

use std::collections::BTreeMap;
use std::fmt::Write;

use actix_web::{HttpResponse, web};
use muster_client::api::health::{Check, Health};

use super::NoQuery;
use crate::registry::Registry;

fn answer(checks: impl IntoIterator<Item = (&'static str, Check)>) -> HttpResponse {
    let checks: BTreeMap<String, Check> = checks.into_iter().map(|(name, check)| (name.to_owned(), check)).collect();
    let health = Health::of(checks);
    if health.ok { HttpResponse::Ok().json(health) } else { HttpResponse::ServiceUnavailable().json(health) }
}

pub(super) async fn livez(_: web::Query<NoQuery>) -> HttpResponse {
    answer([("http", Check { ok: true, message: "answers".to_owned() })])
}

/// A conflict of ids does not fail the check: the registry does what it should, and says so to nodes and people.
pub(super) async fn readyz(registry: web::Data<Registry>, _: web::Query<NoQuery>) -> HttpResponse {
    let report = registry.report();
    let disk = match report.broken {
        None => Check { ok: true, message: "what changes is remembered".to_owned() },
        Some(error) => Check {
            ok: false,
            message: format!(
                "the journal of nodes cannot be written ({error}); make room or mend the disk, it is tried again by itself"
            ),
        },
    };
    let message = match report.conflicts.len() {
        0 => format!("{} nodes, {} foundings recorded", report.nodes, report.foundings),
        count => format!("more than one cluster goes by the same name, for {count} names; see /clusters"),
    };
    answer([("disk", disk), ("clusters", Check { ok: true, message })])
}

pub(super) async fn metrics(registry: web::Data<Registry>, _: web::Query<NoQuery>) -> HttpResponse {
    let report = registry.report();
    let counters = report.counters;
    let lines: [(&str, &str, &str, u64); 9] = [
        ("muster_registry_nodes", "gauge", "Nodes registered now.", report.nodes as u64),
        ("muster_registry_foundings", "gauge", "Clusters whose founding is recorded.", report.foundings as u64),
        ("muster_registry_conflicts", "gauge", "Cluster names with more than one id.", report.conflicts.len() as u64),
        ("muster_registry_journal_bytes", "gauge", "Length of the journal of nodes.", report.journal_bytes),
        ("muster_registry_registered_total", "counter", "Nodes that were not known before.", counters.registered),
        ("muster_registry_renewed_total", "counter", "Leases renewed.", counters.renewed),
        ("muster_registry_lapsed_total", "counter", "Nodes forgotten after their lease.", counters.lapsed),
        ("muster_registry_deregistered_total", "counter", "Nodes forgotten at their wish.", counters.deregistered),
        ("muster_registry_founded_total", "counter", "Foundings recorded since the start.", counters.founded),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in lines {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}
