//! What nodes say to each other on the peer streams, beside the entries themselves.
//!
//! A variant is told by its place, so new ones are added at the end; what an older peer does not know it refuses to decode,
//! and the version that both agreed on when the stream was opened says whether it may be sent.

use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::types::TypeConfig;
use super::witness::Mark;
use crate::kv::{Outcome, Write};

/// First kind of stream that is the node's own; the cluster library keeps those below for itself.
pub(crate) const APPEND_STREAM: u8 = 16;
/// Questions and answers in any order.
pub(crate) const CALL_STREAM: u8 = 17;
/// One snapshot.
pub(crate) const SNAPSHOT_STREAM: u8 = 18;

/// First frame on every stream, from the one that opened it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The cluster that the opener is part of. Nodes of different clusters never exchange anything else.
    pub(crate) cluster_id: Option<Uuid>,
}

/// The answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Welcome {
    /// Go on.
    Granted,
    /// The acceptor is part of another cluster.
    OtherCluster(Uuid),
    /// The acceptor cannot serve now; for people.
    NotReady(String),
    /// The acceptor is part of the cluster that took the place of the opener's, in a recovery from one disk.
    Replaced {
        /// The acceptor's cluster.
        by: Uuid,
        /// How many seconds ago, by the clock of the acceptor's machine.
        ago: u64,
    },
}

/// A question on a [`CALL_STREAM`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Call {
    /// A vote, for openraft.
    Vote(VoteRequest<TypeConfig>),
    /// A vote that binds nobody, for openraft.
    PreVote(VoteRequest<TypeConfig>),
    /// The leader names its successor, for openraft.
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// A message of the bully election, encoded by the cluster library.
    Election(Vec<u8>),
    /// Up to where must I have applied to read as if there were one copy?
    ReadIndex,
    /// Writes carried to the leader; each has an idempotency key.
    Write(Vec<Write>),
    /// Something that only the leader does.
    Admin(AdminCall),
    /// Are you there?
    Ping,
    /// What do you remember of me?
    Recall,
    /// This is on my disk: remember it.
    Claim(Claim),
}

/// What a voter says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// How far it has come, synced.
    pub(crate) mark: Mark,
    /// Its disk is full.
    pub(crate) full: bool,
}

/// What a member remembers of the one that asks, and knows of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Testimony {
    /// How far the asker had come, by its own word.
    pub(crate) mark: Mark,
    /// The last committed entry that the asker has acknowledged to the one that answers, which leads; 0 if it does not. It may be of the life
    /// that asks, if that has acknowledged any.
    pub(crate) acknowledged: u64,
    /// Whether the one that answers is a voter whose own disk nothing is known against.
    pub(crate) votes: bool,
    /// Whether it votes by now: others have vouched for its own disk.
    pub(crate) vouched: bool,
    /// Whether it leads, and a majority follows.
    pub(crate) leads: bool,
    /// The entry that its membership stands in.
    pub(crate) membership_index: Option<u64>,
    /// The voters by that.
    pub(crate) voters: Vec<Uuid>,
    /// Whether the asker was taken out for good.
    pub(crate) removed: bool,
}

/// The answer to a [`Call`], of the same name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To `Vote` and `PreVote`.
    Vote(VoteResponse<TypeConfig>),
    /// To `Transfer`.
    Transfer(TransferLeaderResponse<TypeConfig>),
    /// To `Election`.
    Election,
    /// To `ReadIndex`: a log index.
    ReadIndex(Result<u64, Refusal>),
    /// To `Write`: one outcome for each, in order.
    Write(Result<Vec<Outcome>, Refusal>),
    /// To `Admin`.
    Admin(Result<(), AdminRefusal>),
    /// The callee's engine has stopped, or must not vote yet; for people.
    Stopped(String),
    /// To `Ping`.
    Pong,
    /// To `Recall`.
    Recall(Testimony),
    /// To `Claim`.
    Claim {
        /// The disk of the one that answers is full.
        full: bool,
    },
}

/// Why a leader's work was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The callee does not lead; nothing was done. Perhaps this one does.
    NotLeader(Option<Uuid>),
    /// It leads, but no majority answered; nothing was done.
    NoMajority,
    /// Too much is waiting; nothing was done.
    Overloaded,
    /// The disk is full; nothing was done.
    DiskFull,
    /// It may have been done, or may be done later.
    Unknown,
}

/// Something that only the leader does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AdminCall {
    /// Hand the leadership over.
    TransferLeader(Option<Uuid>),
    /// Take a live member out for good.
    Leave(Uuid),
    /// Take a dead member out for good.
    Remove(Uuid),
    /// From the leader to a member: you have left. It believes a majority of the voters, not the one that says so.
    YouHaveLeft,
}

/// Why an [`AdminCall`] was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AdminRefusal {
    /// The callee does not lead; nothing was done.
    NotLeader(Option<Uuid>),
    /// There is no such member.
    NotFound(String),
    /// It would cost the majority, or contradicts what stands; nothing was done.
    Conflict(String),
    /// Begun, not seen to end in time.
    Timeout(String),
}
