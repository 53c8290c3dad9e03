//! The one task that owns the protocol: it feeds the core what the sockets, the timer and the handles bring, and does what it asks.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    select,
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use super::{
    clock::Clock,
    cluster::View,
    counters::Counters,
    dial::Dialler,
    exchange::{self, Incoming, OUTGOING, Outgoing},
    reporter::Reporter,
    stamp::StampStore,
};
use crate::{
    keyring::Keyring,
    swim::{Event, Input, Output, Refused, Report, Stamp, State, Stats, StreamId, Swim, wire::StreamKind},
    world::{net::UdpSocket, spawn_blocking},
};

/// Datagrams taken in one go before the other sources have their turn.
const DATAGRAMS_AT_ONCE: usize = 64;

/// The longest datagram that UDP knows. What is longer than a packet should be is for the core to count, so it must be seen whole.
const DATAGRAM: usize = 64 * 1024;

/// How long a datagram waits for room in a full socket; after that it is dropped, as the network would have done.
const SEND_PATIENCE: Duration = Duration::from_millis(10);

/// A pause after a failed receive, so that a broken socket does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// How often the view is refreshed when nothing happens, for the figures in it that have no event (last heard, round trip).
const REFRESH: Duration = Duration::from_secs(1);

/// A view is a copy of all members: with thousands of them, each change must not cost one. So after a copy there is quiet for twenty
/// times as long as it took, and the owner spends a twentieth of its time on views at most. With few members that is microseconds.
const VIEW_SHARE: u32 = 20;

/// The longest that news wait for that.
const LONGEST_QUIET: Duration = Duration::from_millis(100);

/// Events that wait with the view; more do not wait.
const NEWS: usize = 1_024;

/// Stamps that wait for the disk. A member needs one or two in its life; full, the stamp is not persisted, and so not used.
pub(super) const STAMPS: usize = 64;

/// Frames and closings that wait for the owner; full, the exchange tasks wait.
pub(super) const STREAM_EVENTS: usize = 32;

/// What handles ask the owner for.
#[derive(Debug)]
pub(super) enum Command {
    /// Hand this to the core.
    Input(Input, oneshot::Sender<Result<(), Refused>>),
    /// The two dictionaries.
    State(oneshot::Sender<State>),
    /// The core's counters.
    Stats(oneshot::Sender<Stats>),
    /// The core's figures at this moment.
    Report(oneshot::Sender<Report>),
    /// Say goodbye; answered when that is done, with how many heard it.
    Leave(oneshot::Sender<usize>),
}

/// The state of the owner task.
pub(super) struct Owner {
    pub(super) swim: Swim,
    pub(super) clock: Clock,
    pub(super) udp: UdpSocket,
    pub(super) dialler: Dialler,
    pub(super) exchange_timeout: Duration,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) incoming: mpsc::Receiver<Incoming>,
    pub(super) incoming_sender: mpsc::Sender<Incoming>,
    pub(super) seeds: watch::Receiver<Vec<SocketAddr>>,
    pub(super) keys: watch::Receiver<Keyring>,
    pub(super) to_store: mpsc::Sender<Stamp>,
    pub(super) stored: mpsc::Receiver<Stamp>,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) counters: Arc<Counters>,
    pub(super) reporter: Reporter,
    /// The accept, seed and stamp tasks, and the exchanges that we dialled. They end with the owner.
    pub(super) tasks: JoinSet<()>,
    pub(super) work: Work,
}

/// What is under way.
pub(super) struct Work {
    streams: BTreeMap<StreamId, mpsc::Sender<Outgoing>>,
    /// Streams that ended while outputs were performed.
    ended: VecDeque<StreamId>,
    leaving: Vec<oneshot::Sender<usize>>,
    news: Vec<Event>,
    /// The view is to be published anew.
    changed: bool,
    /// No view is published before this.
    quiet_until: Instant,
}

impl Work {
    pub(super) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            ended: VecDeque::new(),
            leaving: Vec::new(),
            news: Vec::new(),
            changed: false,
            quiet_until: Instant::now(),
        }
    }

    fn has_news(&self) -> bool {
        self.changed || !self.news.is_empty()
    }
}

impl Owner {
    /// Runs until it is told to stop, or nobody is left who could.
    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM];
        let mut refresh = Instant::now();
        let keys = self.keys.borrow_and_update().clone();
        self.feed(Input::Keys(keys));
        let seeds = self.seeds.borrow_and_update().clone();
        self.feed(Input::Seeds(seeds));
        loop {
            self.perform().await;
            if refresh <= Instant::now() {
                self.work.changed = true;
                self.reporter.look(&self.swim, &self.counters);
                refresh = Instant::now() + REFRESH;
            }
            if self.is_news_due() {
                self.tell_news();
            }
            while self.tasks.try_join_next().is_some() {}
            let wake = if self.work.has_news() { refresh.min(self.work.quiet_until) } else { refresh };
            let deadline = self.swim.next_deadline().map_or(wake, |at| self.clock.instant(at));
            select! {
                received = self.udp.recv_from(&mut buffer) => self.received(received, &mut buffer).await,
                Some(incoming) = self.incoming.recv() => self.stream_event(incoming),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(stamp) = self.stored.recv() => {
                    // A new life of our own has no event, and shows in the view.
                    self.work.changed = true;
                    self.feed(Input::StampPersisted { stamp });
                }
                Ok(()) = self.seeds.changed() => {
                    let seeds = self.seeds.borrow_and_update().clone();
                    self.feed(Input::Seeds(seeds));
                }
                Ok(()) = self.keys.changed() => {
                    let keys = self.keys.borrow_and_update().clone();
                    self.feed(Input::Keys(keys));
                }
                _ = self.stop.changed() => break,
                () = sleep_until(deadline.min(wake)) => {
                    if deadline <= Instant::now() {
                        self.feed(Input::Tick);
                    }
                }
            }
        }
        self.tell_news();
        // The listener and all streams are closed before anyone hears that we have stopped.
        self.tasks.shutdown().await;
    }

    /// Hands an input to the core that it does not refuse.
    fn feed(&mut self, input: Input) {
        if let Err(refused) = self.swim.handle(self.clock.now(), input) {
            log::debug!("the membership refused what the driver gave it: {refused}");
        }
    }

    async fn received(&mut self, first: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let mut received = first;
        for more in (0..DATAGRAMS_AT_ONCE).rev() {
            match received {
                Ok((len, from)) => {
                    self.counters.datagrams_received.add(1);
                    self.counters.datagram_bytes_received.add(len);
                    let bytes = Bytes::copy_from_slice(&buffer[..len]);
                    self.feed(Input::Datagram { from, bytes });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.counters.datagram_errors.add(1);
                    return sleep(RECEIVE_PAUSE).await;
                }
            }
            if more == 0 {
                return;
            }
            received = self.udp.try_recv_from(buffer);
        }
    }

    fn stream_event(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Opened { stream, frames } => {
                self.work.streams.insert(stream, frames);
            }
            Incoming::Frame { stream, bytes } => self.feed(Input::Frame { stream, bytes }),
            Incoming::Closed { stream } => {
                self.work.streams.remove(&stream);
                self.feed(Input::StreamClosed { stream });
            }
        }
    }

    fn command(&mut self, command: Command) {
        // A handle that no longer waits for its answer does not need it.
        match command {
            Command::Input(input, reply) => {
                self.work.changed = true;
                let _ = reply.send(self.swim.handle(self.clock.now(), input));
            }
            Command::State(reply) => {
                let _ = reply.send(self.swim.state());
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.swim.stats());
            }
            Command::Report(reply) => {
                let _ = reply.send(self.swim.report());
            }
            Command::Leave(reply) => {
                self.stopping.store(true, Ordering::Relaxed);
                self.work.leaving.push(reply);
                self.feed(Input::Leave);
            }
        }
    }

    /// Does all that the core asks for; events wait for [`Owner::tell_news`].
    async fn perform(&mut self) {
        loop {
            while let Some(output) = self.swim.poll() {
                match output {
                    Output::Datagram { to, bytes } => self.send(to, &bytes).await,
                    Output::OpenStream { stream, to, target, frame } => {
                        self.dial(stream, to, target, frame, StreamKind::Exchange);
                    }
                    Output::ProbeStream { stream, to, target, frame } => {
                        self.dial(stream, to, Some(target), frame, StreamKind::Probe);
                    }
                    Output::SendFrame { stream, frame, last } => self.send_frame(stream, frame, last),
                    Output::CloseStream { stream } => {
                        self.work.streams.remove(&stream);
                    }
                    Output::PersistStamp { stamp } => {
                        if self.to_store.try_send(stamp).is_err() {
                            self.counters.stamp_errors.add(1);
                            log::error!("stamps cannot be stored; this member cannot take a new one");
                        }
                    }
                    Output::Event(event) => {
                        self.work.changed |= self.heed(&event);
                        self.work.news.push(event);
                    }
                }
            }
            match self.work.ended.pop_front() {
                Some(stream) => self.feed(Input::StreamClosed { stream }),
                None => break,
            }
        }
    }

    /// Whether the view and the events are to go out now.
    fn is_news_due(&self) -> bool {
        let waited = self.work.quiet_until <= Instant::now() || self.work.news.len() >= NEWS;
        self.work.has_news() && (waited || !self.work.changed)
    }

    /// Publishes the view if it changed, then the events: who hears of a member finds it in the view.
    fn tell_news(&mut self) {
        if std::mem::take(&mut self.work.changed) {
            let begin = Instant::now();
            let view = View { local: self.swim.id(), at: self.clock.now().mono, members: self.swim.members() };
            self.view.send_replace(Arc::new(view));
            let pause = begin.elapsed().saturating_mul(VIEW_SHARE).min(LONGEST_QUIET);
            self.work.quiet_until = Instant::now() + pause;
        }
        for event in self.work.news.drain(..) {
            // Without a receiver nobody wants to know.
            let _ = self.events.send(event);
        }
    }

    /// What the driver itself makes of an event; says whether the members changed.
    fn heed(&mut self, event: &Event) -> bool {
        match event {
            Event::LeaveDone { heard_by } => {
                for waiting in self.work.leaving.drain(..) {
                    let _ = waiting.send(*heard_by);
                }
                true
            }
            Event::SetBack { heard, held } => {
                log::error!("this member was set back: the cluster has seen its stamp {heard}, its disk held {held}");
                true
            }
            Event::Duplicate { id, boots: [one, other] } => {
                log::error!("two live members have the id {id} (boot numbers {one:x} and {other:x})");
                true
            }
            Event::Joined(_)
            | Event::Updated(_)
            | Event::Suspected(_)
            | Event::Refuted(_)
            | Event::Failed(_)
            | Event::Left(_)
            | Event::Forgotten { .. } => true,
            Event::Broadcast { .. } | Event::Message { .. } | Event::Synced { .. } => false,
        }
    }

    async fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let sent = match self.udp.try_send_to(bytes, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match timeout(SEND_PATIENCE, self.udp.send_to(bytes, to)).await {
                    Ok(sent) => sent,
                    Err(_) => return self.counters.datagrams_dropped.add(1),
                }
            }
            sent => sent,
        };
        match sent {
            Ok(len) => {
                self.counters.datagrams_sent.add(1);
                self.counters.datagram_bytes_sent.add(len);
            }
            Err(_) => self.counters.datagram_errors.add(1),
        }
    }

    fn dial(&mut self, stream: StreamId, to: SocketAddr, target: Option<Uuid>, frame: Bytes, kind: StreamKind) {
        let (frames, outgoing) = mpsc::channel(OUTGOING);
        // The channel is empty, so there is room.
        let _ = frames.try_send(Outgoing { frame, last: false });
        self.work.streams.insert(stream, frames);
        let (dialler, limit) = (self.dialler.clone(), self.exchange_timeout);
        let (owner, counters) = (self.incoming_sender.clone(), Arc::clone(&self.counters));
        self.tasks.spawn(async move {
            match dialler.open(to, target, kind).await {
                Ok(peer) => {
                    counters.dialled(kind);
                    exchange::converse(peer, stream, limit, outgoing, owner, &counters).await;
                }
                Err(error) => {
                    counters.not_dialled(kind);
                    log::debug!("no stream of kind {kind:?}: {error}");
                    let _ = owner.send(Incoming::Closed { stream }).await;
                }
            }
        });
    }

    fn send_frame(&mut self, stream: StreamId, frame: Bytes, last: bool) {
        let Some(frames) = self.work.streams.get(&stream) else { return };
        let sent = frames.try_send(Outgoing { frame, last }).is_ok();
        if !sent || last {
            self.work.streams.remove(&stream);
        }
        if !sent {
            self.work.ended.push_back(stream);
        }
    }
}

/// Stores stamps in their order, off the tasks.
pub(super) async fn store_stamps(
    mut store: Box<dyn StampStore>,
    mut stamps: mpsc::Receiver<Stamp>,
    stored: mpsc::Sender<Stamp>,
    counters: Arc<Counters>,
) {
    while let Some(stamp) = stamps.recv().await {
        let done = spawn_blocking(move || {
            let result = store.store(stamp);
            (store, result)
        });
        let Ok((back, result)) = done.await else {
            log::error!("the stamp store panicked; this member cannot take a new stamp");
            return counters.stamp_errors.add(1);
        };
        store = back;
        match result {
            Ok(()) => {
                if stored.send(stamp).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                counters.stamp_errors.add(1);
                log::error!("the stamp {stamp} could not be stored, and is not used: {error}");
            }
        }
    }
}
