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
    select,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    counters::Counters,
    exchange::{self, Incoming, OUTGOING},
    key_request::KeyService,
    options::Limits,
    sealed::{self, Channel, HandshakeError, Heard},
    stream::{Leash, PeerStream, prepare},
};
use crate::{
    keyring::EntryName,
    swim::{
        StreamId,
        wire::{Answer, ClusterHash, Preface, Refusal, StreamKind},
    },
    world::net::{TcpListener, TcpStream},
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
    pub(super) keys: KeyService,
}

/// The connections whose prefaces are awaited, in the order in which they came.
///
/// A member sends its preface in the same breath as it connects, so who is still silent when others crowd in is most likely none: the oldest has
/// to go for the newest, of the same address first. Otherwise a few dozen silent connections at a time would keep every member out.
#[derive(Default)]
pub(super) struct Waiting(Mutex<BTreeMap<u64, Awaited>>);

struct Awaited {
    from: IpAddr,
    crowded_out: oneshot::Sender<()>,
}

impl Waiting {
    /// Takes a place, somebody else's if there is none. What is returned resolves when it is somebody else's turn.
    fn enter(&self, number: u64, from: IpAddr, limits: &Limits) -> oneshot::Receiver<()> {
        let (crowded_out, hears) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut here, mut first_here) = (0, None);
        for (number, _) in waiting.iter().filter(|(_, awaited)| awaited.from == from) {
            here += 1;
            first_here = first_here.or(Some(*number));
        }
        let goes = if here >= limits.handshakes_per_address {
            first_here
        } else if waiting.len() >= limits.handshakes {
            waiting.keys().next().copied()
        } else {
            None
        };
        if let Some(gone) = goes.and_then(|number| waiting.remove(&number)) {
            let _: Result<_, _> = gone.crowded_out.send(());
        }
        waiting.insert(number, Awaited { from, crowded_out });
        hears
    }

    fn exit(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// Accepts until it is aborted.
pub(super) async fn run(acceptor: Arc<Acceptor>, listener: TcpListener) {
    // Dropped with this future, and the tasks in it with it: exchanges do not outlive the driver.
    let mut tasks = JoinSet::new();
    for number in 0.. {
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
        let crowded_out = acceptor.waiting.enter(number, from.ip(), &acceptor.limits);
        tasks.spawn(Arc::clone(&acceptor).greet(tcp, from, number, crowded_out));
    }
}

/// A dialler whose preface was heard.
struct Arrived {
    tcp: TcpStream,
    from: SocketAddr,
    preface: Preface,
    entry: EntryName,
    /// When it is sealed.
    heard: Option<Heard>,
}

/// Why a dialler was not heard.
enum Unheard {
    Io,
    Unsealed,
    Seal(HandshakeError),
}

impl From<io::Error> for Unheard {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl From<HandshakeError> for Unheard {
    fn from(error: HandshakeError) -> Self {
        Self::Seal(error)
    }
}

impl Acceptor {
    /// Hears a preface, answers it, and hands the stream on.
    async fn greet(self: Arc<Self>, tcp: TcpStream, from: SocketAddr, number: u64, crowded_out: oneshot::Receiver<()>) {
        let arrived = select! {
            // First, since what has arrived is no longer awaited.
            biased;
            arrived = timeout(self.limits.handshake_timeout, self.hear(tcp, from)) => arrived,
            _ = crowded_out => return self.counters.connections_crowded_out.add(1),
        };
        self.waiting.exit(number);
        // Who cannot prove to hold a key is told nothing.
        let arrived = match arrived {
            Ok(Ok(arrived)) => arrived,
            Ok(Err(Unheard::Io | Unheard::Seal(HandshakeError::Malformed))) => {
                return self.counters.prefaces_malformed.add(1);
            }
            Ok(Err(Unheard::Unsealed)) => return self.counters.streams_unsealed.add(1),
            Ok(Err(Unheard::Seal(HandshakeError::UnknownKey))) => return self.counters.streams_unknown_key.add(1),
            Ok(Err(Unheard::Seal(HandshakeError::BadSeal | HandshakeError::Damaged))) => {
                return self.counters.streams_bad_seal.add(1);
            }
            Ok(Err(Unheard::Seal(HandshakeError::OtherCluster))) => return self.counters.refused_other_cluster.add(1),
            Err(_) => return self.counters.prefaces_late.add(1),
        };
        let preface = arrived.preface;
        let answer = preface.answer(self.cluster, self.me);
        let version = match answer.verdict {
            _ if self.stopping.load(Ordering::Relaxed) => return self.refuse(arrived, Refusal::Stopping).await,
            Err(why) => return self.refuse(arrived, why).await,
            Ok(version) => version,
        };
        // The place is taken before the answer goes out: who was told that it may come in is not turned away after that.
        match preface.kind {
            StreamKind::Reserved(_) => self.refuse(arrived, Refusal::Kind).await,
            StreamKind::Application(kind) => match self.streams.try_reserve() {
                Err(mpsc::error::TrySendError::Closed(())) => self.refuse(arrived, Refusal::Kind).await,
                Err(mpsc::error::TrySendError::Full(())) => self.refuse(arrived, Refusal::Busy).await,
                Ok(place) => {
                    if let Some(stream) = self.welcome(arrived, &answer).await {
                        self.counters.streams_accepted.add(1);
                        place.send(IncomingStream { kind, version, from: preface.sender, stream });
                    }
                }
            },
            StreamKind::Exchange => {
                let Ok(_place) = self.exchanges.try_acquire() else { return self.refuse(arrived, Refusal::Busy).await };
                if let Some(stream) = self.welcome(arrived, &answer).await {
                    self.counters.exchanges_accepted.add(1);
                    self.converse(stream, self.exchange_timeout).await;
                }
            }
            // Places of their own: whether we live is not a question that waits for somebody's full state.
            StreamKind::Probe => {
                let Ok(_place) = self.probes.try_acquire() else { return self.refuse(arrived, Refusal::Busy).await };
                if let Some(stream) = self.welcome(arrived, &answer).await {
                    self.counters.probe_streams_accepted.add(1);
                    self.converse(stream, self.limits.handshake_timeout).await;
                }
            }
            // Only who holds a key may speak of keys.
            StreamKind::Keys if arrived.heard.is_none() => self.refuse(arrived, Refusal::Kind).await,
            StreamKind::Keys => {
                let Ok(_place) = self.exchanges.try_acquire() else { return self.refuse(arrived, Refusal::Busy).await };
                if let Some(stream) = self.welcome(arrived, &answer).await {
                    self.counters.key_requests.add(1);
                    if let Err(error) = self.keys.clone().serve(stream).await {
                        log::debug!("a request about the keys was not answered: {error}");
                    }
                }
            }
        }
    }

    async fn hear(&self, mut tcp: TcpStream, from: SocketAddr) -> Result<Arrived, Unheard> {
        let mut first = [0; sealed::FIRST];
        let (plain, rest) = first.split_at_mut(Preface::LEN);
        tcp.read_exact(plain).await?;
        let ring = self.keys.dialler.keys.ring();
        if !plain.starts_with(&sealed::MAGIC) {
            let mut bytes = [0; Preface::LEN];
            bytes.copy_from_slice(plain);
            let preface = Preface::decode(&bytes).map_err(io::Error::other)?;
            if !ring.takes_plain() {
                return Err(Unheard::Unsealed);
            }
            return Ok(Arrived { tcp, from, preface, entry: EntryName::Plain, heard: None });
        }
        tcp.read_exact(rest).await?;
        let name = Heard::key_name(&first, self.cluster)?;
        let key = ring.key(name).ok_or(HandshakeError::UnknownKey)?;
        let (heard, preface) = Heard::open(&first, key)?;
        let preface = Preface::decode(&preface).map_err(io::Error::other)?;
        Ok(Arrived { tcp, from, preface, entry: EntryName::Key(name), heard: Some(heard) })
    }

    /// Carries the membership's own frames.
    async fn converse(&self, stream: PeerStream, limit: Duration) {
        let id = StreamId::Accepted(self.next_exchange.fetch_add(1, Ordering::Relaxed));
        let (frames, outgoing) = mpsc::channel(OUTGOING);
        if self.owner.send(Incoming::Opened { stream: id, frames }).await.is_ok() {
            exchange::converse(stream, id, limit, outgoing, self.owner.clone(), &self.counters).await;
        }
    }

    /// Sends the answer. No stream if that fails, which is the dialler's loss, or if the dialler does not prove that it speaks now.
    async fn welcome(&self, arrived: Arrived, answer: &Answer) -> Option<PeerStream> {
        let Arrived { mut tcp, from, preface, entry, heard } = arrived;
        let bytes = answer.encode();
        let answered = timeout(self.limits.handshake_timeout, async {
            prepare(&tcp)?;
            match heard {
                Some(heard) => heard.answer(&mut tcp, &bytes).await.map(Some),
                None => tcp.write_all(&bytes).await.map(|()| None),
            }
        });
        match (answered.await, answer.verdict) {
            (Ok(Ok(channel)), Ok(version)) => {
                // A request may remove the very key that it came with, and is to be answered.
                let leash = match preface.kind {
                    StreamKind::Keys => Arc::new(Leash::new(entry)),
                    StreamKind::Exchange | StreamKind::Probe | StreamKind::Reserved(_) | StreamKind::Application(_) => {
                        self.keys.dialler.keys.leash(entry)
                    }
                };
                let channel = channel.or_else(|| Channel::summed(version, &self.counters));
                Some(PeerStream::new(tcp, channel, leash, (preface.sender, from, version)))
            }
            (Ok(Ok(_)), Err(_)) => None,
            (Ok(Err(error)), _) if error.kind() == io::ErrorKind::InvalidData => {
                self.counters.streams_bad_seal.add(1);
                None
            }
            (Ok(Err(_)) | Err(_), _) => None,
        }
    }

    async fn refuse(&self, arrived: Arrived, why: Refusal) {
        self.counters.refused(why);
        self.welcome(arrived, &Answer::refuse(why, self.me)).await;
    }
}
