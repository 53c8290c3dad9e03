//! The replicated configuration: names, defaults, and how their texts are read.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_client::api::quantity::Span;
use uuid::Uuid;

/// How many members vote.
pub const VOTERS: &str = "voters";
/// How long a voter is dead before a learner takes its place.
pub const REPLACE_AFTER: &str = "replace_after";
/// Before the id of a node that was taken out for good.
const REMOVED: &str = "removed/";

/// Five voters: two may fail, and more make every write wait for more disks. Used until the founder's flags are applied.
const DEFAULT_VOTERS: usize = 5;
/// Five minutes: longer than a reboot or an upgrade.
const DEFAULT_REPLACE_AFTER: Duration = Duration::from_secs(300);

/// How many members are to vote.
pub fn voters(configuration: &BTreeMap<String, String>) -> usize {
    configuration.get(VOTERS).and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_VOTERS)
}

/// How long a voter is dead before a learner takes its place.
pub fn replace_after(configuration: &BTreeMap<String, String>) -> Duration {
    let span = configuration.get(REPLACE_AFTER).and_then(|text| text.parse::<Span>().ok());
    span.map_or(DEFAULT_REPLACE_AFTER, |span| span.0)
}

/// The name under which it is noted that a node was taken out for good.
pub(super) fn removed(id: Uuid) -> String {
    format!("{REMOVED}{id}")
}
