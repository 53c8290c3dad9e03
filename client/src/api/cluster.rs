//! The cluster as a node sees it: `/cluster/...`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Answer to `GET /cluster/members`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// The cluster; `null` before it is founded or joined.
    pub cluster_id: Option<Uuid>,
    /// The node that answered.
    pub local: Uuid,
    /// The leader as this node knows it.
    pub leader: Option<Uuid>,
    /// In order of their ids.
    pub members: Vec<Member>,
}

/// A member as gossip sees it, with its role in replication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its client port, `host:port`.
    pub http: String,
    /// Its peer port, `host:port`.
    pub peer: String,
    /// What gossip says of it.
    pub state: MemberState,
    /// Its stamp: a hybrid logical clock's time, 48 bits of milliseconds over 16 of counter.
    pub incarnation: u64,
    /// What replication says of it; `null` for one that does not replicate (yet).
    pub role: Option<Role>,
    /// Who of equally fresh logs leads: the highest.
    pub priority: i32,
    /// Milliseconds since it was last heard from directly; `null` when it never was.
    pub last_seen_ms: Option<u64>,
    /// The last round trip of a probe, in milliseconds; `null` when it was never measured, and for the node that answers.
    #[serde(default)]
    pub round_trip_ms: Option<f64>,
    /// Who accuses it, while it is suspect; the first accuser first. Empty otherwise.
    #[serde(default)]
    pub suspected_by: Vec<Uuid>,
}

/// What gossip says of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Answers.
    Alive,
    /// Did not answer; may still refute.
    Suspect,
    /// Was given up.
    Failed,
    /// Said goodbye.
    Left,
}

/// What replication says of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The voter that orders writes.
    Leader,
    /// Votes, and counts towards the majority.
    Voter,
    /// Replicates and serves reads, without a vote.
    Learner,
}

/// Answer to `GET /cluster/state`: the LWW element set, keys `<id>=<address>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The stamps with which members added themselves.
    pub add_set: BTreeMap<String, u64>,
    /// The stamps of the lives that were ended.
    pub remove_set: BTreeMap<String, u64>,
}

/// Answer to `GET /cluster/leader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its client port, `host:port`.
    pub http: String,
    /// The term in which it leads.
    pub term: u64,
}

/// Body of `POST /cluster/leader/transfer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who is to lead; without it, whoever is best placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Uuid>,
}

/// Answer to `GET /cluster/status`: this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node that answered.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The cluster; `null` before it is founded or joined.
    pub cluster_id: Option<Uuid>,
    /// What it is in replication.
    pub role: Option<Role>,
    /// The term.
    pub term: u64,
    /// The leader as this node knows it.
    pub leader: Option<Uuid>,
    /// Milliseconds since it is known as the leader.
    pub leader_since_ms: Option<u64>,
    /// When nobody leads, why; for people.
    pub no_leader_reason: Option<String>,
    /// Index of the last entry in the log.
    pub last_log_index: u64,
    /// Index of the last entry known as committed.
    pub committed_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// The revision applied here.
    pub revision: u64,
    /// The members that vote.
    pub voters: Vec<Replica>,
    /// The members that only replicate.
    pub learners: Vec<Replica>,
    /// How many more voters may fail before writes stop.
    pub failures_tolerated: u32,
    /// Disk figures.
    pub disk: Disk,
    /// Peer stream figures, one for each peer.
    pub network: Vec<Link>,
}

/// A member as replication sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its id.
    pub id: Uuid,
    /// Its name as gossip has it; empty when gossip does not know it.
    pub name: String,
    /// Last log index that it holds; only the leader knows.
    pub matched_index: Option<u64>,
    /// By how many entries it is behind the leader; only the leader knows.
    pub lag: Option<u64>,
    /// What gossip says of it.
    pub state: Option<MemberState>,
    /// Progress of a snapshot that it is being sent, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_percent: Option<u8>,
}

/// Disk figures of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes that the log takes.
    pub log_bytes: u64,
    /// Bytes that the state takes.
    pub state_bytes: u64,
    /// Bytes left on the file system.
    pub free_bytes: u64,
    /// Median of the last log syncs, in milliseconds.
    pub sync_ms_p50: f64,
    /// 99th percentile of the last log syncs, in milliseconds.
    pub sync_ms_p99: f64,
    /// Whether writes are refused for want of room.
    pub full: bool,
    /// For how long it has not answered at all, in milliseconds; `null`: it answers. The other figures are of before then.
    #[serde(default)]
    pub stalled_ms: Option<u64>,
}

/// The stream from this node to a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The peer.
    pub id: Uuid,
    /// Whether a stream stands.
    pub connected: bool,
    /// The wire version that both ends agreed on.
    pub version: Option<u16>,
    /// Round trip as gossip's probes see it, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Why there is no stream.
    pub last_error: Option<String>,
}

/// Answer to `GET /cluster/config`: the replicated configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How many members vote.
    pub voters: u32,
    /// How long a voter is dead before a learner takes its place, such as `5m`.
    pub replace_after: String,
}

/// Body of `PUT /cluster/config/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// The new value, as the flag of the same name is written.
    pub value: String,
}
