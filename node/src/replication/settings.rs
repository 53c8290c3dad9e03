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
/// Before the id of a cluster that this one took the place of, by a recovery from one disk.
const REPLACED: &str = "replaced/";

/// Five voters: two may fail, and more make every write wait for more disks. Used until the founder's flags are applied.
const DEFAULT_VOTERS: usize = 5;
/// Five minutes: longer than a reboot or an upgrade.
const DEFAULT_REPLACE_AFTER: Duration = Duration::from_secs(300);
/// One second: several elections, and a process that is started again. Below that every crash would move a seat.
const SHORTEST_REPLACE_AFTER: Duration = Duration::from_secs(1);

/// How many members are to vote.
pub fn voters(configuration: &BTreeMap<String, String>) -> usize {
    configuration.get(VOTERS).and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_VOTERS)
}

/// How long a voter is dead before a learner takes its place.
pub fn replace_after(configuration: &BTreeMap<String, String>) -> Duration {
    let span = configuration.get(REPLACE_AFTER).and_then(|text| text.parse::<Span>().ok());
    // Releases up to 2.2 took less.
    span.map_or(DEFAULT_REPLACE_AFTER, |span| span.0.max(SHORTEST_REPLACE_AFTER))
}

/// Reads how long a voter is to be dead; the error says what can be.
pub fn parse_replace_after(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if span.0 < SHORTEST_REPLACE_AFTER {
        return Err(format!(
            "must be at least {}: what is started again within that time is not to be replaced",
            Span(SHORTEST_REPLACE_AFTER)
        ));
    }
    Ok(span)
}

/// The name under which it is noted that a node was taken out for good.
pub(super) fn removed(id: Uuid) -> String {
    format!("{REMOVED}{id}")
}

/// The name under which it is noted that this cluster took the place of another.
pub(super) fn replaced(cluster: Uuid) -> String {
    format!("{REPLACED}{cluster}")
}

/// The cluster whose place was taken, if this is the name for that.
pub(super) fn read_replaced(name: &str) -> Option<Uuid> {
    name.strip_prefix(REPLACED)?.parse().ok()
}
