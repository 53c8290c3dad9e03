//! Questions and answers between two nodes: votes, read indices, carried writes, the election's messages.
//!
//! One stream for each pair and direction, kept open; a number ties an answer to its question, so slow answers hold up nobody.
//!
//! A stream whose other end was lost without a word looks like one whose answers are slow: packets that a cut swallowed are sent again at
//! ever longer intervals, and a host that comes back answers only the next of those. So whoever owes an answer is soon asked for a
//! sign of life, and soon after dialled anew *beside* the old stream. Whichever speaks first goes on: a stream that is merely slow
//! is kept, a dead one costs its questions a few heartbeats and not seconds.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::frame::{self, FrameReader};
use super::peers::{OpenFailure, PeerStream, Peers};
use super::types::NodeId;
use super::wire::{Answer, CALL_STREAM, Call};

/// Questions that wait to be sent to one peer. Full: refused at once, nothing was sent.
const QUEUE: usize = 1024;
/// Questions of one peer that are worked on at once. Full: the next is read when one is done.
const SERVED: usize = 1024;
/// A stream that owes answers and has brought nothing for so long is given up, also if the peer cannot be dialled anew; and likewise one that takes
/// nothing of a question. Nothing else would tell for many minutes.
const SILENCE: Duration = Duration::from_secs(4);
/// Dials at once. One whose first packet was lost sends the next a second later; another dial beside it sends one sooner.
const DIALS: usize = 4;
/// Heartbeats from one dial to the next beside it: several round trips of a LAN, and a peer that is back is reached within an election.
const DIAL_AGAIN: u32 = 4;
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
    answer: AnswerTo,
}

type AnswerTo = oneshot::Sender<Result<Answer, CallError>>;

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
    let doubt = peers.heartbeat();
    let dial = || dial(&peers, target, doubt * DIAL_AGAIN);
    while let Some(first) = queue.recv().await {
        let mut next = match dial().await {
            Ok(stream) => Some((stream, vec![first])),
            Err(failure) => {
                let _: Result<_, _> = first.answer.send(Err(CallError::Unsent(failure.clone())));
                // Whoever queued up behind a dial that failed is told at once; the next question dials again.
                while let Ok(job) = queue.try_recv() {
                    let _: Result<_, _> = job.answer.send(Err(CallError::Unsent(failure.clone())));
                }
                None
            }
        };
        while let Some((stream, ask)) = next.take() {
            let (reader, writer) = stream.into_split();
            let mut ends = Ends { reader: FrameReader::new(reader), writer };
            let mut waiting = Waiting::new();
            let redial = || -> BoxFuture<'_, _> { Box::pin(dial()) };
            match exchange(&mut ends, ask, &mut queue, &mut waiting, doubt, redial).await {
                Ok(None) => return,
                Ok(Some(fresh)) => {
                    log::debug!("a stream to {target} fell silent and was replaced");
                    let again = take_repeatable(&mut waiting);
                    tokio::spawn(wait_for_the_rest(ends, waiting));
                    next = Some((fresh, again));
                }
                Err(error) => {
                    peers.lost(target, &error);
                    give_up(waiting, &error);
                }
            }
        }
    }
}

/// Opens a stream, with further tries beside the first while that has no answer. The first that succeeds or fails decides.
async fn dial(peers: &Peers, target: NodeId, again: Duration) -> Result<PeerStream, OpenFailure> {
    let mut tries = FuturesUnordered::new();
    loop {
        tries.push(peers.open(target, CALL_STREAM));
        tokio::select! {
            Some(opened) = tries.next() => return opened,
            () = sleep(again), if tries.len() < DIALS => {}
        }
    }
}

struct Ends<R, W> {
    reader: FrameReader<R>,
    writer: W,
}

/// A question that was sent.
struct Asked {
    answer: AnswerTo,
    /// The question, if it may be sent a second time.
    again: Option<Call>,
}

type Waiting = BTreeMap<u64, Asked>;

/// What comes to the same when it is asked twice, and costs nothing. Writes that carry keys would do as well, but as a rule it is they that
/// keep a peer from answering.
fn is_repeatable(call: &Call) -> bool {
    match call {
        Call::Vote(_) | Call::PreVote(_) | Call::Election(_) | Call::ReadIndex | Call::Ping | Call::Recall => true,
        Call::Transfer(_) | Call::Write(_) | Call::Admin(_) | Call::Claim(_) => false,
    }
}

fn take_repeatable(waiting: &mut Waiting) -> Vec<Job> {
    let repeatable = waiting.extract_if(.., |_, asked| asked.again.is_some());
    repeatable.filter_map(|(_, asked)| Some(Job { call: asked.again?, answer: asked.answer })).collect()
}

fn give_up(waiting: Waiting, error: &io::Error) {
    for asked in waiting.into_values() {
        let _: Result<_, _> = asked.answer.send(Err(CallError::Lost(error.to_string())));
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {SILENCE:?}"))
}

/// Gives the answers that a replaced stream may still bring to those who wait for them.
async fn wait_for_the_rest<R: AsyncRead + Unpin, W>(mut ends: Ends<R, W>, mut waiting: Waiting) {
    let deadline = Instant::now() + SILENCE;
    waiting.retain(|_, asked| !asked.answer.is_closed());
    let error = loop {
        if waiting.is_empty() {
            return;
        }
        match timeout_at(deadline, ends.reader.next::<Answer>()).await {
            Ok(Ok(Some((number, answer)))) => hand_over(&mut waiting, number, answer),
            Ok(Ok(None)) => break closed(),
            Ok(Err(why)) => break why,
            Err(_) => break silent(),
        }
    };
    give_up(waiting, &error);
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the stream")
}

fn hand_over(waiting: &mut Waiting, number: u64, answer: Answer) {
    if let Some(asked) = waiting.remove(&number) {
        let _: Result<_, _> = asked.answer.send(Ok(answer));
    }
}

/// Sends questions and hands over answers. Returns a stream that takes this one's place, or `None` when the queue is closed.
async fn exchange<'d, R, W, S>(
    Ends { reader, writer }: &mut Ends<R, W>,
    ask: Vec<Job>,
    queue: &mut mpsc::Receiver<Job>,
    waiting: &mut Waiting,
    doubt: Duration,
    redial: impl Fn() -> BoxFuture<'d, Result<S, OpenFailure>>,
) -> io::Result<Option<S>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut number = 0;
    let mut doubts = Doubts::since(Instant::now());
    let mut dialling: Option<BoxFuture<'d, Result<S, OpenFailure>>> = None;
    let mut next = VecDeque::from(ask);
    // A question on its way, since when it is, and when the peer took some of it last.
    let (mut out, mut began, mut taken) = (BytesMut::new(), Instant::now(), Instant::now());
    loop {
        // Whoever asked may have given up meanwhile.
        next.retain(|job| !job.answer.is_closed());
        if out.is_empty()
            && let Some(Job { call, answer }) = next.pop_front()
        {
            frame::put(&mut out, number, &call)?;
            (began, taken) = (Instant::now(), Instant::now());
            if waiting.is_empty() {
                doubts = Doubts::since(began);
            }
            waiting.insert(number, Asked { answer, again: is_repeatable(&call).then_some(call) });
            number += 1;
        }
        let sending = !out.is_empty();
        // Who is still being asked owes nothing; whether it is there, is seen by what it takes.
        let owes = !waiting.is_empty() && !sending;
        tokio::select! {
            // Answers come first: after a pause of this process their time is over, and they are there.
            biased;
            answer = reader.next::<Answer>() => match answer? {
                Some((number, answer)) => {
                    (doubts, dialling) = (Doubts::since(Instant::now()), None);
                    hand_over(waiting, number, answer);
                }
                None => return Err(closed()),
            },
            written = writer.write(frame::bite(&out)), if sending => {
                match written? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => out.advance(written),
                }
                taken = Instant::now();
                if out.is_empty() {
                    frame::clear(&mut out);
                    // Nobody had time to answer meanwhile.
                    if began.elapsed() > doubt {
                        doubts = Doubts::since(taken);
                    }
                }
            }
            () = sleep_until(taken + SILENCE), if sending => return Err(frame::stalled(SILENCE)),
            () = sleep_until(doubts.silent_since + SILENCE), if owes => return Err(silent()),
            () = sleep_until(doubts.silent_since + doubt), if owes && !doubts.reminded => {
                doubts.reminded = true;
                frame::put(&mut out, SIGN_OF_LIFE, &Call::Ping)?;
                (began, taken) = (Instant::now(), Instant::now());
            }
            () = sleep_until(doubts.dialled.unwrap_or(doubts.silent_since) + doubt * 2),
                if owes && doubts.reminded && dialling.is_none() =>
            {
                doubts.dialled = Some(Instant::now());
                dialling = Some(redial());
            }
            // A question that is cut off in its middle would have no answer on the old stream.
            opened = dialled(&mut dialling), if dialling.is_some() && !sending => {
                dialling = None;
                match opened {
                    Ok(fresh) => return Ok(Some(fresh)),
                    // The process at the other end of this stream is gone.
                    Err(refused @ OpenFailure::Refused(_)) => {
                        return Err(io::Error::new(io::ErrorKind::ConnectionReset, refused.to_string()));
                    }
                    Err(_) => {}
                }
            }
            job = queue.recv(), if !sending => match job {
                Some(job) => next.push_back(job),
                None => return Ok(None),
            },
        }
    }
}

async fn dialled<T>(dialling: &mut Option<BoxFuture<'_, T>>) -> T {
    match dialling {
        Some(dialling) => dialling.await,
        None => std::future::pending().await,
    }
}

/// What is done about a stream that owes answers.
struct Doubts {
    silent_since: Instant,
    /// It was asked for a sign of life.
    reminded: bool,
    /// Its peer was last dialled anew.
    dialled: Option<Instant>,
}

impl Doubts {
    fn since(silent_since: Instant) -> Self {
        Self { silent_since, reminded: false, dialled: None }
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

    use super::*;

    const DOUBT: Duration = Duration::from_millis(50);

    type Near = Ends<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;
    type Far = (FrameReader<ReadHalf<DuplexStream>>, WriteHalf<DuplexStream>);
    type Dialling = BoxFuture<'static, Result<&'static str, OpenFailure>>;

    fn stream() -> (Near, Far) {
        let (near, far) = duplex(1024);
        let ((reader, writer), (far_reader, far_writer)) = (split(near), split(far));
        (Ends { reader: FrameReader::new(reader), writer }, (FrameReader::new(far_reader), far_writer))
    }

    fn job(call: Call) -> (Job, oneshot::Receiver<Result<Answer, CallError>>) {
        let (answer, answered) = oneshot::channel();
        (Job { call, answer }, answered)
    }

    fn unreachable() -> Dialling {
        Box::pin(async { Err(OpenFailure::Unreachable("no answer".to_owned())) })
    }

    async fn answer((_, writer): &mut Far, number: u64, answer: Answer) {
        let mut buffer = BytesMut::new();
        frame::put(&mut buffer, number, &answer).unwrap();
        writer.write_all(&buffer).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_falls_silent_is_reminded_once_dialled_anew_and_then_given_up() {
        let (mut near, mut far) = stream();
        let (_jobs, mut queue) = mpsc::channel(1);
        let (asked, _answered) = job(Call::ReadIndex);
        let mut waiting = Waiting::new();
        let began = Instant::now();
        let dials = RefCell::new(Vec::new());
        let redial = || {
            dials.borrow_mut().push(began.elapsed());
            unreachable()
        };
        let ended = exchange(&mut near, vec![asked], &mut queue, &mut waiting, DOUBT, redial).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!((began.elapsed(), waiting.len()), (SILENCE, 1));
        assert_eq!(dials.borrow()[..2], [DOUBT * 2, DOUBT * 4], "again and again, and not without a pause");
        drop(near);
        assert!(matches!(far.0.next::<Call>().await.unwrap(), Some((0, Call::ReadIndex))));
        assert!(matches!(far.0.next::<Call>().await.unwrap(), Some((SIGN_OF_LIFE, Call::Ping))));
        assert!(far.0.next::<Call>().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_is_waited_for_while_the_peer_gives_signs_of_life() {
        let (mut near, mut far) = stream();
        let (_jobs, mut queue) = mpsc::channel(1);
        let (asked, answered) = job(Call::ReadIndex);
        let peer = async {
            assert!(matches!(far.0.next::<Call>().await.unwrap(), Some((0, _))));
            for _ in 0..5 {
                let Some((number, Call::Ping)) = far.0.next::<Call>().await.unwrap() else { panic!("no reminder") };
                answer(&mut far, number, Answer::Pong).await;
            }
            answer(&mut far, 0, Answer::ReadIndex(Ok(7))).await;
            assert!(matches!(answered.await.unwrap().unwrap(), Answer::ReadIndex(Ok(7))));
        };
        let mut waiting = Waiting::new();
        let redial = || -> Dialling { panic!("it lives") };
        tokio::select! {
            () = peer => {}
            ended = exchange(&mut near, vec![asked], &mut queue, &mut waiting, DOUBT, redial) => panic!("{ended:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_heard_while_a_long_question_is_on_its_way() {
        let (near, (_, mut writer)) = stream();
        let (long, mut slow) = duplex(1024);
        let mut near = Ends { reader: near.reader, writer: long };
        let (_jobs, mut queue) = mpsc::channel(1);
        let (short, answered) = job(Call::ReadIndex);
        let (long, _answered) = job(Call::Election(vec![0; 100_000]));
        let peer = async {
            let mut part = [0; 1024];
            slow.read_exact(&mut part).await.unwrap();
            let mut bytes = BytesMut::new();
            frame::put(&mut bytes, 0, &Answer::ReadIndex(Ok(7))).unwrap();
            writer.write_all(&bytes).await.unwrap();
            assert!(matches!(answered.await.unwrap().unwrap(), Answer::ReadIndex(Ok(7))));
        };
        let mut waiting = Waiting::new();
        tokio::select! {
            () = peer => {}
            ended = exchange(&mut near, vec![short, long], &mut queue, &mut waiting, DOUBT, unreachable) => panic!("{ended:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_a_question_is_given_up() {
        let (near, _far) = duplex(1024);
        let (reader, writer) = split(near);
        let mut near = Ends { reader: FrameReader::new(reader), writer };
        let (_jobs, mut queue) = mpsc::channel(1);
        let (asked, _answered) = job(Call::Election(vec![0; 100_000]));
        let began = Instant::now();
        let ended = exchange(&mut near, vec![asked], &mut queue, &mut Waiting::new(), DOUBT, unreachable).await;
        assert_eq!((ended.unwrap_err().kind(), began.elapsed()), (io::ErrorKind::TimedOut, SILENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_long_question_is_not_doubted_before_it_had_time_to_answer() {
        let (near, far) = duplex(1024);
        let ((reader, writer), (mut far_reader, mut far_writer)) = (split(near), split(far));
        let mut near = Ends { reader: FrameReader::new(reader), writer };
        let (_jobs, mut queue) = mpsc::channel(1);
        let question = Call::Election(vec![0; 100_000]);
        let (mut frame, mut part) = (BytesMut::new(), [0; 1024]);
        frame::put(&mut frame, 0, &question).unwrap();
        let (asked, answered) = job(question);
        let peer = async {
            for taken in frame.chunks(part.len()) {
                sleep(DOUBT / 10).await;
                far_reader.read_exact(&mut part[..taken.len()]).await.unwrap();
            }
            sleep(DOUBT / 2).await;
            let mut bytes = BytesMut::new();
            frame::put(&mut bytes, 0, &Answer::Election).unwrap();
            far_writer.write_all(&bytes).await.unwrap();
            assert!(matches!(answered.await.unwrap().unwrap(), Answer::Election));
            assert!(far_reader.read(&mut part).now_or_never().is_none(), "it was reminded");
        };
        let mut waiting = Waiting::new();
        let redial = || -> Dialling { panic!("it lives") };
        tokio::select! {
            () = peer => {}
            ended = exchange(&mut near, vec![asked], &mut queue, &mut waiting, DOUBT, redial) => panic!("{ended:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_stream_takes_over_what_may_be_asked_twice_and_the_old_one_keeps_the_rest() {
        let (mut near, mut far) = stream();
        let (_jobs, mut queue) = mpsc::channel(1);
        let (election, mut elected) = job(Call::Election(vec![1]));
        let (write, written) = job(Call::Write(Vec::new()));
        let (ask, mut waiting) = (vec![election, write], Waiting::new());
        let began = Instant::now();
        let redial = || -> Dialling { Box::pin(async { Ok("fresh") }) };
        let ended = exchange(&mut near, ask, &mut queue, &mut waiting, DOUBT, redial).await;
        assert_eq!((ended.unwrap(), began.elapsed()), (Some("fresh"), DOUBT * 2));
        let again = take_repeatable(&mut waiting);
        assert!(matches!(&again[..], [Job { call: Call::Election(_), .. }]), "{again:?}");
        let rest = tokio::spawn(wait_for_the_rest(near, waiting));
        answer(&mut far, 0, Answer::Election).await;
        answer(&mut far, 1, Answer::Write(Ok(Vec::new()))).await;
        assert!(matches!(written.await.unwrap().unwrap(), Answer::Write(Ok(_))));
        assert!(elected.try_recv().is_err(), "that is the fresh stream's");
        rest.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_replaced_stream_never_answers_is_lost_and_never_unsent() {
        let (near, _far) = stream();
        let (write, written) = job(Call::Write(Vec::new()));
        let began = Instant::now();
        let waiting = Waiting::from([(0, Asked { answer: write.answer, again: None })]);
        wait_for_the_rest(near, waiting).await;
        assert!(matches!(written.await.unwrap(), Err(CallError::Lost(_))));
        assert_eq!(began.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_ends_the_wait() {
        let (mut near, _far) = stream();
        let (_jobs, mut queue) = mpsc::channel(1);
        let (asked, _answered) = job(Call::ReadIndex);
        let began = Instant::now();
        let redial = || -> Dialling { Box::pin(async { Err(OpenFailure::Refused("nobody".to_owned())) }) };
        let ended = exchange(&mut near, vec![asked], &mut queue, &mut Waiting::new(), DOUBT, redial).await;
        assert_eq!((ended.unwrap_err().kind(), began.elapsed()), (io::ErrorKind::ConnectionReset, DOUBT * 2));
    }
}
