//! Snapshots: one stream each, in bounded memory on both ends.
//!
//! The sender reads frames from a consistent view on blocking threads, a few ahead of the socket; the receiver builds the new
//! state beside the present one and hands it to openraft when it is whole. TCP slows the sender to the receiver's pace.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use muster_cluster::world::spawn_blocking;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError};
use openraft::raft::SnapshotResponse;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::frame::{self, FrameReader};
use super::peers::{OpenFailure, PeerStream, Peers};
use super::state_machine::SnapshotData;
use super::types::{NodeId, Raft, Snapshot, SnapshotMeta, TypeConfig, Vote};
use super::wire::SNAPSHOT_STREAM;
use crate::storage::snapshot::StagedSnapshot;
use crate::storage::state::{State, StateError};

/// Frames read ahead of the socket, and received ahead of the disk: enough to overlap both, at 256 KiB each little memory.
const AHEAD: usize = 4;
/// A peer that takes or sends nothing for so long is given up.
const STALL: Duration = Duration::from_secs(30);

/// What goes over the stream, and back at its end a [`SnapshotResponse`].
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Begin { vote: Vote, meta: SnapshotMeta },
    Frame(Bytes),
    End,
}

/// How far the snapshots on their way are, in percent, by receiver.
pub(crate) type Progress = Arc<Mutex<BTreeMap<NodeId, u8>>>;

/// Sends a snapshot and waits until it is installed.
pub(crate) async fn send(
    peers: &Peers,
    target: NodeId,
    vote: Vote,
    snapshot: Snapshot,
    cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
    progress: &Progress,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let _shown = Shown { progress, target };
    let sending = async {
        let stream = peers.open(target, SNAPSHOT_STREAM).await.map_err(OpenFailure::unreachable)?;
        transfer(stream, vote, snapshot, |percent| show(progress, target, Some(percent))).await.map_err(|error| {
            log::warn!("the snapshot for {target} was not delivered: {error}; it will be sent again");
            StreamingError::Network(NetworkError::new(&error))
        })
    };
    tokio::select! {
        sent = sending => sent,
        closed = cancel => Err(StreamingError::Closed(closed)),
    }
}

/// Takes the figure away however the transfer ends.
struct Shown<'a> {
    progress: &'a Progress,
    target: NodeId,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        show(self.progress, self.target, None);
    }
}

fn show(progress: &Progress, target: NodeId, percent: Option<u8>) {
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    match percent {
        Some(percent) => progress.insert(target, percent),
        None => progress.remove(&target),
    };
}

async fn transfer(
    stream: PeerStream,
    vote: Vote,
    snapshot: Snapshot,
    shown: impl Fn(u8),
) -> io::Result<SnapshotResponse<TypeConfig>> {
    let (reader, mut writer) = stream.into_split();
    let mut buffer = BytesMut::new();
    frame::put(&mut buffer, 0, &Message::Begin { vote, meta: snapshot.meta.clone() })?;
    let mut source = snapshot.snapshot.reader()?;
    let (frames, mut ready) = mpsc::channel::<Result<(Bytes, u8), StateError>>(AHEAD);
    let reading = tokio::spawn(async move {
        loop {
            let read = spawn_blocking(move || (source.next_frame(), source));
            let Ok((frame, back)) = read.await else { return Err(io::Error::other("reading the state panicked")) };
            source = back;
            let Some(frame) = frame.transpose() else { return Ok(()) };
            let frame = frame.map(|frame| (frame, source.percent()));
            let failed = frame.is_err();
            if frames.send(frame).await.is_err() || failed {
                return Ok(());
            }
        }
    });
    let mut number = 0;
    while let Some(next) = ready.recv().await {
        let (bytes, percent) = next.map_err(io::Error::other)?;
        number += 1;
        frame::put(&mut buffer, number, &Message::Frame(bytes))?;
        frame::write(&mut writer, &buffer, STALL).await?;
        buffer.clear();
        shown(percent);
    }
    reading.await.map_err(io::Error::other)??;
    frame::put(&mut buffer, number + 1, &Message::End)?;
    writer.write_all(&buffer).await?;
    // The receiver syncs gigabytes before it answers: as long as its stream stands, wait.
    let answer = FrameReader::new(reader).next::<SnapshotResponse<TypeConfig>>().await?;
    answer.map(|(_, answer)| answer).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Receives a snapshot, installs it and answers. The present state stays until the new one is whole.
pub(crate) async fn serve(raft: &Raft, state: &Arc<State>, stream: PeerStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    let Some((_, Message::Begin { vote, meta })) = reader.next_within(STALL).await? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a snapshot that does not begin with its meta data"));
    };
    log::info!("receiving a snapshot up to {}", meta.last_log_id.map(|id| id.to_string()).unwrap_or_default());
    let (frames, staged) = stage(state.clone());
    let sent = loop {
        match reader.next_within(STALL).await? {
            Some((_, Message::Frame(bytes))) => {
                if frames.send(bytes).await.is_err() {
                    break false;
                }
            }
            Some((_, Message::End)) => break true,
            Some((_, Message::Begin { .. })) | None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    };
    if sent {
        // An empty frame is never sent: it marks the end for the thread that stages, unlike a channel that just closes.
        let _: Result<_, _> = frames.send(Bytes::new()).await;
    }
    drop(frames);
    let staged = staged.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let snapshot = Snapshot { meta, snapshot: SnapshotData::Staged(staged) };
    let answer = raft.install_full_snapshot(vote, snapshot).await.map_err(io::Error::other)?;
    let mut buffer = BytesMut::new();
    frame::put(&mut buffer, 0, &answer)?;
    writer.write_all(&buffer).await
}

type Staging = tokio::task::JoinHandle<Result<StagedSnapshot, StateError>>;

/// Writes what comes through the channel, until an empty frame. A channel that closes before that discards it all.
fn stage(state: Arc<State>) -> (mpsc::Sender<Bytes>, Staging) {
    let (frames, mut arriving) = mpsc::channel::<Bytes>(AHEAD);
    let staged = tokio::spawn(async move {
        let mut writer = blocking(move || state.receive_snapshot()).await?;
        while let Some(frame) = arriving.recv().await {
            if frame.is_empty() {
                return blocking(move || writer.finish()).await;
            }
            writer = blocking(move || writer.write_frame(&frame).map(|()| writer)).await?;
        }
        // Discarding waits for the disk, too.
        blocking(move || {
            drop(writer);
            Ok(())
        })
        .await?;
        Err(StateError("the sender stopped before the end".to_owned()))
    });
    (frames, staged)
}

/// Runs what waits for the disk on a thread for that.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    spawn_blocking(run).await.unwrap_or_else(|_| Err(StateError("storing a snapshot panicked".to_owned())))
}

/// For the fuzzing door: frames of a snapshot's stream.
#[cfg(test)]
pub(super) fn take_any(bytes: &[u8]) {
    use futures_util::FutureExt;
    let mut reader = FrameReader::new(bytes);
    while let Some(Ok(Some((_, message)))) = reader.next::<Message>().now_or_never() {
        if let Message::Frame(frame) = message {
            crate::storage::fuzz::snapshot(&frame);
        }
    }
}

/// For the fuzzing door: one of them.
#[cfg(test)]
pub(super) fn a_message() -> impl Serialize {
    Message::Frame(Bytes::from_static(b"rows"))
}
