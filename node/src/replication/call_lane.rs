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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::frame::{self, FrameReader};
use super::peers::{OpenFailure, PeerStream, Peers};
use super::types::NodeId;
use super::wire::{Answer, CALL_STREAM, Call};

/// Questions that wait to be sent to one peer. Full: refused at once, nothing was sent.
const QUEUE: usize = 1024;
/// Questions of one peer that are worked on at once. Full: the next is read when one is done.
const SERVED: usize = 1024;
/// A peer that owes answers and has sent nothing for so long is asked for a sign of life; after as long again the stream is given up
/// and dialled anew. Nothing else would tell for many minutes: packets that a cut swallowed are sent again at ever longer
/// intervals, and a process that is stopped keeps its connections.
const SILENCE: Duration = Duration::from_secs(2);
/// A peer that takes nothing for so long while a question is being sent is given up likewise: time enough for the longest over a slow line.
const STALL: Duration = Duration::from_secs(10);
/// Of the lane's own question for a sign of life; nobody waits for that answer.
const SIGN_OF_LIFE: u64 = u64::MAX;

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
                if let Err(error) = exchange(stream.into_split(), first, &mut queue, &mut waiting).await {
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
async fn exchange<R, W>(
    (reader, mut writer): (R, W),
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    waiting: &mut Waiting,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = FrameReader::new(reader);
    let mut buffer = BytesMut::new();
    let mut number = 0;
    let mut next = Some(first);
    let (mut silent_since, mut reminded) = (Instant::now(), false);
    loop {
        if let Some(job) = next.take() {
            // Whoever asked may have given up meanwhile.
            if !job.answer.is_closed() {
                buffer.clear();
                frame::put(&mut buffer, number, &job.call)?;
                if waiting.is_empty() {
                    (silent_since, reminded) = (Instant::now(), false);
                }
                waiting.insert(number, job.answer);
                number += 1;
                send(&mut writer, &buffer).await?;
            }
        }
        let patience = if reminded { 2 * SILENCE } else { SILENCE };
        tokio::select! {
            () = sleep_until(silent_since + patience), if !waiting.is_empty() => {
                if reminded {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {patience:?}")));
                }
                reminded = true;
                buffer.clear();
                frame::put(&mut buffer, SIGN_OF_LIFE, &Call::Ping)?;
                send(&mut writer, &buffer).await?;
            }
            job = queue.recv() => match job {
                Some(job) => next = Some(job),
                None => return Ok(()),
            },
            answer = reader.next::<Answer>() => match answer? {
                Some((number, answer)) => {
                    (silent_since, reminded) = (Instant::now(), false);
                    if let Some(asker) = waiting.remove(&number) {
                        let _: Result<_, _> = asker.send(Ok(answer));
                    }
                }
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the stream")),
            },
        }
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, format!("it took nothing for {STALL:?}"));
    tokio::time::timeout(STALL, writer.write_all(frame)).await.map_err(stalled)?
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

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> (Job, oneshot::Receiver<Result<Answer, CallError>>) {
        let (answer, answered) = oneshot::channel();
        (Job { call: Call::ReadIndex, answer }, answered)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_falls_silent_is_reminded_once_and_then_given_up() {
        let (near, far) = tokio::io::duplex(1024);
        let (_jobs, mut queue) = mpsc::channel(1);
        let (asked, _answered) = job();
        let mut waiting = Waiting::new();
        let began = Instant::now();
        let given_up = exchange(tokio::io::split(near), asked, &mut queue, &mut waiting).await.unwrap_err();
        assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
        assert_eq!((began.elapsed(), waiting.len()), (2 * SILENCE, 1));
        let mut heard = FrameReader::new(far);
        assert!(matches!(heard.next::<Call>().await.unwrap(), Some((0, Call::ReadIndex))));
        assert!(matches!(heard.next::<Call>().await.unwrap(), Some((SIGN_OF_LIFE, Call::Ping))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_is_waited_for_while_the_peer_gives_signs_of_life() {
        let (near, far) = tokio::io::duplex(1024);
        let (_jobs, mut queue) = mpsc::channel(1);
        let (asked, answered) = job();
        let peer = async {
            let (reader, mut writer) = tokio::io::split(far);
            let (mut reader, mut buffer) = (FrameReader::new(reader), BytesMut::new());
            assert!(matches!(reader.next::<Call>().await.unwrap(), Some((0, _))));
            for _ in 0..5 {
                let Some((number, Call::Ping)) = reader.next::<Call>().await.unwrap() else { panic!("no reminder") };
                frame::put(&mut buffer, number, &Answer::Pong).unwrap();
                writer.write_all(&buffer).await.unwrap();
                buffer.clear();
            }
            frame::put(&mut buffer, 0, &Answer::ReadIndex(Ok(7))).unwrap();
            writer.write_all(&buffer).await.unwrap();
            assert!(matches!(answered.await.unwrap().unwrap(), Answer::ReadIndex(Ok(7))));
        };
        let mut waiting = Waiting::new();
        tokio::select! {
            () = peer => {}
            ended = exchange(tokio::io::split(near), asked, &mut queue, &mut waiting) => panic!("{ended:?}"),
        }
    }
}
