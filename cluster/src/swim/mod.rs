//! SWIM membership as a core without I/O.
//!
//! ```no_run
//! # use muster_cluster::{swim::*, time::Now};
//! # fn clock() -> Now { unimplemented!() }
//! # fn perform(output: Output) {}
//! # fn next_input(until: Option<muster_cluster::time::Mono>) -> Input { unimplemented!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let identity: Identity = unimplemented!();
//! let mut swim = Swim::new(Config::lan("muster"), identity, 42, clock())?;
//! loop {
//!     while let Some(output) = swim.poll() {
//!         perform(output);
//!     }
//!     let input = next_input(swim.next_deadline()); // `Input::Tick` when the deadline came first
//!     swim.handle(clock(), input)?;
//! }
//! # }
//! ```
//!
//! Where to read on:
//!
//! | file | is |
//! |---|---|
//! | `io` | what comes in and goes out |
//! | `lww`, `hlc` | what a member's state is made of: the set, the clock |
//! | `membership` | what happens when a statement about somebody arrives |
//! | `own` | what happens when it is about ourselves: defence, being set back, being doubled |
//! | `probe`, `relay`, `stream_probe`, `roster` | failure detection: who is asked, and how |
//! | `round_trips`, `health`, `suspicion`, `suspect` | failure detection: how long an answer is waited for |
//! | `gossip`, `dissemination`, `news`, `seen` | passing on: packets, queues, user broadcasts |
//! | `seal` | sealing and opening packets, replays |
//! | `differences` | views compared by digests, and what differs over streams |
//! | `exchange`, `reading` | the full state over streams; how what comes in by them is merged |
//! | `seeds` | where to look for members |
//! | `leave` | goodbye |
//! | `view`, `report`, `ledger`, `estimates` | what can be read off |
//! | `wire` | bytes |
//!
//! How all this works together is told below, in *The protocol*.
//!
//! The protocol is that of A. Das, I. Gupta, A. Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group
//! Membership Protocol", 2002, with stamps of a hybrid logical clock as incarnation numbers; and of A. Dadgar, J. Phillips, J. Currey,
//! "Lifeguard: Local Health Awareness for More Accurate Failure Detection", 2018.

#![doc = include_str!("protocol.md")]

mod config;
#[cfg(test)]
mod detection_tests;
mod differences;
mod digest;
mod dissemination;
mod estimates;
mod event;
mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gossip;
mod health;
mod hlc;
mod io;
mod leave;
mod ledger;
mod lww;
mod member;
mod membership;
mod news;
mod own;
mod packets;
mod probe;
mod reading;
mod relay;
mod report;
mod roster;
mod round_trips;
mod seal;
mod seeds;
mod seen;
mod snapshot;
mod stream_probe;
mod suspect;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod view;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

pub use config::{Config, ConfigError, Lifeguard, MAX_CONFIRMATIONS, MAX_DIRECT_PROBES, MAX_INDIRECT_PROBES};
pub use event::Event;
pub use hlc::Stamp;
pub use io::{Input, MAX_BROADCAST, MAX_MESSAGE, MAX_SEEDS, Output, Refused, State, Stats, StreamId};
pub use ledger::{Accusations, Verdicts};
pub use member::{Identity, Member, MemberState};
pub use report::{Histogram, Report};
pub use snapshot::Snapshot;

use crate::time::{Mono, Now};
use differences::Compare;
use dissemination::Dissemination;
use estimates::Loss;
use exchange::Streams;
use health::Health;
use hlc::Hlc;
use leave::Leaving;
use ledger::Ledger;
use membership::{Peer, Record};
use own::Own;
use packets::Packets;
use probe::Probes;
use reading::Reading;
use relay::Relays;
use roster::Roster;
use round_trips::Overall;
use seal::Seals;
use seeds::Seeds;
use seen::Seen;
use suspicion::Suspicions;
use table::{Slot, Table};
use timer::{Timer, Timers};

/// A member of a cluster, as a state machine.
#[derive(Debug)]
pub struct Swim {
    config: Config,
    cluster: wire::ClusterHash,
    /// Who we are; address and metadata change with [`Input::Address`] and [`Input::Metadata`].
    identity: Identity,
    rng: Xoshiro256PlusPlus,
    clock: Hlc,
    timers: Timers,
    /// What is said of whom. Our own row holds our own word only: what others say of us is answered, not believed.
    set: Table,
    /// What we know of members by ourselves, and tell nobody. Each has a row in `set`.
    peers: BTreeMap<Slot, Peer>,
    /// What is to be remembered of some, the dead first of all. Each has a row in `set`.
    records: BTreeMap<Uuid, Record>,
    /// Those that were given up.
    failed: BTreeSet<Uuid>,
    own: Own,
    roster: Roster,
    probes: Probes,
    relays: Relays,
    /// Those with all members; each member's own are with its [`Peer`].
    round_trips: Overall,
    health: Health,
    loss: Loss,
    ledger: Ledger,
    suspicions: Suspicions,
    news: Dissemination,
    /// Whether the gossip tick is running: only while there is something to tell somebody.
    gossip_runs: bool,
    /// Whether it has rested since it ran last.
    gossip_rests: bool,
    seen: Seen,
    seals: Seals,
    streams: Streams,
    reading: Reading,
    seeds: Seeds,
    next_broadcast: u64,
    leaving: Leaving,
    outputs: VecDeque<Output>,
    stats: Stats,
    packets: Packets,
    compare: Compare,
}

impl Swim {
    /// A member that is about to start. The same `seed` and inputs give the same outputs; different members need different
    /// seeds.
    ///
    /// # Errors
    /// When the configuration or the identity cannot work.
    pub fn new(config: Config, identity: Identity, seed: u64, now: Now) -> Result<Self, ConfigError> {
        let mut swim = Self::build(config, identity, seed, now)?;
        swim.request_stamp(now);
        Ok(swim)
    }

    /// A member that has not even asked for a stamp.
    fn build(config: Config, identity: Identity, seed: u64, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        identity.validate(now.wall)?;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut swim = Self {
            cluster: config.cluster_hash(),
            clock: Hlc::new(identity.last_stamp, config.drift_bound),
            timers: Timers::default(),
            set: Table::default(),
            peers: BTreeMap::new(),
            records: BTreeMap::new(),
            failed: BTreeSet::new(),
            own: Own::default(),
            roster: Roster::default(),
            probes: Probes::new(rng.random()),
            relays: Relays::default(),
            round_trips: Overall::new(),
            health: Health::new(config.health_max),
            loss: Loss::default(),
            ledger: Ledger::default(),
            suspicions: Suspicions::default(),
            news: Dissemination::new(config.broadcast_queue, config.broadcast_age),
            gossip_runs: false,
            gossip_rests: true,
            seen: Seen::default(),
            seals: Seals::default(),
            streams: Streams::default(),
            reading: Reading::default(),
            seeds: Seeds::default(),
            next_broadcast: 0,
            leaving: Leaving::No,
            outputs: VecDeque::new(),
            stats: Stats::default(),
            packets: Packets::default(),
            compare: Compare::default(),
            config,
            identity,
            rng,
        };
        // Spread over the first period, so that members that start together do not tick together.
        let probe = (swim.config.probe_interval, Timer::Probe);
        for (every, timer) in [probe].into_iter().chain(swim.periods()) {
            let first = every.mul_f64(swim.rng.random_range(0.0..1.0));
            swim.timers.set(now.mono + first, timer);
        }
        Ok(swim)
    }

    /// Takes the world in.
    ///
    /// # Errors
    /// When the program asked for what cannot be done. Nothing was changed. Never for what came from the network.
    pub fn handle(&mut self, now: Now, input: Input) -> Result<(), Refused> {
        let done = match input {
            Input::Tick => Ok(()),
            Input::Datagram { from, bytes } => {
                self.handle_datagram(now, from, bytes);
                Ok(())
            }
            Input::Frame { stream, bytes } => {
                self.handle_frame(now, stream, bytes);
                Ok(())
            }
            Input::StreamClosed { stream } => {
                self.handle_stream_closed(stream);
                Ok(())
            }
            Input::StampPersisted { stamp } => {
                self.handle_stamp_persisted(now, stamp);
                Ok(())
            }
            Input::Seeds(addresses) => {
                self.handle_seeds(now, addresses);
                Ok(())
            }
            Input::Metadata(metadata) => self.handle_metadata(now, metadata),
            Input::Address(address) => self.handle_address(now, address),
            Input::Broadcast(payload) => self.handle_broadcast(now, payload),
            Input::Message { to, payload } => self.handle_message(now, to, payload),
            Input::Keys(ring) => {
                self.seals.set(ring, self.identity.boot, &mut self.rng);
                Ok(())
            }
            Input::Leave => {
                self.handle_leave(now);
                Ok(())
            }
        };
        // After the input: an answer that waited in the socket while we slept counts before the time-out that it beat.
        while let Some((due, timer)) = self.timers.pop_due(now.mono) {
            self.handle_timer(now, due, timer);
        }
        let to_tell = !self.news.is_empty() && !self.roster.is_empty() && !self.leaving.is_over();
        let ticks = self.config.gossip_fanout > 0 || self.leaving.has_begun();
        if to_tell && ticks && !self.gossip_runs {
            self.gossip_runs = true;
            let mut wait = self.jittered(self.config.gossip_interval);
            if self.gossip_rests {
                // As if the tick had gone on all the time: news that met a full wait at every member would travel in steps of it, and
                // take half as long again to reach all (docs/benchmarks/papers.md).
                self.gossip_rests = false;
                wait = wait.mul_f64(self.rng.random_range(0.0..1.0));
            }
            self.timers.set(now.mono + wait, Timer::Gossip);
        } else if !self.gossip_runs {
            self.gossip_rests = true;
        }
        done
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is wanted next. None after a leave is through.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.timers.next_deadline()
    }

    /// What happens again and again beside the probes, and how often.
    fn periods(&self) -> [(Duration, Timer); 3] {
        [
            (self.config.exchange_interval, Timer::Exchange),
            (self.config.dead_probe_interval, Timer::DeadProbe),
            (self.sweep_interval(), Timer::Sweep),
        ]
    }

    fn handle_timer(&mut self, now: Now, due: Mono, timer: Timer) {
        // Periods go on from now, not from when they were due: after a pause one is enough.
        if let Some((every, _)) = self.periods().into_iter().find(|(_, periodic)| *periodic == timer) {
            let every = self.jittered(every);
            self.timers.set(now.mono + every, timer);
        }
        match timer {
            Timer::Probe => self.begin_period(now, due),
            Timer::ProbeTimeout { seq } => self.probe_indirectly(now, seq),
            Timer::ProbeEnds { seq } => self.end_probe(now, due, seq),
            Timer::RelayNack { seq } => self.say_that_nothing_was_heard(now, seq),
            Timer::RelayEnds { seq } => self.relays.end(seq),
            Timer::SuspicionEnds { id, stamp } => self.end_suspicion(now, due, id, stamp),
            Timer::Gossip => {
                self.gossip_runs = false;
                self.gossip(now);
            }
            Timer::Exchange => self.exchange_with_someone(now),
            Timer::DeadProbe => self.probe_a_dead_one(now),
            Timer::Seeds { round } => self.try_seeds(now, round),
            Timer::StreamEnds { stream } => self.end_stream(stream),
            Timer::Reading => self.read_on(now),
            Timer::Refute => self.refute(now),
            Timer::Sweep => self.sweep(now),
            Timer::LeaveEnds => self.finish_leave(),
        }
    }

    /// A tenth more or less, so that members do not fall into step.
    fn jittered(&mut self, duration: Duration) -> Duration {
        duration.saturating_mul(self.rng.random_range(900..=1_100)) / 1_000
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
