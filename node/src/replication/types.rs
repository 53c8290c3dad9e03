//! The types that replication is declared over: who a node is, what stands in a log entry, what comes of it.
//!
//! The leader id is Raft's own: one leader a term, so that a term names its leader and can fence.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::kv::{Outcome, Write};
use crate::storage::Position;

#[cfg(simulated)]
type Runtime = super::simulated::Runtime;
#[cfg(not(simulated))]
type Runtime = openraft::impls::TokioRuntime;

openraft::declare_raft_types!(
    /// What openraft is instantiated with.
    pub TypeConfig:
        D = Command,
        R = Applied,
        NodeId = NodeId,
        Node = Node,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>,
        AsyncRuntime = Runtime,
);

/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// What an entry carries: nothing (a new leader's first), a [`Command`], or a membership.
pub type Payload = openraft::type_config::alias::PayloadOf<TypeConfig>;
/// Term and index of an entry.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A term, whom it was given to, and whether a majority did.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// Who leads, and in which term.
pub type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<NodeId, Node>;
/// A membership and the entry that brought it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// Last entry and membership of a snapshot.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot's meta with its data.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, super::state_machine::SnapshotData>;

/// The engine.
pub type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;

/// A node's identity in replication: the UUID of its data dir.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

/// What the membership says of a node. Nothing like an address: peers are found by id through gossip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What people called it when it joined; only for people.
    pub name: String,
}

/// What one log entry carries: writes that share a place in the log and one sync. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The time as the cluster has seen it pass when the leader proposed this, in milliseconds (see `replication::stamps`). Idempotency keys
    /// age by it, never by a replica's clock; one that is lower than an earlier one counts as that one.
    pub stamp_ms: u64,
    /// Applied in this order. Shared, since one entry is cached, sent to every follower and applied.
    #[serde(serialize_with = "serialize_writes", deserialize_with = "deserialize_writes")]
    pub writes: Arc<[Write]>,
}

/// What came of a [`Command`]: one outcome for each write, in order. Empty for entries that carry no command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// In the order of the writes.
    pub outcomes: Vec<Outcome>,
}

/// A log id as the storage knows it.
pub(super) fn position(id: LogId) -> Position {
    Position { term: id.leader_id.term, index: id.index }
}

/// A position as openraft knows it.
pub(super) fn log_id(position: Position) -> LogId {
    LogId::new_term_index(position.term, position.index)
}

impl Command {
    /// A command of these writes.
    pub fn new(stamp_ms: u64, writes: Vec<Write>) -> Self {
        Self { stamp_ms, writes: writes.into() }
    }
}

fn serialize_writes<S: Serializer>(writes: &Arc<[Write]>, serializer: S) -> Result<S::Ok, S::Error> {
    writes.as_ref().serialize(serializer)
}

fn deserialize_writes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[Write]>, D::Error> {
    Vec::<Write>::deserialize(deserializer).map(Arc::from)
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Uuid> for NodeId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<NodeId> for Uuid {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

/// openraft's storage tests number their nodes.
#[cfg(test)]
impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self(Uuid::from_u128(u128::from(number)))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes", self.writes.len())
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} outcomes", self.outcomes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Operation;

    #[test]
    fn an_entry_survives_its_encoding() {
        let write = Write { operation: Operation::DeletePrefix { prefix: "a/".into() }, idempotency: None };
        let payload = Payload::Normal(Command::new(7, vec![write.clone(), write]));
        let bytes = postcard::to_stdvec(&payload).unwrap();
        assert_eq!(postcard::from_bytes::<Payload>(&bytes).unwrap(), payload);
    }

    #[test]
    fn ids_order_as_their_uuids_and_print_as_them() {
        let (low, high) = (NodeId::from(1), NodeId::from(2));
        assert!(low < high);
        assert_eq!(low.to_string(), Uuid::from(low).to_string());
    }
}
