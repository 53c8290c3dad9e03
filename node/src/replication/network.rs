//! openraft's network over the peer streams.

use std::time::Duration;

use futures_util::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use super::append_lane::AppendLane;
use super::call_lane::CallError;
use super::peers::Peers;
use super::snapshot_lane::{self, Progress};
use super::state_machine::SnapshotData;
use super::tally::{Refusals, Refused, Round};
use super::types::{Node, NodeId, Snapshot, TypeConfig, Vote};
use super::wire::{Answer, Call};
use tokio::time::Instant;

/// A peer that cannot be reached is tried again after 20 ms, then 40, up to half a second: soon enough that a restarted voter is back
/// within a heartbeat or two, rarely enough that a dead one costs nothing.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_millis(500);

/// Makes the ends of the lanes.
pub(crate) struct Network {
    peers: Peers,
    progress: Progress,
    refusals: Refusals,
}

impl Network {
    pub(crate) fn new(peers: Peers, progress: Progress, refusals: Refusals) -> Self {
        Self { peers, progress, refusals }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, _node: &Node) -> Connection {
        Connection {
            target,
            peers: self.peers.clone(),
            appends: AppendLane::new(self.peers.clone(), target),
            progress: self.progress.clone(),
            refusals: self.refusals.clone(),
        }
    }
}

/// The way to one peer. openraft makes one for entries, one for heartbeats and one for snapshots, so that none waits for another.
pub(crate) struct Connection {
    target: NodeId,
    peers: Peers,
    appends: AppendLane,
    progress: Progress,
    refusals: Refusals,
}

impl Connection {
    async fn call(&self, call: Call, option: &RPCOption) -> Result<Answer, RPCError<TypeConfig>> {
        self.peers.calls(self.target).call(call, option.soft_ttl()).await.map_err(|error| match error {
            CallError::Unsent(failure) => failure.unreachable(),
            CallError::Overloaded | CallError::Lost(_) => RPCError::Network(NetworkError::new(&error)),
        })
    }

    async fn vote_call(
        &self,
        round: Round,
        call: Call,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let asked = Instant::now();
        let answer = match self.call(call, option).await {
            Ok(Answer::Vote(answer)) => Ok(answer),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error),
        };
        if !answer.as_ref().is_ok_and(|answer| answer.vote_granted) {
            // Full: the campaign's time-out has to tell.
            let _: Result<_, _> = self.refusals.try_send(Refused { round, by: self.target.0, asked });
        }
        answer
    }
}

fn unexpected(answer: &Answer) -> RPCError<TypeConfig> {
    let why = match answer {
        Answer::Stopped(why) => why.clone(),
        other => format!("an answer to something else: {other:?}"),
    };
    RPCError::Network(NetworkError::new(&std::io::Error::other(why)))
}

impl NetBackoff<TypeConfig> for Connection {
    fn backoff(&self) -> Option<Backoff> {
        let doubled = |wait: &Duration| Some((*wait * 2).min(LAST_RETRY));
        Some(Backoff::new(std::iter::successors(Some(FIRST_RETRY), doubled)))
    }
}

impl NetStreamAppend<TypeConfig> for Connection {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(self.appends.stream(input))
    }
}

impl NetVote<TypeConfig> for Connection {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.vote_call(Round::Vote, Call::Vote(request), &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.vote_call(Round::Before, Call::PreVote(request), &option).await
    }
}

impl NetTransferLeader<TypeConfig> for Connection {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Call::Transfer(request), &option).await? {
            Answer::Transfer(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }
}

impl NetSnapshot<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        snapshot_lane::send(&self.peers, self.target, vote, snapshot, cancel, &self.progress).await
    }
}
