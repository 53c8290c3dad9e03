//! Entries and heartbeats: one ordered, pipelined stream for each direction between two nodes.
//!
//! openraft opens a *session* for each burst of entries and dozens a second for heartbeats, so the socket outlives the session:
//! it belongs to the [`AppendLane`], and a frame's number carries the session (upper half) and its place in it (lower half),
//! so that a late answer to an earlier session is recognised and dropped. What brings no entries waits a moment for company ([`Held`]).
//! No task stands between openraft and the socket: a lone writer's time goes to hand-overs between threads, and each would add one.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{FutureExt, MaybeDone, maybe_done};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::frame::{self, FrameReader};
use super::held::Held;
use super::peers::{OpenFailure, PeerStream, Peers, ReadHalf, WriteHalf};
use super::types::{LogId, NodeId, Raft, TypeConfig};
use super::wire::APPEND_STREAM;

/// Requests that may be under way at once: enough to keep a disk busy, little enough that a conflict wastes little.
const PIPELINE: usize = 64;
/// A peer that does not answer for so long is given up and dialled anew. Far above a heartbeat, because a disk that stalls for a moment
/// is no lost peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that takes nothing of a request for so long is given up as well: longer than TCP needs on a link that loses much. All that time the
/// engine drops nothing of its log.
const STALL: Duration = Duration::from_secs(4);

/// The sending end, towards one peer.
pub(crate) struct AppendLane {
    peers: Peers,
    target: NodeId,
    connection: Option<Connection>,
    dialling: Dialling<Result<PeerStream, OpenFailure>>,
    session: u32,
}

/// A dial that goes on when whoever waits for it gives up, for the next who does. openraft gives a heartbeat no longer than a heartbeat's
/// interval: a stream that takes longer to open (four round trips, and a handshake on a busy machine) would be dialled for ever, and never stand.
struct Dialling<T>(Option<AbortOnDropHandle<T>>);

impl<T: Send + 'static> Dialling<T> {
    /// What comes of the dial under way, or else of this one. Cancel-safe.
    async fn or<F: Future<Output = T> + Send + 'static>(&mut self, dial: impl FnOnce() -> F) -> Result<T, JoinError> {
        let dialling = self.0.get_or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(dial())));
        let dialled = dialling.await;
        self.0 = None;
        dialled
    }
}

struct Connection<R = ReadHalf, W = WriteHalf> {
    reader: FrameReader<R>,
    writer: W,
    buffer: BytesMut,
    /// A frame is partly written: if the session is dropped now, the stream is of no use.
    torn: bool,
    /// Since when nothing was heard although something is unanswered.
    unanswered_since: Option<Instant>,
}

impl<R: AsyncRead + Unpin, W> Connection<R, W> {
    fn new((reader, writer): (R, W)) -> Self {
        let (reader, buffer) = (FrameReader::new(reader), BytesMut::new());
        Self { reader, writer, buffer, torn: false, unanswered_since: None }
    }

    /// Whether the peer has been silent for too long. A session sees that by itself if it lasts so long; heartbeats and proofs of
    /// leadership are given up much sooner, and one after another would talk to an end that is gone until the system notices.
    fn is_silent(&mut self) -> bool {
        if self.unanswered_since.is_none_or(|since| since.elapsed() < ANSWER_TIMEOUT) {
            return false;
        }
        // The answer may have come when nobody waited for it any more.
        let came = matches!(self.reader.next::<AppendEntriesResponse<TypeConfig>>().now_or_never(), Some(Ok(Some(_))));
        if came {
            self.unanswered_since = None;
        }
        !came
    }
}

struct Pending {
    number: u64,
    before: Option<LogId>,
    last: Option<LogId>,
    deadline: Instant,
}

struct Session<'s, S, R = ReadHalf, W = WriteHalf> {
    connection: &'s mut Option<Connection<R, W>>,
    /// Upper half of its requests' numbers.
    number: u32,
    /// Taken from the input, but not sent yet.
    first: Option<AppendEntriesRequest<TypeConfig>>,
    input: Option<S>,
    held: Held,
    pending: VecDeque<Pending>,
    sent: u32,
}

type AppendResult = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl AppendLane {
    pub(crate) fn new(peers: Peers, target: NodeId) -> Self {
        Self { peers, target, connection: None, dialling: Dialling(None), session: 0 }
    }

    /// Sends what `input` gives and yields the answers in order; ends when `input` has ended and all is answered, or behind
    /// the first error.
    pub(crate) async fn stream<'s, S>(
        &'s mut self,
        mut input: S,
    ) -> Result<BoxStream<'s, AppendResult>, RPCError<TypeConfig>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let mut first = None;
        if self.connection.as_mut().is_none_or(|connection| connection.torn || connection.is_silent()) {
            self.connection = None;
            // openraft backs off from a peer that is gone by holding back the first request. Dialled before that is there, a dead peer would be
            // dialled without a pause.
            first = input.next().await;
            if first.is_none() {
                return Ok(Box::pin(stream::empty()));
            }
            let (peers, target) = (self.peers.clone(), self.target);
            let opened = self.dialling.or(|| async move { peers.open(target, APPEND_STREAM).await }).await;
            let opened = opened.unwrap_or_else(|stopped| Err(OpenFailure::Unreachable(stopped.to_string())));
            self.connection = Some(Connection::new(opened.map_err(|error| error.unreachable())?.into_split()));
        }
        self.session = self.session.wrapping_add(1);
        let (input, held, pending) = (Some(input), Held::default(), VecDeque::new());
        let (connection, number) = (&mut self.connection, self.session);
        let session = Session { connection, number, first, input, held, pending, sent: 0 };
        Ok(Box::pin(stream::unfold(Some(session), |session| async move {
            let mut session = session?;
            match session.step().await {
                Ok(None) => None,
                Ok(Some(Ok(matched))) => Some((Ok(Ok(matched)), Some(session))),
                Ok(Some(Err(refused))) => Some((Ok(Err(refused)), None)),
                Err(error) => {
                    *session.connection = None;
                    Some((Err(RPCError::Network(NetworkError::new(&error))), None))
                }
            }
        })))
    }
}

impl<S, R, W> Session<'_, S, R, W>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// The next answer; `None` when there is none to come.
    async fn step(&mut self) -> io::Result<Option<StreamAppendResult<TypeConfig>>> {
        let lost = || io::Error::new(io::ErrorKind::NotConnected, "the stream was given up");
        if let Some(first) = self.first.take() {
            self.send(&first).await?;
        }
        loop {
            let connection = self.connection.as_mut().ok_or_else(lost)?;
            let deadline = self.pending.front().map(|first| first.deadline);
            let room = self.pending.len() < PIPELINE;
            let due = self.held.due();
            if self.input.is_none() && deadline.is_none() {
                return Ok(None);
            }
            let next_request = async {
                match &mut self.input {
                    Some(input) if room => input.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                // Answers come first: nobody reads them while a long request is being sent, and their time may be over when it is.
                biased;
                answer = connection.reader.next::<AppendEntriesResponse<TypeConfig>>() => match answer? {
                    Some((number, answer)) => {
                        connection.unanswered_since = None;
                        if let Some(result) = self.answered(number, answer) {
                            return Ok(Some(result));
                        }
                    }
                    None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the stream")),
                },
                request = next_request => match request {
                    Some(request) => if let Some(request) = self.held.pass(request, Instant::now()) {
                        self.send(&request).await?;
                    },
                    None => {
                        self.input = None;
                        self.send_held().await?;
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.send_held().await?,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {ANSWER_TIMEOUT:?}")));
                }
            }
        }
    }

    async fn send_held(&mut self) -> io::Result<()> {
        match self.held.take() {
            Some(request) => self.send(&request).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> io::Result<()> {
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        let number = u64::from(self.number) << 32 | u64::from(self.sent);
        self.sent = self.sent.wrapping_add(1);
        frame::clear(&mut connection.buffer);
        frame::put(&mut connection.buffer, number, request)?;
        connection.torn = true;
        frame::write(&mut connection.writer, &connection.buffer, STALL).await?;
        connection.torn = false;
        let now = Instant::now();
        connection.unanswered_since.get_or_insert(now);
        let before = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(before);
        self.pending.push_back(Pending { number, before, last, deadline: now + ANSWER_TIMEOUT });
        Ok(())
    }

    /// `None` for the answer to an earlier session.
    fn answered(
        &mut self,
        number: u64,
        answer: AppendEntriesResponse<TypeConfig>,
    ) -> Option<StreamAppendResult<TypeConfig>> {
        let asked = self.pending.pop_front_if(|first| first.number == number)?;
        let partial = matches!(&answer, AppendEntriesResponse::PartialSuccess(reached) if *reached != asked.last);
        if partial {
            // What follows in the pipeline cannot fit behind it: take no more and let openraft begin again from there.
            self.input = None;
            self.held.take();
            self.pending.clear();
        }
        Some(answer.into_stream_result(asked.before, asked.last))
    }
}

/// Told of every request that a leader's stream brings, so that the election knows when it was last heard.
pub(crate) trait LeaderHeard: Send + Sync {
    /// `from` sent entries or a heartbeat that was not refused for its term.
    fn heard(&self, from: NodeId);
}

/// The receiving end: hands each request to openraft in the order of arrival and answers in that order, until the
/// peer closes the stream.
pub(crate) async fn serve(raft: &Raft, from: NodeId, stream: PeerStream, heard: &dyn LeaderHeard) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    let mut pending = VecDeque::new();
    let mut buffer = BytesMut::new();
    // A leader that has no answer from a disk that hangs comes again with the same entries, and what an earlier stream brought is still in
    // openraft's queue: whoever read on would gather the same entries in memory until the disk answers. Behind this they are taken.
    raft.with_raft_state(|_| ()).await.map_err(io::Error::other)?;
    loop {
        let room = pending.len() < PIPELINE;
        tokio::select! {
            request = reader.next::<AppendEntriesRequest<TypeConfig>>(), if room => {
                let Some((number, request)) = request? else { return Ok(()) };
                let raft = raft.clone();
                let mut append = Box::pin(maybe_done(async move { raft.append_entries(request).await }));
                // The first poll puts the request into openraft's queue: polled here, they enter it in order.
                let _ = append.as_mut().now_or_never();
                pending.push_back((number, append));
            }
            (number, answer) = first(&mut pending), if !pending.is_empty() => {
                let answer = answer.map_err(io::Error::other)?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    heard.heard(from);
                }
                buffer.clear();
                frame::put(&mut buffer, number, &answer)?;
                writer.write_all(&buffer).await?;
            }
        }
    }
}

type Waiting<F> = VecDeque<(u64, std::pin::Pin<Box<MaybeDone<F>>>)>;

/// Waits for the first of the waiting requests and takes it out. Cancel-safe.
async fn first<F: Future>(pending: &mut Waiting<F>) -> (u64, F::Output) {
    loop {
        if let Some((_, append)) = pending.front_mut() {
            append.as_mut().await;
        }
        if let Some((number, mut append)) = pending.pop_front()
            && let Some(output) = append.as_mut().take_output()
        {
            return (number, output);
        }
        if pending.is_empty() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncReadExt, duplex, split};
    use tokio::time::{sleep, timeout};

    use super::super::types::{Command, Entry, Payload, Vote, log_id};
    use super::*;
    use crate::kv::{Operation, Write};
    use crate::storage::Position;

    fn request(index: u64, bytes: usize) -> AppendEntriesRequest<TypeConfig> {
        let at = |index| log_id(Position { term: 1, index });
        let write = Write { operation: Operation::DeletePrefix { prefix: "k".repeat(bytes) }, idempotency: None };
        let payload = Payload::Normal(Command::new(7, vec![write]));
        AppendEntriesRequest {
            vote: Vote::new(1, NodeId::default()),
            prev_log_id: Some(at(index - 1)),
            leader_commit: None,
            entries: vec![Entry { log_id: at(index), payload }],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_while_a_long_request_was_sent_is_heard_however_late() {
        // Often: where the first of what is due were chosen by lot, one round would go well half of the time.
        for _ in 0..20 {
            let (near, far) = duplex(1024);
            let mut connection = Some(Connection::new(split(near)));
            let input = Some(stream::iter([request(1, 10), request(2, 100_000)]).chain(stream::pending()));
            let (held, pending) = (Held::default(), VecDeque::new());
            let mut session =
                Session { connection: &mut connection, number: 0, first: None, input, held, pending, sent: 0 };
            let began = Instant::now();
            let peer = async {
                let (mut reader, mut writer) = split(far);
                let mut answer = BytesMut::new();
                frame::put(&mut answer, 0, &AppendEntriesResponse::<TypeConfig>::Success).unwrap();
                let mut part = [0; 1024];
                for number in 0.. {
                    sleep(ANSWER_TIMEOUT / 80).await;
                    reader.read_exact(&mut part).await.unwrap();
                    if number == 0 {
                        writer.write_all(&answer).await.unwrap();
                    }
                }
            };
            tokio::select! {
                () = peer => {}
                answer = session.step() => assert!(matches!(answer, Ok(Some(Ok(_)))), "{answer:?}"),
            }
            assert!(began.elapsed() > ANSWER_TIMEOUT, "{:?}: it was sent too fast to tell", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_owes_an_answer_for_too_long_is_silent_unless_it_has_come_unnoticed() {
        let (near, mut far) = duplex(1024);
        let mut connection = Connection::new(split(near));
        sleep(ANSWER_TIMEOUT * 2).await;
        assert!(!connection.is_silent(), "nothing was asked");
        connection.unanswered_since = Some(Instant::now());
        sleep(ANSWER_TIMEOUT - Duration::from_millis(1)).await;
        assert!(!connection.is_silent());
        sleep(Duration::from_millis(1)).await;
        assert!(connection.is_silent());
        let mut answer = BytesMut::new();
        frame::put(&mut answer, 0, &AppendEntriesResponse::<TypeConfig>::Success).unwrap();
        far.write_all(&answer).await.unwrap();
        assert!(!connection.is_silent(), "it came when nobody waited for it");
        assert!(!connection.is_silent(), "and nothing is owed since");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_outlives_those_who_wait_too_short_for_it() {
        let (heartbeat, opens_in) = (Duration::from_millis(50), Duration::from_millis(160));
        let dials = Arc::new(AtomicU32::new(0));
        let dial = || {
            let number = dials.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(opens_in).await;
                number
            }
        };
        let mut dialling = Dialling(None);
        for _ in 0..3 {
            assert!(timeout(heartbeat, dialling.or(dial)).await.is_err());
        }
        assert_eq!(
            timeout(heartbeat, dialling.or(dial)).await.unwrap().unwrap(),
            0,
            "the first, three heartbeats later"
        );
        assert_eq!(dialling.or(dial).await.unwrap(), 1, "what was taken is not given again");
    }
}
