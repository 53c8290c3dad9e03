//! The registry's calls.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ErrorDetail;

/// 128 bytes: room for any host name of a person's making; names stand in paths, labels and log lines.
pub const MAX_NAME: usize = 128;

/// Why a text cannot be the name of a cluster or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {MAX_NAME} bytes of text without `/` and without control characters, and not `.` or `..`")]
pub struct NameError;

/// Whether `text` can be the name of a cluster or a node: it has to fit into one segment of a path and one line of a log.
pub fn check_name(text: &str) -> Result<(), NameError> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && text != "." && text != "..";
    if fits && !text.chars().any(|c| c == '/' || c.is_control()) { Ok(()) } else { Err(NameError) }
}

/// Body of `PUT /nodes/{id}`: registers or renews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What people call the node.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// Client port, `host:port`; an unspecified host (`0.0.0.0`, `[::]`) stands for the observed address.
    pub http: String,
    /// Peer port, likewise.
    pub peer: String,
    /// The cluster that the node is part of, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Uuid>,
    /// The host to offer to others instead of the observed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// How many nodes (of this name, without a cluster) the founding waits for, at least 1.
    #[serde(default = "one")]
    pub bootstrap_expect: u32,
    /// Clusters whose place the node's cluster took in a recovery from one disk: a founding that is recorded for one of them passes to it
    /// once nobody carries that any more. The first 16 count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Uuid>,
}

fn one() -> u32 {
    1
}

/// Answer to a [`Registration`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// How long the registration stands without a renewal, in milliseconds.
    pub lease_ms: u64,
    /// When to renew, in milliseconds: a third of the lease, or sooner while few nodes are registered, so that a registry
    /// which lost its memory soon hears from one of them.
    pub renew_ms: u64,
    /// The address that the request came from.
    pub observed_ip: IpAddr,
    /// Some live nodes of the cluster's name to start from, the asker not among them.
    pub seeds: Vec<Seed>,
    /// The one cluster that is known under this name, by its record or by the nodes that carry it.
    pub cluster_id: Option<Uuid>,
    /// Whether the asker is offered the founding.
    pub found: bool,
    /// Every cluster id known under this name when there is more than one: `cluster_id` is `null` then, a person decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflict: Vec<Uuid>,
}

/// A node to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Its id.
    pub id: Uuid,
    /// Its client port, `host:port`.
    pub http: String,
    /// Its peer port, `host:port`.
    pub peer: String,
    /// The cluster that it is part of; nodes that have none yet only come after all that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Uuid>,
}

/// Answer to `GET /seeds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    /// In random order, members of a cluster first.
    pub seeds: Vec<Seed>,
}

/// Answer to `GET /nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// In order of their ids.
    pub nodes: Vec<Node>,
}

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Its client port, `host:port`.
    pub http: String,
    /// Its peer port, `host:port`.
    pub peer: String,
    /// The cluster that it is part of.
    pub cluster_id: Option<Uuid>,
    /// The address that its last request came from.
    pub observed_ip: IpAddr,
    /// Milliseconds since it was last heard from.
    pub age_ms: u64,
}

/// Body of `PUT /clusters/{name}`: records who founded, compare-and-set against "nobody yet".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The new cluster's id.
    pub cluster_id: Uuid,
    /// The node that founds it; in a record that a registry made of what it learned from running nodes, one of those.
    pub founder: Uuid,
}

/// Answer to a [`Founding`] that cannot be recorded (409): the error of every call, and what stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundingConflict {
    /// As in every error.
    pub error: ErrorDetail,
    /// What stands under the name; `null` when several ids do and none is picked.
    pub standing: Option<Standing>,
}

/// The cluster that stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its id.
    pub cluster_id: Uuid,
    /// Who founded it; `null` when the registry only learned the id from the nodes that carry it.
    pub founder: Option<Uuid>,
}

/// Answer to `DELETE /nodes/{id}` and `DELETE /clusters/{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Whether there was something to forget.
    pub existed: bool,
}

/// Answer to `GET /clusters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clusters {
    /// In order of their names.
    pub clusters: Vec<Cluster>,
}

/// What is recorded under a cluster's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The name.
    pub name: String,
    /// The recorded founding; its fields are absent when there is none.
    #[serde(flatten)]
    pub founding: Option<Founding>,
    /// Every cluster id that registered nodes of this name carry; more than one is a conflict for a person to resolve.
    pub seen: Vec<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_a_path_and_a_line() {
        for good in ["muster", "n1", "größe", "a b", &"x".repeat(MAX_NAME)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\nb", "\u{7f}", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(check_name(bad), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn a_cluster_without_a_record_shows_only_what_was_seen() {
        let cluster = Cluster { name: "muster".to_owned(), founding: None, seen: vec![Uuid::nil()] };
        let text = serde_json::to_string(&cluster).unwrap();
        assert_eq!(text, r#"{"name":"muster","seen":["00000000-0000-0000-0000-000000000000"]}"#);
        assert_eq!(serde_json::from_str::<Cluster>(&text).unwrap(), cluster);
    }
}
