//! Serves the streams that peers open.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::frame::{self, FrameReader};
use super::peers::PeerStream;
use super::types::NodeId;
use super::wire::{
    APPEND_STREAM, AdminCall, AdminRefusal, Answer, CALL_STREAM, Call, Hello, Refusal, SNAPSHOT_STREAM, Welcome,
};
use super::{Replication, append_lane, call_lane, snapshot_lane};

/// A peer says [`Hello`] at once; who is silent for so long is no peer.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves one stream until it ends.
pub(crate) async fn serve(this: Arc<Replication>, from: NodeId, kind: u8, mut stream: PeerStream) {
    let served = async {
        match tokio::time::timeout(HELLO_TIMEOUT, greet(&this, kind, &mut stream)).await {
            Ok(welcomed) => {
                if !welcomed? {
                    return Ok(());
                }
                this.peers.came(from);
            }
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it said nothing")),
        }
        match kind {
            APPEND_STREAM => {
                let served = tokio::select! {
                    served = append_lane::serve(&this.raft, from, stream, this.contact.as_ref()) => served,
                    () = this.until_forbidden() => Ok(()),
                };
                this.contact.stream_broke(from);
                served
            }
            CALL_STREAM => {
                let answering = this.clone();
                let answer = move |call| {
                    let this = answering.clone();
                    async move { answer(&this, from, call).await }
                };
                call_lane::serve(stream, Arc::new(answer)).await
            }
            SNAPSHOT_STREAM => snapshot_lane::serve(&this.raft, this.storage.state(), stream).await,
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("streams of kind {other} are not known"))),
        }
    };
    if let Err(error) = served.await {
        log::debug!("a stream of kind {kind} from {from} ended: {error}");
    }
}

/// Whether the peer may go on.
async fn greet(this: &Arc<Replication>, kind: u8, stream: &mut PeerStream) -> io::Result<bool> {
    // The peer sends nothing behind its hello until it is welcomed, so the reader cannot have read more than that.
    let Some((_, hello)) = FrameReader::of_greetings(&mut *stream).next::<Hello>().await? else { return Ok(false) };
    let welcome = this.welcome(kind, &hello);
    let mut buffer = BytesMut::new();
    frame::put(&mut buffer, 0, &welcome)?;
    stream.write_all(&buffer).await?;
    Ok(welcome == Welcome::Granted)
}

async fn answer(this: &Arc<Replication>, from: NodeId, call: Call) -> Answer {
    match call {
        Call::Vote(request) if this.may_vote() => match this.raft.vote(request).await {
            Ok(answer) => Answer::Vote(answer),
            Err(error) => Answer::Stopped(error.to_string()),
        },
        Call::PreVote(request) if this.may_vote() => match this.raft.pre_vote(request).await {
            Ok(answer) => Answer::Vote(answer),
            Err(error) => Answer::Stopped(error.to_string()),
        },
        // A voter that has not heard from the cluster since it started may have been set back: it grants nothing yet. No answer
        // is no vote, and leaves the candidate's term alone.
        Call::Vote(_) | Call::PreVote(_) => Answer::Stopped(this.why_no_vote()),
        Call::Ping => Answer::Pong,
        Call::Recall => Answer::Recall(this.testify(from.0)),
        Call::Claim(claim) => Answer::Claim { full: this.hear_claim(from.0, claim).await },
        // Whoever is named a successor asks for votes at once.
        Call::Transfer(_) if !this.may_vote() => Answer::Stopped(this.why_no_vote()),
        Call::Transfer(request) => match this.raft.handle_transfer_leader(request).await {
            Ok(answer) => Answer::Transfer(answer),
            Err(error) => Answer::Stopped(error.to_string()),
        },
        Call::Election(message) => {
            this.election_message(from.0, message);
            Answer::Election
        }
        Call::ReadIndex => Answer::ReadIndex(this.reads.confirm_here().await),
        Call::Write(writes) => {
            if this.stopping.load(Ordering::Relaxed) && this.leader() != Some(this.me()) {
                return Answer::Write(Err(Refusal::NotLeader(this.leader())));
            }
            Answer::Write(this.proposer.propose(writes, true).await)
        }
        Call::Admin(AdminCall::YouHaveLeft) => {
            // The leader says so again and again; one look at a time is enough.
            if let Ok(_looking) = this.looks_whether_removed.try_lock() {
                if this.has_been_removed().await {
                    this.left.send_replace(true);
                } else {
                    log::warn!(
                        "{from} says that this node was taken out for good; a majority of the voters does not say so"
                    );
                }
            }
            Answer::Admin(Ok(()))
        }
        // A stranger that knows the cluster's id carries nobody's request.
        Call::Admin(_) if !this.is_replica(from.0) => {
            Answer::Admin(Err(AdminRefusal::Conflict("only members that replicate may ask this".to_owned())))
        }
        Call::Admin(call) => Answer::Admin(this.admin_here(call).await),
    }
}
