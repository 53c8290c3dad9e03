//! One stream of the full-state exchange: frames from it go to the owner, frames from the owner go on it.

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    pin, select,
    sync::mpsc,
    time::timeout,
};

use super::{
    counters::Counters,
    stream::{PeerReader, PeerStream, PeerWriter},
};
use crate::swim::{StreamId, wire};

/// Frames that wait to be written on one stream. Full, the stream is closed: an exchange is a question and an answer, so whoever has
/// this many unread does not read.
pub(super) const OUTGOING: usize = 4;

/// How long the other side may take to read our last frame before the connection is torn down.
const LINGER: Duration = Duration::from_secs(1);

/// First growth of a frame's buffer; after that it grows with what has arrived, not with what was announced.
const FIRST_CHUNK: usize = 16 * 1024;

/// A frame to write.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) frame: Bytes,
    pub(super) last: bool,
}

/// What an exchange tells the owner.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A member opened a stream; frames for it go here.
    Opened { stream: StreamId, frames: mpsc::Sender<Outgoing> },
    /// A frame arrived.
    Frame { stream: StreamId, bytes: Bytes },
    /// The stream is no more.
    Closed { stream: StreamId },
}

/// Carries frames until either side is done, at most for `limit`.
pub(super) async fn converse(
    peer: PeerStream,
    stream: StreamId,
    limit: Duration,
    outgoing: mpsc::Receiver<Outgoing>,
    owner: mpsc::Sender<Incoming>,
    counters: &Counters,
) {
    let (reader, writer) = peer.into_split();
    let work = async {
        let reading = read(reader, stream, &owner, counters);
        let writing = write(writer, outgoing, counters);
        pin!(reading);
        pin!(writing);
        select! {
            read = &mut reading => read,
            written = &mut writing => match written? {
                // Closing with bytes unread would reset the connection and destroy the last frame on its way.
                Done::Last => timeout(LINGER, reading).await.unwrap_or(Ok(())),
                Done::Closed => Ok(()),
            },
        }
    };
    match timeout(limit, work).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => counters.exchanges_broken.add(1),
    }
    // The owner may be gone; then nobody needs to know.
    let _ = owner.send(Incoming::Closed { stream }).await;
}

async fn read(
    mut reader: PeerReader,
    stream: StreamId,
    owner: &mpsc::Sender<Incoming>,
    counters: &Counters,
) -> io::Result<()> {
    loop {
        let mut head = [0; wire::FRAME_HEAD];
        // An end between two frames is a good end.
        match reader.read(&mut head[..1]).await? {
            0 => return Ok(()),
            _ => reader.read_exact(&mut head[1..]).await?,
        };
        let len = wire::frame_len(head).map_err(io::Error::other)?;
        let mut body = Vec::with_capacity(len.min(FIRST_CHUNK));
        (&mut reader).take(len as u64).read_to_end(&mut body).await?;
        if body.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        counters.exchange_bytes_received.add(wire::FRAME_HEAD + len);
        let frame = Incoming::Frame { stream, bytes: body.into() };
        if owner.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

/// Why the writing ended.
enum Done {
    /// The last frame is written.
    Last,
    /// The owner closed the stream.
    Closed,
}

async fn write(
    mut writer: PeerWriter,
    mut outgoing: mpsc::Receiver<Outgoing>,
    counters: &Counters,
) -> io::Result<Done> {
    while let Some(Outgoing { frame, last }) = outgoing.recv().await {
        let head = wire::frame_head(&frame).map_err(io::Error::other)?;
        writer.write_all(&head).await?;
        writer.write_all(&frame).await?;
        writer.flush().await?;
        counters.exchange_bytes_sent.add(wire::FRAME_HEAD + frame.len());
        if last {
            writer.shutdown().await?;
            return Ok(Done::Last);
        }
    }
    Ok(Done::Closed)
}
