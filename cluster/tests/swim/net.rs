//! A network of cores in memory: virtual time, delays, loss, partitions, disks. One seed, one run.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_cluster::swim::{Config, Event, Identity, Input, Output, Stamp, StreamId, Swim};
use muster_cluster::time::{Mono, Now, Wall};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::checker::Checker;

/// The wall clock at the beginning.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// A place in the network: what runs there now, and what its disk keeps.
pub(crate) struct Node {
    pub(crate) id: Uuid,
    pub(crate) address: SocketAddr,
    /// The last persisted stamp.
    pub(crate) disk: Stamp,
    /// None while it is down.
    pub(crate) swim: Option<Swim>,
    /// How often it was started; what is under way to an earlier start is lost.
    pub(crate) starts: u64,
    /// By how much its wall clock is wrong.
    pub(crate) clock_ms: i64,
    pub(crate) left: bool,
}

#[derive(Debug)]
enum Delivery {
    Datagram { from: SocketAddr, bytes: Bytes },
    Frame { stream: StreamId, bytes: Bytes },
    Closed { stream: StreamId },
    Persisted { stamp: Stamp },
}

/// Where a delivery goes: the datagrams to whoever has the address then, the rest to one start of one node.
#[derive(Debug)]
enum To {
    Address { from: String, to: SocketAddr },
    Start { name: String, start: u64 },
}

pub(crate) struct Net {
    pub(crate) config: Config,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) time: Duration,
    /// Of all datagrams, how many are lost.
    pub(crate) loss: f64,
    /// Those of different groups do not hear each other; those not named are in group 0.
    pub(crate) groups: BTreeMap<String, usize>,
    /// Single links that carry no datagrams, either way.
    pub(crate) deaf: BTreeSet<(String, String)>,
    /// What programs heard: when, who, what.
    pub(crate) events: Vec<(Duration, String, Event)>,
    /// Over every datagram, frame and event with its time, for comparing runs.
    trace: DefaultHasher,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) checker: Checker,
    rng: Xoshiro256PlusPlus,
    queue: BTreeMap<(Duration, u64), (To, Delivery)>,
    queued: u64,
    /// Accepted streams: acceptor and its number to dialler, its start and its number.
    streams: BTreeMap<u64, (String, u64, StreamId)>,
    accepted: u64,
}

impl Net {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            nodes: BTreeMap::new(),
            time: Duration::ZERO,
            loss: 0.0,
            groups: BTreeMap::new(),
            deaf: BTreeSet::new(),
            events: Vec::new(),
            trace: DefaultHasher::new(),
            sent: 0,
            dropped: 0,
            checker: Checker::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            queue: BTreeMap::new(),
            queued: 0,
            streams: BTreeMap::new(),
            accepted: 0,
        }
    }

    /// A node that is down, with an empty disk.
    pub(crate) fn add(&mut self, name: &str, id: Uuid, address: SocketAddr) {
        let node = Node { id, address, disk: Stamp::ZERO, swim: None, starts: 0, clock_ms: 0, left: false };
        self.nodes.insert(name.to_owned(), node);
    }

    pub(crate) fn start(&mut self, name: &str, seeds: Vec<SocketAddr>, metadata: Bytes) {
        let seed = self.rng.random();
        let boot = self.rng.random();
        let now = self.now(name);
        let config = self.config.clone();
        let node = self.nodes.get_mut(name).expect("a known node");
        node.starts += 1;
        node.left = false;
        let identity = Identity { id: node.id, boot, address: node.address, metadata, last_stamp: node.disk };
        node.swim = Some(Swim::new(config, identity, seed, now).expect("a sound configuration"));
        self.checker.started(name);
        self.input(name, Input::Seeds(seeds));
    }

    pub(crate) fn crash(&mut self, name: &str) {
        self.nodes.get_mut(name).expect("a known node").swim = None;
    }

    pub(crate) fn now(&self, name: &str) -> Now {
        let skew = self.nodes[name].clock_ms;
        let ms = u64::try_from(self.time.as_millis()).expect("short runs") + EPOCH_MS;
        Now { mono: Mono::new(self.time), wall: Wall::from_millis(ms.saturating_add_signed(skew)) }
    }

    pub(crate) fn live(&self) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| node.swim.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Hands an input in and performs what comes of it.
    pub(crate) fn input(&mut self, name: &str, input: Input) {
        let now = self.now(name);
        let Some(swim) = self.nodes.get_mut(name).and_then(|node| node.swim.as_mut()) else { return };
        swim.handle(now, input).expect("nothing is asked for that cannot be done");
        let mut outputs = Vec::new();
        while let Some(output) = swim.poll() {
            outputs.push(output);
        }
        if outputs.is_empty() {
            return;
        }
        swim.check_invariants().unwrap_or_else(|broken| panic!("{name} at {:?}: {broken}", self.time));
        let (disk, own) = (self.nodes[name].disk, self.own_stamp(name));
        assert!(own <= disk, "{name} uses {own}, its disk holds {disk}");
        for output in outputs {
            self.perform(name, output);
        }
    }

    fn own_stamp(&self, name: &str) -> Stamp {
        let node = &self.nodes[name];
        let own = node.swim.as_ref().and_then(|swim| swim.member(node.id));
        own.map_or(Stamp::ZERO, |own| own.incarnation)
    }

    fn perform(&mut self, name: &str, output: Output) {
        let start = self.nodes[name].starts;
        match output {
            Output::Datagram { to, bytes } => {
                assert!(bytes.len() + 48 <= 1_400, "a packet of {} bytes leaves no room for a seal", bytes.len());
                (self.time, name, to, &bytes).hash(&mut self.trace);
                self.sent += 1;
                let from = self.nodes[name].address;
                if self.rng.random_bool(self.loss) {
                    self.dropped += 1;
                    return;
                }
                let to = To::Address { from: name.to_owned(), to };
                self.deliver(to, Delivery::Datagram { from, bytes });
            }
            Output::OpenStream { stream, to, target, frame } => {
                (self.time, name, to, &frame).hash(&mut self.trace);
                let here = To::Start { name: name.to_owned(), start };
                let Some(other) = self.at(to) else {
                    self.deliver(here, Delivery::Closed { stream });
                    return;
                };
                if self.cut(name, &other) {
                    // Into the dark: nobody answers, the core has a time-out of its own.
                    self.dropped += 1;
                    return;
                }
                if target.is_some_and(|target| target != self.nodes[&other].id) {
                    // Refused by the preface.
                    self.deliver(here, Delivery::Closed { stream });
                    return;
                }
                self.accepted += 1;
                self.streams.insert(self.accepted, (name.to_owned(), start, stream));
                let there = To::Start { start: self.nodes[&other].starts, name: other };
                self.deliver(there, Delivery::Frame { stream: StreamId::Accepted(self.accepted), bytes: frame });
            }
            Output::ProbeStream { stream, to, target, frame } => {
                self.perform(name, Output::OpenStream { stream, to, target: Some(target), frame });
            }
            Output::SendFrame { stream: StreamId::Accepted(number), frame, last: _ } => {
                let Some((other, start, stream)) = self.streams.remove(&number) else { return };
                if self.cut(name, &other) {
                    self.dropped += 1;
                    return;
                }
                self.deliver(To::Start { name: other, start }, Delivery::Frame { stream, bytes: frame });
            }
            Output::CloseStream { stream: StreamId::Accepted(number) } => {
                if let Some((other, start, stream)) = self.streams.remove(&number) {
                    self.deliver(To::Start { name: other, start }, Delivery::Closed { stream });
                }
            }
            Output::SendFrame { stream: StreamId::Dialled(_), .. }
            | Output::CloseStream { stream: StreamId::Dialled(_) } => {}
            Output::PersistStamp { stamp } => {
                let to = To::Start { name: name.to_owned(), start };
                self.deliver(to, Delivery::Persisted { stamp });
            }
            Output::Event(event) => {
                (self.time, name, format!("{event:?}")).hash(&mut self.trace);
                self.checker.heard(name, &event);
                if matches!(event, Event::LeaveDone { .. }) {
                    let node = self.nodes.get_mut(name).expect("a known node");
                    node.swim = None;
                    node.left = true;
                }
                self.events.push((self.time, name.to_owned(), event));
            }
        }
    }

    fn deliver(&mut self, to: To, delivery: Delivery) {
        // A millisecond or two, so that packets overtake each other.
        let delay = Duration::from_micros(self.rng.random_range(200..2_000));
        self.queued += 1;
        self.queue.insert((self.time + delay, self.queued), (to, delivery));
    }

    fn at(&self, address: SocketAddr) -> Option<String> {
        let mut up = self.nodes.iter().filter(|(_, node)| node.swim.is_some() && node.address == address);
        up.next().map(|(name, _)| name.clone())
    }

    fn cut(&self, a: &str, b: &str) -> bool {
        self.groups.get(a).copied().unwrap_or(0) != self.groups.get(b).copied().unwrap_or(0)
    }

    fn is_deaf(&self, a: &str, b: &str) -> bool {
        self.deaf.iter().any(|(x, y)| (x == a && y == b) || (x == b && y == a))
    }

    /// Two runs that gave the same did the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.trace.finish()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.time + duration;
        loop {
            let arrival = self.queue.first_key_value().map(|(key, _)| *key);
            let deadlines = self.nodes.iter().filter_map(|(name, node)| {
                let deadline = node.swim.as_ref()?.next_deadline()?;
                Some((deadline.since_origin(), name))
            });
            let deadline = deadlines.min().map(|(at, name)| (at, name.clone()));
            match (arrival, deadline) {
                (Some(key), deadline) if key.0 <= end && deadline.as_ref().is_none_or(|(at, _)| key.0 <= *at) => {
                    self.time = self.time.max(key.0);
                    let (to, delivery) = self.queue.remove(&key).expect("it was first");
                    self.arrive(to, delivery);
                }
                (_, Some((at, name))) if at <= end => {
                    self.time = self.time.max(at);
                    self.input(&name, Input::Tick);
                }
                _ => break,
            }
        }
        self.time = end;
    }

    fn arrive(&mut self, to: To, delivery: Delivery) {
        let name = match to {
            To::Address { from, to } => match self.at(to) {
                Some(name) if self.cut(&from, &name) || self.is_deaf(&from, &name) => {
                    self.dropped += 1;
                    return;
                }
                Some(name) => name,
                None => return,
            },
            To::Start { name, start } if self.nodes[&name].starts == start => name,
            To::Start { .. } => return,
        };
        match delivery {
            Delivery::Datagram { from, bytes } => self.input(&name, Input::Datagram { from, bytes }),
            Delivery::Frame { stream, bytes } => self.input(&name, Input::Frame { stream, bytes }),
            Delivery::Closed { stream } => self.input(&name, Input::StreamClosed { stream }),
            Delivery::Persisted { stamp } => {
                let node = self.nodes.get_mut(&name).expect("a known node");
                if node.swim.is_some() {
                    node.disk = stamp;
                    let id = node.id;
                    self.checker.persisted(id, stamp);
                    self.input(&name, Input::StampPersisted { stamp });
                }
            }
        }
    }

    /// Whether all live nodes see all live nodes alive and nobody else, with the same stamps.
    pub(crate) fn agree(&self) -> Result<(), String> {
        let live: BTreeMap<Uuid, Stamp> =
            self.live().iter().map(|name| (self.nodes[name].id, self.own_stamp(name))).collect();
        for name in self.live() {
            let Some(swim) = &self.nodes[&name].swim else { continue };
            let seen: BTreeMap<Uuid, Stamp> = swim
                .members()
                .into_iter()
                .filter(|member| member.state == muster_cluster::swim::MemberState::Alive)
                .map(|member| (member.id, member.incarnation))
                .collect();
            if seen != live {
                return Err(format!("{name} sees {seen:?} alive, there are {live:?}"));
            }
        }
        Ok(())
    }

    /// The different states that live nodes hold.
    pub(crate) fn states(&self) -> usize {
        let swims = self.nodes.values().filter_map(|node| node.swim.as_ref());
        swims.map(|swim| format!("{:?}", swim.state())).collect::<BTreeSet<_>>().len()
    }
}
