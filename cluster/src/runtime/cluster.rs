//! The handle: what a program holds of its membership.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use super::{
    accept::{self, Acceptor, IncomingStream, Waiting},
    clock::Clock,
    counters::{Counters, Metrics},
    dial::{Dialler, OpenError, Peer},
    key_chain::{ChangeKeysError, KeyChain},
    key_request::KeyService,
    options::Options,
    owner::{self, Command, Owner, STAMPS, STREAM_EVENTS, Work},
    reporter::Reporter,
    seeds::{self, BadSeed, Resolver},
    stream::PeerStream,
};
use crate::{
    keyring::{Change, Keyring},
    swim::{ConfigError, Event, Identity, Input, Member, Refused, Report, State, Stats, Swim, wire::StreamKind},
    time::Mono,
    world::{
        self,
        net::{TcpListener, UdpSocket},
        spawn_blocking,
    },
};

/// The members as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// This member's id.
    pub local: Uuid,
    /// When this was so; [`Member::last_heard`] counts on the same clock.
    pub at: Mono,
    /// All that are known, this one and the dead included, in order of their ids.
    pub members: Vec<Member>,
}

impl View {
    /// One member.
    pub fn member(&self, id: Uuid) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&id, |member| member.id).ok()?;
        self.members.get(at)
    }

    /// Those that take part: alive, or suspected and not yet given up. This member is among them.
    pub fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state.is_live())
    }
}

/// Why a driver was not started. The sockets are closed; nothing else was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting or the identity cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A seed cannot be looked up.
    #[error(transparent)]
    Seed(#[from] BadSeed),
    /// The two sockets are not bound to one port.
    #[error("gossip is bound to {udp} and streams to {tcp}: they must share one port")]
    Ports {
        /// The UDP socket.
        udp: SocketAddr,
        /// The TCP socket.
        tcp: SocketAddr,
    },
    /// The last stamp cannot be read.
    #[error("the last stamp cannot be read: {0}")]
    Stamp(#[source] io::Error),
    /// A socket does not know its own address.
    #[error("a socket that cannot be used: {0}")]
    Socket(#[source] io::Error),
}

/// The driver has stopped: the program stopped it, or it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this member has stopped")]
pub struct Stopped;

/// Why a request was not granted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The caller asked for what cannot be done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The driver has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a leave was not a good one. This member has stopped all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// The time was over before it was known that others had heard; they will see this member as left or failed.
    #[error("the time was over before others were known to have heard of the leave")]
    TimedOut,
    /// It had stopped before.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A running member. Clones are handles to the same one; it stops, without a goodbye, when the last is dropped.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Uuid,
    address: SocketAddr,
    clock: Clock,
    dialler: Dialler,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
    events: broadcast::WeakSender<Event>,
    /// Listens since before the first event, until somebody takes it.
    first_listener: Mutex<Option<broadcast::Receiver<Event>>>,
    seeds: watch::Sender<Vec<String>>,
    stop: watch::Sender<bool>,
    /// Closed when the driver has stopped.
    running: watch::Receiver<()>,
    counters: Arc<Counters>,
}

impl Cluster {
    /// Starts a member on sockets that the caller has bound, both to the same port. Streams of the program's kinds come out of the
    /// receiver; drop it to refuse them all.
    ///
    /// # Errors
    /// When it cannot work as told; see [`StartError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled.
    pub async fn start(
        options: Options,
        udp: UdpSocket,
        tcp: TcpListener,
    ) -> Result<(Self, mpsc::Receiver<IncomingStream>), StartError> {
        let Options { config, id, boot, address, metadata, seeds: mut names, keys, key_store, mut stamps, limits } =
            options;
        let keys = Arc::new(KeyChain::new(keys, key_store));
        let limits = limits.at_least_one();
        let reporter = Reporter::new(limits.report_every);
        let (udp_address, tcp_address) =
            (udp.local_addr().map_err(StartError::Socket)?, tcp.local_addr().map_err(StartError::Socket)?);
        if udp_address.port() != tcp_address.port() {
            return Err(StartError::Ports { udp: udp_address, tcp: tcp_address });
        }
        names.iter().try_for_each(|name| seeds::check(name))?;
        let first = std::mem::take(&mut names);
        seeds::extend(&mut names, first);

        let loaded = spawn_blocking(move || {
            let stamp = stamps.load();
            (stamps, stamp)
        });
        let (stamps, last_stamp) = loaded.await.map_err(|panic| StartError::Stamp(io::Error::other(panic)))?;
        let last_stamp = last_stamp.map_err(StartError::Stamp)?;

        let clock = Clock::start();
        let (exchange_timeout, seed_interval) = (config.exchange_timeout, config.seed_interval / 4);
        let identity = Identity { id, boot, address, metadata, last_stamp };
        let swim = Swim::new(config, identity, world::random(), clock.now())?;
        let counters = Arc::new(Counters::default());
        let dialler = Dialler {
            cluster: swim.cluster_hash(),
            me: id,
            connect_timeout: limits.connect_timeout,
            handshake_timeout: limits.handshake_timeout,
            keys: Arc::clone(&keys),
            counters: Arc::clone(&counters),
        };
        let stopping = Arc::new(AtomicBool::new(false));

        let (commands, command_queue) = mpsc::channel(limits.commands);
        let (incoming_sender, incoming) = mpsc::channel(STREAM_EVENTS);
        let (stream_sender, streams) = mpsc::channel(limits.incoming_streams);
        let (to_store, stamp_queue) = mpsc::channel(STAMPS);
        let (stored_sender, stored) = mpsc::channel(STAMPS);
        let first_view = View { local: id, at: clock.now().mono, members: swim.members() };
        let (view_sender, view) = watch::channel(Arc::new(first_view));
        let (events, first_listener) = broadcast::channel(limits.events);
        let (stop, stop_receiver) = watch::channel(false);
        let (running_sender, running) = watch::channel(());

        // The first addresses are there before the protocol takes its first step.
        let mut resolver = Resolver::default();
        let (address_sender, addresses) = watch::channel(resolver.round(&names).await);
        let (name_sender, name_receiver) = watch::channel(names);

        let (exchanges, probes) = (Semaphore::new(limits.exchanges), Semaphore::new(limits.probes));
        let acceptor = Arc::new(Acceptor {
            cluster: dialler.cluster,
            me: id,
            limits,
            exchange_timeout,
            exchanges,
            probes,
            next_exchange: AtomicU64::new(0),
            owner: incoming_sender.clone(),
            streams: stream_sender,
            stopping: Arc::clone(&stopping),
            counters: Arc::clone(&counters),
            waiting: Waiting::default(),
            keys: KeyService { dialler: dialler.clone(), view: view.clone() },
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(acceptor, tcp));
        tasks.spawn(seeds::run(resolver, name_receiver, address_sender, seed_interval));
        tasks.spawn(owner::store_stamps(stamps, stamp_queue, stored_sender, Arc::clone(&counters)));

        let weak_events = events.downgrade();
        let owner = Owner {
            swim,
            clock,
            udp,
            dialler: dialler.clone(),
            exchange_timeout,
            commands: command_queue,
            stop: stop_receiver,
            stopping,
            incoming,
            incoming_sender,
            seeds: addresses,
            keys: keys.follow(),
            to_store,
            stored,
            view: view_sender,
            events,
            counters: Arc::clone(&counters),
            reporter,
            tasks,
            work: Work::new(),
        };
        tokio::spawn(async move {
            owner.run().await;
            drop(running_sender);
        });
        let inner = Inner {
            id,
            address: tcp_address,
            clock,
            dialler,
            commands,
            view,
            events: weak_events,
            first_listener: Mutex::new(Some(first_listener)),
            seeds: name_sender,
            stop,
            running,
            counters,
        };
        Ok((Self { inner: Arc::new(inner) }, streams))
    }

    /// This member's id.
    pub fn id(&self) -> Uuid {
        self.inner.id
    }

    /// The address that its sockets are bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The time on this member's monotonic clock, to hold against [`Member::last_heard`].
    pub fn now(&self) -> Mono {
        self.inner.clock.now().mono
    }

    /// The members: the latest view now, and a notice of each newer one.
    pub fn members(&self) -> watch::Receiver<Arc<View>> {
        self.inner.view.clone()
    }

    /// The latest view.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.inner.view.borrow())
    }

    /// What happens from now on; for the first who asks, what happened since the start as well, so that a program misses nothing. A receiver that is too slow misses the oldest and is told how many
    /// ([`Lagged`](broadcast::error::RecvError::Lagged)); it ends when the member has stopped.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        let first = self.inner.first_listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(first) = first {
            return first;
        }
        match self.inner.events.upgrade() {
            Some(sender) => sender.subscribe(),
            // Stopped: a channel without a sender says so.
            None => broadcast::channel(1).1,
        }
    }

    /// The two dictionaries.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn state(&self) -> Result<State, Stopped> {
        self.ask(Command::State).await
    }

    /// All counters.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn metrics(&self) -> Result<Metrics, Stopped> {
        let swim: Stats = self.ask(Command::Stats).await?;
        Ok(self.inner.counters.read(swim))
    }

    /// The figures of this moment: queues, round trips, who accused whom, what can be expected.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn report(&self) -> Result<Report, Stopped> {
        self.ask(Command::Report).await
    }

    /// Tells the others something else about this member from now on. It survives losses: it is part of the state that converges.
    ///
    /// # Errors
    /// When it is too long, or this member leaves or has stopped.
    pub async fn set_metadata(&self, metadata: impl Into<Bytes>) -> Result<(), RequestError> {
        self.input(Input::Metadata(metadata.into())).await
    }

    /// Others reach this member at another address from now on.
    ///
    /// # Errors
    /// When nobody could reach it there, or this member leaves or has stopped.
    pub async fn set_address(&self, address: SocketAddr) -> Result<(), RequestError> {
        self.input(Input::Address(address)).await
    }

    /// Tells all members, once, best effort.
    ///
    /// # Errors
    /// When it is too long, or this member leaves or has stopped.
    pub async fn broadcast(&self, payload: impl Into<Bytes>) -> Result<(), RequestError> {
        self.input(Input::Broadcast(payload.into())).await
    }

    /// Tells one member by datagram, once, best effort.
    ///
    /// # Errors
    /// When it is too long or no such member lives, or this member leaves or has stopped.
    pub async fn send_to(&self, to: Uuid, payload: impl Into<Bytes>) -> Result<(), RequestError> {
        self.input(Input::Message { to, payload: payload.into() }).await
    }

    /// Looks for others there as well. Of more than [`MAX_SEEDS`](crate::swim::MAX_SEEDS) the oldest are forgotten.
    ///
    /// # Errors
    /// When one of them is no `host:port`; then none is added.
    pub fn add_seeds(&self, more: Vec<String>) -> Result<(), BadSeed> {
        more.iter().try_for_each(|name| seeds::check(name))?;
        self.inner.seeds.send_if_modified(|names| seeds::extend(names, more));
        Ok(())
    }

    /// The keys that it seals and opens with now.
    pub fn keys(&self) -> Keyring {
        self.inner.dialler.keys.ring()
    }

    /// Changes this member's keys, here and in its store. Streams that hang on a removed one end.
    ///
    /// # Errors
    /// When the change makes no sense or cannot be kept. Nothing was changed.
    pub async fn change_keys(&self, change: &Change) -> Result<(), ChangeKeysError> {
        self.inner.dialler.keys.change(change).await.map(|_| ())
    }

    /// Opens a stream of one of the program's kinds (16 to 255). The dead can be dialled too, to learn whether they are.
    ///
    /// # Errors
    /// See [`OpenError`], which tells a process that is gone from a host that is silent and from one that says no.
    pub async fn open_stream(&self, peer: impl Into<Peer> + Send, kind: u8) -> Result<PeerStream, OpenError> {
        let StreamKind::Application(_) = StreamKind::from_byte(kind) else { return Err(OpenError::ReservedKind(kind)) };
        if *self.inner.stop.borrow() || self.inner.running.has_changed().is_err() {
            return Err(OpenError::Stopped);
        }
        let (address, target) = match peer.into() {
            Peer::Address(address) => (address, None),
            Peer::Member { id, address } => (address, Some(id)),
            Peer::Id(id) => match self.inner.view.borrow().member(id) {
                Some(member) => (member.address, Some(id)),
                None => return Err(OpenError::UnknownMember(id)),
            },
        };
        self.inner.dialler.open(address, target, StreamKind::Application(kind)).await
    }

    /// Says goodbye, waits until others have heard it (at most so long), and stops. How many heard it.
    ///
    /// # Errors
    /// When the time was over first, or it had stopped before. It has stopped in any case.
    pub async fn leave(&self, at_most: Duration) -> Result<usize, LeaveError> {
        let goodbye = timeout(at_most, self.ask(Command::Leave)).await;
        self.stop().await;
        match goodbye {
            Ok(heard_by) => Ok(heard_by?),
            Err(_) => Err(LeaveError::TimedOut),
        }
    }

    /// Stops without a goodbye: the others will see this member as failed. Returns when its sockets are closed.
    pub async fn stop(&self) {
        self.inner.stop.send_replace(true);
        self.stopped().await;
    }

    /// Waits until it has stopped.
    pub async fn stopped(&self) {
        let mut running = self.inner.running.clone();
        while running.changed().await.is_ok() {}
    }

    async fn input(&self, input: Input) -> Result<(), RequestError> {
        Ok(self.ask(|reply| Command::Input(input, reply)).await??)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
