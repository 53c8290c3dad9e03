//! The accept task: takes connections, hears their prefaces within bounds of time and number, and hands the streams on.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    counters::Counters,
    exchange::{self, Incoming, OUTGOING},
    options::Limits,
    stream::{PeerStream, prepare},
};
use crate::swim::{
    StreamId,
    wire::{Answer, ClusterHash, Preface, Refusal, StreamKind},
};

/// A pause after a failed accept: it most likely failed for want of file descriptors, and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A stream that another member opened, of one of the program's kinds.
#[derive(Debug)]
pub struct IncomingStream {
    /// Its kind, 16 to 255.
    pub kind: u8,
    /// The protocol version that both agreed on.
    pub version: u8,
    /// Who opened it, as it said.
    pub from: Uuid,
    /// The stream.
    pub stream: PeerStream,
}

/// What the accept task shares with the tasks that hear prefaces.
pub(super) struct Acceptor {
    pub(super) cluster: ClusterHash,
    pub(super) me: Uuid,
    pub(super) limits: Limits,
    pub(super) exchange_timeout: Duration,
    pub(super) exchanges: Semaphore,
    pub(super) probes: Semaphore,
    pub(super) next_exchange: AtomicU64,
    pub(super) owner: mpsc::Sender<Incoming>,
    pub(super) streams: mpsc::Sender<IncomingStream>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
    pub(super) waiting: Waiting,
}

/// How many prefaces are awaited, from which addresses.
#[derive(Default)]
pub(super) struct Waiting(Mutex<BTreeMap<IpAddr, usize>>);

impl Waiting {
    /// Takes a slot, if there is one.
    fn enter(&self, from: IpAddr, limits: &Limits) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, here) = (waiting.values().sum::<usize>(), waiting.get(&from).copied().unwrap_or(0));
        if all >= limits.handshakes || here >= limits.handshakes_per_address {
            return false;
        }
        waiting.insert(from, here + 1);
        true
    }

    fn exit(&self, from: IpAddr) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&from) {
            Some(here) if *here > 1 => *here -= 1,
            Some(_) | None => {
                waiting.remove(&from);
            }
        }
    }
}

/// Accepts until it is aborted.
pub(super) async fn run(acceptor: Arc<Acceptor>, listener: TcpListener) {
    // Dropped with this future, and the tasks in it with it: exchanges do not outlive the driver.
    let mut tasks = JoinSet::new();
    loop {
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                acceptor.counters.accept_errors.add(1);
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        acceptor.counters.connections.add(1);
        if acceptor.waiting.enter(from.ip(), &acceptor.limits) {
            tasks.spawn(Arc::clone(&acceptor).greet(tcp, from));
        } else {
            acceptor.counters.connections_crowded_out.add(1);
        }
    }
}

impl Acceptor {
    /// Hears a preface, answers it, and hands the stream on.
    async fn greet(self: Arc<Self>, mut tcp: TcpStream, from: SocketAddr) {
        let preface = timeout(self.limits.handshake_timeout, hear(&mut tcp)).await;
        self.waiting.exit(from.ip());
        let preface = match preface {
            Ok(Ok(preface)) => preface,
            Ok(Err(_)) => return self.counters.prefaces_malformed.add(1),
            Err(_) => return self.counters.prefaces_late.add(1),
        };
        let answer = preface.answer(self.cluster, self.me);
        let version = match answer.verdict {
            _ if self.stopping.load(Ordering::Relaxed) => return self.refuse(tcp, Refusal::Stopping).await,
            Err(why) => return self.refuse(tcp, why).await,
            Ok(version) => version,
        };
        let stream = |tcp| PeerStream::new(tcp, preface.sender, from, version);
        // The place is taken before the answer goes out: who was told that it may come in is not turned away after that.
        match preface.kind {
            StreamKind::Reserved(_) => self.refuse(tcp, Refusal::Kind).await,
            StreamKind::Application(kind) => match self.streams.try_reserve() {
                Err(mpsc::error::TrySendError::Closed(())) => self.refuse(tcp, Refusal::Kind).await,
                Err(mpsc::error::TrySendError::Full(())) => self.refuse(tcp, Refusal::Busy).await,
                Ok(place) => {
                    if self.welcome(&mut tcp, &answer).await {
                        self.counters.streams_accepted.add(1);
                        place.send(IncomingStream { kind, version, from: preface.sender, stream: stream(tcp) });
                    }
                }
            },
            StreamKind::Exchange => {
                let Ok(_place) = self.exchanges.try_acquire() else { return self.refuse(tcp, Refusal::Busy).await };
                if self.welcome(&mut tcp, &answer).await {
                    self.counters.exchanges_accepted.add(1);
                    self.converse(stream(tcp), self.exchange_timeout).await;
                }
            }
            // Places of their own: whether we live is not a question that waits for somebody's full state.
            StreamKind::Probe => {
                let Ok(_place) = self.probes.try_acquire() else { return self.refuse(tcp, Refusal::Busy).await };
                if self.welcome(&mut tcp, &answer).await {
                    self.counters.probe_streams_accepted.add(1);
                    self.converse(stream(tcp), self.limits.handshake_timeout).await;
                }
            }
        }
    }

    /// Carries the membership's own frames.
    async fn converse(&self, stream: PeerStream, limit: Duration) {
        let id = StreamId::Accepted(self.next_exchange.fetch_add(1, Ordering::Relaxed));
        let (frames, outgoing) = mpsc::channel(OUTGOING);
        if self.owner.send(Incoming::Opened { stream: id, frames }).await.is_ok() {
            exchange::converse(stream, id, limit, outgoing, self.owner.clone(), &self.counters).await;
        }
    }

    /// Sends the answer; false if that fails, which is the dialler's loss.
    async fn welcome(&self, tcp: &mut TcpStream, answer: &Answer) -> bool {
        let bytes = answer.encode();
        let sent = async {
            prepare(tcp)?;
            tcp.write_all(&bytes).await
        };
        matches!(timeout(self.limits.handshake_timeout, sent).await, Ok(Ok(())))
    }

    async fn refuse(&self, mut tcp: TcpStream, why: Refusal) {
        self.counters.refused(why);
        self.welcome(&mut tcp, &Answer::refuse(why, self.me)).await;
    }
}

async fn hear(tcp: &mut TcpStream) -> io::Result<Preface> {
    let mut bytes = [0; Preface::LEN];
    tcp.read_exact(&mut bytes).await?;
    Preface::decode(&bytes).map_err(io::Error::other)
}
