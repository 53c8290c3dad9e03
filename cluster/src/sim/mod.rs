//! A network of members in virtual time: one seed, one run. (Feature `sim`.)
//!
//! ```text
//!    your test or measurement: start, stop, cut, ask ...        Watch: counts, records, judges
//!            |                                                     ^
//!   +--------v-----------------------------------------------------+---+
//!   | Sim: hosts (disk, clocks, process), streams, a queue of what is due |
//!   |        Input |  ^ Output          Network: latency, loss, cuts     |
//!   |        the production core, one per host                           |
//!   +--------------------------------------------------------------------+
//! ```
//!
//! What runs here is [`Swim`] as it is shipped; only sockets, clocks and disks are played. Nothing in here reads a real clock
//! or draws a number that does not come from the seed, so a run that failed fails again.
//!
//! ```
//! use std::time::Duration;
//! use muster_cluster::sim::Sim;
//! use muster_cluster::swim::Config;
//!
//! let mut sim = Sim::new(Config::lan("doc"), 42, ());
//! for _ in 0..5 {
//!     sim.add_next();
//! }
//! let seeds = vec![sim.host(0).address];
//! (0..5).for_each(|host| sim.start(host, seeds.clone()));
//! sim.run(Duration::from_secs(5));
//! assert_eq!(sim.agree(), Ok(()));
//! ```
//!
//! What it does not play: the bytes of a stream's preface and seal (whom it means and whether the key fits is looked at), sockets that refuse to send, and disks that
//! fail: a disk here is slow, lost or set back.

pub mod checkers;
mod faults;
mod host;
mod network;
mod perform;
mod queue;
mod streams;
mod trial;
mod turns;
mod views;
mod watch;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

pub use faults::Fault;
pub use host::{Clock, EPOCH_MS, Host};
pub use network::{Latency, Network};
pub use queue::Queue;
pub use trial::{CONVERGES_WITHIN, EQUAL_WITHIN, Outcome, trial};
pub use turns::Turns;
pub use watch::{Happening, Record, Watch};

use crate::keyring::Keyring;
use crate::swim::{Config, ConfigError, Identity, Input, Output, Refused, Snapshot, Stamp, Swim};
use crate::time::Now;
use network::nanos;
use perform::Due;
use streams::Streams;
use turns::Hold;

/// The port of every host that [`Sim::add_next`] makes.
const PORT: u16 = 7_000;

/// A run.
#[derive(Debug)]
pub struct Sim<W> {
    /// Settings of the members that are started from now on.
    pub config: Config,
    /// The network; change what is wrong with it at any time.
    pub network: Network,
    /// How long a disk takes to sync a stamp.
    pub disk: Latency,
    /// Who looks on.
    pub watch: W,
    hosts: Vec<Host>,
    /// Who listens where.
    listens: HashMap<SocketAddr, usize>,
    /// Nanoseconds since the beginning.
    time: u64,
    queue: Queue<Due>,
    streams: Streams,
    rng: Xoshiro256PlusPlus,
    /// Kept to be used again.
    outputs: Vec<Output>,
    steps: u64,
}

impl<W: Watch> Sim<W> {
    /// A network without hosts. The same seed and calls give the same run.
    pub fn new(config: Config, seed: u64, watch: W) -> Self {
        Self {
            config,
            network: Network::default(),
            disk: Latency::LAN,
            watch,
            hosts: Vec::new(),
            listens: HashMap::new(),
            time: 0,
            queue: Queue::default(),
            streams: Streams::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            outputs: Vec::new(),
            steps: 0,
        }
    }

    /// A host that is down, with an empty disk; its number.
    pub fn add(&mut self, id: Uuid, address: SocketAddr) -> usize {
        self.hosts.push(Host::new(id, address));
        self.hosts.len() - 1
    }

    /// The same, with the next free id and address: host 0 has id 1 and `10.0.0.1:7000`.
    pub fn add_next(&mut self) -> usize {
        let number = u32::try_from(self.hosts.len() + 1).unwrap_or(u32::MAX);
        self.add(Uuid::from_u128(number.into()), Self::address(number))
    }

    /// The address with a number, 1 to 16 million: `10.0.0.1:7000` and so on.
    #[must_use]
    pub fn address(number: u32) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from(0x0a00_0000 | (number & 0x00ff_ffff)), PORT))
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// A host.
    ///
    /// # Panics
    /// When there is none of that number, here as everywhere.
    #[must_use]
    pub fn host(&self, host: usize) -> &Host {
        &self.hosts[host]
    }

    /// A host, to change its disk, clock or next address.
    pub fn host_mut(&mut self, host: usize) -> &mut Host {
        &mut self.hosts[host]
    }

    /// All hosts, in order of their numbers.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// The numbers of the hosts that are up.
    #[must_use]
    pub fn up(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].is_up()).collect()
    }

    /// How long the run has been going.
    #[must_use]
    pub const fn time(&self) -> Duration {
        Duration::from_nanos(self.time)
    }

    /// What a host's clocks show.
    #[must_use]
    pub fn now(&self, host: usize) -> Now {
        self.hosts[host].clock.now(self.time)
    }

    /// Inputs that were handed to members, ticks included: the measure of what a run costs.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The run's own source of chance, for faults that are to come from the same seed.
    pub const fn rng(&mut self) -> &mut Xoshiro256PlusPlus {
        &mut self.rng
    }

    /// Starts a member with what its disk holds. One that runs is killed first.
    pub fn start(&mut self, host: usize, seeds: Vec<SocketAddr>) {
        if self.hosts[host].is_up() {
            self.crash(host);
        }
        self.create(host);
        let keys = self.hosts[host].keys.clone();
        if !keys.is_open() {
            let _ = self.ask(host, Input::Keys(keys));
        }
        // Never refused: nothing of this start can be leaving.
        let _ = self.ask(host, Input::Seeds(seeds));
    }

    /// Starts all hosts that are down as members who know each other already, as a group that has been there for a while. They share
    /// what they know alike, so that large groups fit into memory. Nothing is told to the watcher but that they started.
    pub fn start_acquainted(&mut self) {
        let hosts: Vec<usize> = (0..self.hosts.len()).filter(|host| !self.hosts[*host].is_up()).collect();
        let identities: Vec<Identity> = hosts
            .iter()
            .map(|host| {
                let stamp = Stamp::at(self.now(*host).wall).max(self.hosts[*host].disk.next());
                let boot = self.rng.random();
                let place = &mut self.hosts[*host];
                place.disk_before = std::mem::replace(&mut place.disk, stamp);
                let (id, address, metadata) = (place.id, place.address, place.metadata.clone());
                Identity { id, boot, address, metadata, last_stamp: stamp }
            })
            .collect();
        let all = Snapshot::of(&identities);
        for (host, identity) in hosts.into_iter().zip(identities) {
            let (id, boot, stamp) = (identity.id, identity.boot, identity.last_stamp);
            let (seed, now, config) = (self.rng.random(), self.now(host), self.config.clone());
            self.put_in(host, boot, Swim::seeded(config, identity, seed, now, &all));
            self.watch.note(self.time(), &Happening::Persisted { host, id, stamp });
            // Plans its first wake, too.
            let keys = self.hosts[host].keys.clone();
            let _ = self.step(host, if keys.is_open() { Input::Tick } else { Input::Keys(keys) });
        }
    }

    /// A process for a host; nothing of its first outputs is performed yet.
    fn create(&mut self, host: usize) {
        let (seed, boot) = (self.rng.random(), self.rng.random());
        let now = self.now(host);
        let config = self.config.clone();
        let place = &self.hosts[host];
        let (id, address, metadata) = (place.id, place.address, place.metadata.clone());
        let identity = Identity { id, boot, address, metadata, last_stamp: place.disk };
        self.put_in(host, boot, Swim::new(config, identity, seed, now));
    }

    fn put_in(&mut self, host: usize, boot: u64, made: Result<Swim, ConfigError>) {
        let place = &mut self.hosts[host];
        place.starts += 1;
        place.left = false;
        match made {
            Ok(swim) => place.swim = Some(swim),
            Err(error) => panic!("the settings of this run cannot work: {error}"),
        }
        let id = place.id;
        self.listens.insert(place.address, host);
        self.watch.note(self.time(), &Happening::Started { host, id, boot });
    }

    /// Kills a process; its disk stays.
    pub fn crash(&mut self, host: usize) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.end(host);
        for other in self.streams.end_all(host) {
            if self.network.carries_stream(host, other.host) {
                self.close_later(other);
            }
        }
    }

    fn end(&mut self, host: usize) {
        let place = &mut self.hosts[host];
        place.end();
        if self.listens.get(&place.address) == Some(&host) {
            self.listens.remove(&place.address);
        }
        self.watch.note(self.time(), &Happening::Ended { host });
    }

    /// The disk of a host that is down forgets everything.
    pub fn lose_disk(&mut self, host: usize) {
        self.hosts[host].disk = Stamp::ZERO;
    }

    /// The disk of a host that is down is what it was before its last sync.
    pub fn set_disk_back(&mut self, host: usize) {
        self.hosts[host].disk = self.hosts[host].disk_before;
    }

    /// Hands in what a program asks of its member; nothing happens where none runs.
    ///
    /// # Errors
    /// When the core refuses it.
    pub fn ask(&mut self, host: usize, input: Input) -> Result<(), Refused> {
        if !self.hosts[host].is_up() {
            return Ok(());
        }
        if let Input::Address(address) = &input {
            self.listens.insert(*address, host);
            let before = std::mem::replace(&mut self.hosts[host].address, *address);
            if before != *address && self.listens.get(&before) == Some(&host) {
                self.listens.remove(&before);
            }
        }
        self.watch.note(self.time(), &Happening::Asked { host, input: &input });
        self.step(host, input)
    }

    /// Stops a process as SIGSTOP would: no timer goes off, no packet is read; what arrives waits, as far as a socket holds it.
    pub fn pause(&mut self, host: usize) {
        self.hold(host, Hold::Stopped);
    }

    /// No packet comes in or goes out, though the process runs; all wait.
    pub fn mute(&mut self, host: usize) {
        self.hold(host, Hold::Mute);
    }

    /// Ends a pause or a mute: first what waited in the socket is read, then the timers go off, late.
    pub fn resume(&mut self, host: usize) {
        self.hold(host, Hold::None);
    }

    /// Whether a process is stopped or mute, by a call or by its turns.
    #[must_use]
    pub fn is_held(&self, host: usize) -> bool {
        matches!(self.hosts[host].hold, Hold::Stopped | Hold::Mute)
    }

    /// From now on a process runs by turns, until this is called with none. A restart ends it.
    pub fn take_turns(&mut self, host: usize, turns: Option<Turns>) {
        let place = &mut self.hosts[host];
        place.plan += 1;
        place.turns = turns;
        match turns {
            Some(_) => {
                let plan = place.plan;
                self.next_turn(host, plan);
            }
            None => self.resume(host),
        }
    }

    /// Lets both clocks of a host run faster (or slower, below zero) from now on, in millionths.
    pub fn set_clock_rate(&mut self, host: usize, ppm: i64) {
        let time = self.time;
        self.hosts[host].clock.set_rate(time, ppm);
        self.plan_wake(host);
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.time.saturating_add(nanos(duration));
        while let Some((at, due)) = self.queue.pop_until(end) {
            self.time = self.time.max(at);
            self.perform_due(due);
        }
        self.time = end;
    }

    /// Lets time pass until `done`, asked every `step`, or until it is over; whether it was done.
    pub fn run_until(&mut self, most: Duration, step: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.time() + most;
        loop {
            if done(self) {
                return true;
            }
            if self.time() >= end {
                return false;
            }
            self.run(step.min(end - self.time()));
        }
    }

    /// Gives a host other keys, whether its member runs or not.
    pub fn set_keys(&mut self, host: usize, keys: Keyring) {
        self.hosts[host].keys = keys.clone();
        let _ = self.ask(host, Input::Keys(keys));
    }

    /// Metadata for the next start.
    pub fn set_metadata(&mut self, host: usize, metadata: Bytes) {
        self.hosts[host].metadata = metadata;
    }
}
