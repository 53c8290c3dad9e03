//! Questions and answers between two nodes: votes, read indices, carried writes, the election's messages.
//!
//! One stream for each pair and direction, kept open; a number ties an answer to its question, so slow answers hold up nobody.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::frame::{self, FrameReader};
use super::peers::{OpenFailure, PeerStream, Peers};
use super::types::NodeId;
use super::wire::{Answer, CALL_STREAM, Call};

/// Questions that wait to be sent to one peer. Full: refused at once, nothing was sent.
const QUEUE: usize = 1024;
/// A stream on which questions wait and nothing at all comes for so long is dead, whatever TCP thinks: voters are pinged
/// over it every second, and a ping is answered at once.
const SILENCE: Duration = Duration::from_millis(2_500);
/// Questions of one peer that are worked on at once. Full: the next is read when one is done.
const SERVED: usize = 1024;

/// Asks one peer. Cheap to clone; dials when there is something to ask and after a loss.
#[derive(Debug, Clone)]
pub(crate) struct CallLane {
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    call: Call,
    answer: oneshot::Sender<Result<Answer, CallError>>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// Never sent: nothing was done.
    #[error("not sent: {0}")]
    Unsent(OpenFailure),
    /// Too many wait already: nothing was done.
    #[error("not sent: {QUEUE} requests wait for this peer already")]
    Overloaded,
    /// Sent, but the answer did not come: it may have been done.
    #[error("no answer: {0}")]
    Lost(String),
}

impl CallLane {
    /// Starts the task that keeps the stream to `target`; it ends when the last clone is dropped.
    pub(crate) fn start(peers: Peers, target: NodeId) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(peers, target, queue));
        Self { jobs }
    }

    /// Asks, and waits up to `timeout` for the answer.
    pub(crate) async fn call(&self, call: Call, timeout: Duration) -> Result<Answer, CallError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { call, answer }).map_err(|_| CallError::Overloaded)?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Lost("the stream was given up".to_owned())),
            Err(_) => Err(CallError::Lost(format!("nothing came for {timeout:?}"))),
        }
    }
}

async fn run(peers: Peers, target: NodeId, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        match peers.open(target, CALL_STREAM).await {
            Ok(stream) => {
                let mut waiting = BTreeMap::new();
                if let Err(error) = exchange(stream, first, &mut queue, &mut waiting).await {
                    peers.lost(target, &error);
                    let why = error.to_string();
                    for (_, answer) in waiting {
                        let _: Result<_, _> = answer.send(Err(CallError::Lost(why.clone())));
                    }
                }
            }
            Err(failure) => {
                let _: Result<_, _> = first.answer.send(Err(CallError::Unsent(failure.clone())));
                // Whoever queued up behind a dial that failed is told at once; the next question dials again.
                while let Ok(job) = queue.try_recv() {
                    let _: Result<_, _> = job.answer.send(Err(CallError::Unsent(failure.clone())));
                }
            }
        }
    }
}

type Waiting = BTreeMap<u64, oneshot::Sender<Result<Answer, CallError>>>;

/// Returns without an error only when the queue is closed.
async fn exchange(
    stream: PeerStream,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    waiting: &mut Waiting,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    let mut buffer = BytesMut::new();
    let mut number = 0;
    let mut next = Some(first);
    let mut quiet_since = Instant::now();
    loop {
        if let Some(job) = next.take() {
            // Whoever asked may have given up meanwhile.
            if !job.answer.is_closed() {
                buffer.clear();
                frame::put(&mut buffer, number, &job.call)?;
                if waiting.is_empty() {
                    quiet_since = Instant::now();
                }
                waiting.insert(number, job.answer);
                number += 1;
                writer.write_all(&buffer).await?;
            }
        }
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => next = Some(job),
                None => return Ok(()),
            },
            answer = reader.next::<Answer>() => match answer? {
                Some((number, answer)) => {
                    quiet_since = Instant::now();
                    if let Some(asker) = waiting.remove(&number) {
                        let _: Result<_, _> = asker.send(Ok(answer));
                    }
                }
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the stream")),
            },
            () = sleep_until(quiet_since + SILENCE), if !waiting.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {SILENCE:?}")));
            }
        }
    }
}

/// Answers the questions of one peer until it closes the stream.
pub(crate) async fn serve<F, Fut>(stream: PeerStream, handle: Arc<F>) -> io::Result<()>
where
    F: Fn(Call) -> Fut,
    Fut: Future<Output = Answer>,
{
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    let mut buffer = BytesMut::new();
    let mut working = FuturesUnordered::new();
    loop {
        tokio::select! {
            call = reader.next::<Call>(), if working.len() < SERVED => {
                let Some((number, call)) = call? else { return Ok(()) };
                let handle = handle.clone();
                working.push(async move { (number, handle(call).await) });
            }
            Some((number, answer)) = working.next() => {
                buffer.clear();
                frame::put(&mut buffer, number, &answer)?;
                writer.write_all(&buffer).await?;
            }
        }
    }
}
