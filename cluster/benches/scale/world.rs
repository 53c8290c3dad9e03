//! One production core among thousands of members that are played: they answer every probe, probe it as often as real ones would,
//! and pass on the news that they are given. One real member serves its streams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_cluster::sim::Queue;
use muster_cluster::swim::{Config, Identity, Input, Output, Snapshot, Stamp, StreamId, Swim};
use muster_cluster::time::{Mono, Now, Wall};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::samples::{Sample, Samples, processor_time};
use crate::script::{Packet, address, asked, digest_in};

const EPOCH_MS: u64 = 1_800_000_000_000;

/// Live news come with that many packets in a second: three from the tick of whoever picked us, five times a second, and some with
/// probes.
const GOSSIP_EVERY: Duration = Duration::from_millis(62);

/// A member that missed everything notices that after so long.
const STRAGGLES: Duration = Duration::from_secs(30);

/// What is to come.
#[derive(Debug)]
enum Due {
    Input(Input),
    /// Somebody probes us.
    Probed,
    /// Somebody tells us news.
    Told,
}

/// What goes round among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    None,
    /// Every member's newest life.
    Lives,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) member: Swim,
    pub(crate) others: Vec<Identity>,
    pub(crate) news: News,
    /// Who answers on streams, and what its digest is.
    server: Option<(Swim, u64)>,
    /// Who has come by, and the number of its stream.
    guest: Option<(Swim, u64)>,
    config: Config,
    time: Duration,
    queue: Queue<Due>,
    rng: Xoshiro256PlusPlus,
    seq: u32,
    by_address: HashMap<SocketAddr, usize>,
    outputs: Vec<Output>,
    pub(crate) samples: Samples,
}

fn at(time: Duration) -> Now {
    let wall = EPOCH_MS + u64::try_from(time.as_millis()).expect("a short run");
    Now { mono: Mono::new(time), wall: Wall::from_millis(wall) }
}

/// So many members, with ids as random as real ones.
pub(crate) fn identities(count: u32, rng: &mut Xoshiro256PlusPlus) -> Vec<Identity> {
    let identity = |number| Identity {
        id: Uuid::from_u128(rng.random()),
        boot: rng.random(),
        address: address(number),
        metadata: Bytes::from_static(b"thirty-two bytes of description!"),
        last_stamp: Stamp::at(Wall::from_millis(EPOCH_MS)),
    };
    (1..=count).map(identity).collect()
}

impl World {
    /// A member that has not heard of anybody, among `count` others.
    pub(crate) fn new(config: &Config, count: u32, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut all = identities(count + 1, &mut rng);
        let own = Identity { last_stamp: Stamp::ZERO, ..all.pop().expect("one at least") };
        let member = Swim::new(config.clone(), own, seed, at(Duration::ZERO)).expect("sound");
        let by_address = all.iter().enumerate().map(|(number, other)| (other.address, number)).collect();
        let mut world = Self {
            member,
            others: all,
            news: News::None,
            server: None,
            guest: None,
            config: config.clone(),
            time: Duration::ZERO,
            queue: Queue::default(),
            rng,
            seq: 0,
            by_address,
            outputs: Vec::with_capacity(64),
            samples: Samples::default(),
        };
        world.put(world.config.probe_interval, Due::Probed);
        world.put(GOSSIP_EVERY, Due::Told);
        world
    }

    /// Settings of a real one among those who are only played: timers of its own would make it probe them.
    fn quiet(&self) -> Config {
        let never = Duration::from_secs(1_000_000);
        Config {
            probe_interval: never,
            exchange_interval: never,
            dead_probe_interval: never,
            tombstone_ttl: never * 10,
            broadcast_age: never,
            ..self.config.clone()
        }
    }

    /// A newcomer, who is to be handed where our member is.
    pub(crate) fn newcomer(&mut self) -> Swim {
        let identity = identities(1, &mut self.rng).remove(0);
        let identity = Identity { last_stamp: Stamp::ZERO, address: address(0xfff_fff), ..identity };
        Swim::new(self.quiet(), identity, 7, at(self.time)).expect("sound")
    }

    /// One of the others as it was when all began, which has missed all news since.
    pub(crate) fn straggler(&self) -> Swim {
        let began = Stamp::at(Wall::from_millis(EPOCH_MS));
        let all: Vec<Identity> =
            self.others.iter().map(|other| Identity { last_stamp: began, ..other.clone() }).collect();
        let config = Config { exchange_interval: STRAGGLES, ..self.quiet() };
        let began = at(self.time.saturating_sub(2 * STRAGGLES));
        Swim::seeded(config, all[1].clone(), 7, began, &Snapshot::of(&all)).expect("sound")
    }

    /// Where our member is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.member.member(self.member.id()).expect("it knows itself").address
    }

    /// From now on streams are served by one who knows all that there is to know.
    pub(crate) fn serve(&mut self) {
        let all = Snapshot::of(&self.others);
        let mut server = Swim::seeded(self.quiet(), self.others[0].clone(), 1, at(self.time), &all).expect("sound");
        let (id, cluster) = (server.id(), server.cluster_hash());
        let ping = Packet::new(cluster, self.others[1].id).ping(1, id).bytes();
        let from = self.others[1].address;
        server.handle(at(self.time), Input::Datagram { from, bytes: ping }).expect("never refused");
        let answers = std::iter::from_fn(|| server.poll());
        let sum = answers.filter_map(|output| match output {
            Output::Datagram { bytes, .. } => digest_in(&bytes),
            _ => None,
        });
        let sum = sum.last().expect("it says its digest");
        self.server = Some((server, sum));
    }

    /// All others have a new life, and nobody has told us.
    pub(crate) fn renew(&mut self) {
        let stamp = Stamp::at(at(self.time).wall);
        self.others.iter_mut().for_each(|other| other.last_stamp = stamp);
    }

    fn put(&mut self, after: Duration, due: Due) {
        let at = self.time + after;
        self.queue.put(u64::try_from(at.as_nanos()).expect("a short run"), due);
    }

    /// Between a half and twice the mean.
    fn about(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.rng.random_range(0.5..1.5))
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(200..2_000))
    }

    fn someone(&mut self) -> usize {
        self.rng.random_range(0..self.others.len())
    }

    /// Lets time pass until `done`, at most until `end`.
    pub(crate) fn run(&mut self, length: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.time + length;
        while !done(self) {
            let wake = self.member.next_deadline().map_or(end, |at| at.since_origin());
            let next = self.queue.pop_until(u64::try_from(wake.min(end).as_nanos()).expect("a short run"));
            let due = match next {
                Some((at, due)) => {
                    self.time = self.time.max(Duration::from_nanos(at));
                    due
                }
                None if wake >= end => break,
                None => {
                    self.time = self.time.max(wake);
                    Due::Input(Input::Tick)
                }
            };
            match due {
                Due::Input(input) => self.step(input),
                Due::Probed => self.probed(),
                Due::Told => self.told(),
            }
        }
    }

    /// One step of the member, measured: an input, and all that comes of it.
    pub(crate) fn step(&mut self, input: Input) {
        let (member, outputs, now) = (&mut self.member, &mut self.outputs, at(self.time));
        let mut took = Duration::ZERO;
        let counted = allocation_counter::measure(|| {
            let begin = processor_time();
            member.handle(now, input).expect("never refused");
            while let Some(output) = member.poll() {
                outputs.push(output);
            }
            took = processor_time() - begin;
        });
        self.samples.push(Sample { took, allocations: counted.count_total });
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.perform(output);
        }
        self.outputs = outputs;
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Datagram { to, bytes } => {
                let (Some(asked), Some(number)) = (asked(&bytes), self.by_address.get(&to)) else { return };
                let from = self.others[*number].clone();
                let mut packet = Packet::new(self.member.cluster_hash(), from.id).ack(asked.seq, asked.subject);
                if let Some(sum) = self.digest(&bytes) {
                    packet = packet.digest(sum);
                }
                let after = self.latency() + self.latency();
                self.put(after, Due::Input(Input::Datagram { from: from.address, bytes: packet.bytes() }));
            }
            Output::OpenStream { stream, frame, .. } => self.serve_frame(stream, frame),
            Output::SendFrame { stream: StreamId::Accepted(number), frame, .. } => {
                if let Some((guest, dialled)) = self.guest.as_mut().filter(|(_, dialled)| *dialled == number) {
                    let stream = StreamId::Dialled(*dialled);
                    guest.handle(at(self.time), Input::Frame { stream, bytes: frame }).expect("never refused");
                }
            }
            Output::SendFrame { stream, frame, .. } => self.serve_frame(stream, frame),
            Output::ProbeStream { stream, .. } => {
                let after = self.latency();
                self.put(after, Due::Input(Input::StreamClosed { stream }));
            }
            Output::PersistStamp { stamp } => {
                let after = self.latency();
                self.put(after, Due::Input(Input::StampPersisted { stamp }));
            }
            Output::CloseStream { .. } | Output::Event(_) => {}
        }
    }

    /// A real member comes by, and exchanges with ours what both know: those streams are measured on our side. It begins with `input`,
    /// and gets no more of its timers' time than it needs to merge what it hears.
    pub(crate) fn visit(&mut self, mut guest: Swim, input: Input) {
        let mut frames = Vec::new();
        guest.handle(at(self.time), input).expect("never refused");
        loop {
            while let Some(output) = guest.poll() {
                match output {
                    Output::OpenStream { stream, frame, .. } | Output::SendFrame { stream, frame, .. } => {
                        frames.push((stream, frame));
                    }
                    Output::PersistStamp { stamp } => {
                        guest.handle(at(self.time), Input::StampPersisted { stamp }).expect("never refused");
                    }
                    _ => {}
                }
            }
            let Some((StreamId::Dialled(number), frame)) = frames.pop() else { break };
            self.guest = Some((guest, number));
            self.time += Duration::from_millis(1);
            self.step(Input::Frame { stream: StreamId::Accepted(number), bytes: frame });
            while self
                .member
                .next_deadline()
                .is_some_and(|due| due.since_origin() < self.time + Duration::from_micros(2))
            {
                self.time += Duration::from_micros(2);
                self.step(Input::Tick);
            }
            let Some((back, _)) = self.guest.take() else { break };
            guest = back;
            for _ in 0..200 {
                self.time += Duration::from_micros(2);
                guest.handle(at(self.time), Input::Tick).expect("never refused");
            }
        }
    }

    /// What the others' digest is. Once the news are over it is our member's own: it lives, and is in it as the server has it not.
    fn digest(&self, asked: &[u8]) -> Option<u64> {
        match &self.server {
            Some((_, sum)) if self.news != News::None => Some(*sum),
            _ => digest_in(asked),
        }
    }

    fn serve_frame(&mut self, stream: StreamId, frame: Bytes) {
        let after = self.latency() + self.latency();
        let Some((server, _)) = &mut self.server else {
            return self.put(after, Due::Input(Input::StreamClosed { stream }));
        };
        let StreamId::Dialled(number) = stream else { panic!("nobody dials it") };
        let theirs = StreamId::Accepted(number);
        server.handle(at(self.time), Input::Frame { stream: theirs, bytes: frame }).expect("never refused");
        let mut answers = Vec::new();
        while let Some(output) = server.poll() {
            match output {
                Output::SendFrame { frame, last, .. } => {
                    answers.push(Input::Frame { stream, bytes: frame });
                    if last {
                        answers.push(Input::StreamClosed { stream });
                    }
                }
                Output::CloseStream { .. } => answers.push(Input::StreamClosed { stream }),
                _ => {}
            }
        }
        answers.into_iter().for_each(|input| self.put(after, Due::Input(input)));
    }

    fn probed(&mut self) {
        let number = self.someone();
        self.seq += 1;
        let from = self.others[number].clone();
        let mut packet = Packet::new(self.member.cluster_hash(), from.id).ping(self.seq, self.member.id());
        if let Some(sum) = self.digest(&[]) {
            packet = packet.digest(sum);
        }
        let next = self.about(self.config.probe_interval);
        self.put(next, Due::Probed);
        self.step(Input::Datagram { from: from.address, bytes: packet.bytes() });
    }

    fn told(&mut self) {
        let next = self.about(GOSSIP_EVERY);
        self.put(next, Due::Told);
        if self.news == News::None {
            return;
        }
        let number = self.someone();
        let from = self.others[number].clone();
        let mut packet = Packet::new(self.member.cluster_hash(), from.id);
        loop {
            let of = self.someone();
            if !packet.alive(&self.others[of]) {
                break;
            }
        }
        self.step(Input::Datagram { from: from.address, bytes: packet.bytes() });
    }
}
