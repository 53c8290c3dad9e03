//! The core driven by hand, without tokio, sockets or threads: three members in one process, in a time of their own.
//!
//! From a clean checkout, and nothing but the core is built:
//!
//! ```sh
//! cargo run -p muster-cluster --no-default-features --example by_hand
//! ```
//!
//! It shows all that a driver does: hand in what arrives and what time it is, then perform what comes out. Here the network is a queue in
//! which everything takes a millisecond, and the clock jumps to whatever is due next, so half a minute of the members' lives passes in no time
//! and every run is the same. With real sockets the shape stays: what is put into the queue here goes out there, and what comes out of
//! it comes in. (For tests of a program of yours there is a better network: the feature `sim`.)

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use muster_cluster::swim::{Config, Event, Identity, Input, Member, Output, Stamp, StreamId, Swim};
use muster_cluster::time::{Mono, Now, Wall};
use uuid::Uuid;

/// How long everything is under way.
const LATENCY: Duration = Duration::from_millis(1);

/// The members and what is between them.
struct World {
    members: Vec<Swim>,
    /// Crashed, by their numbers.
    gone: Vec<usize>,
    time: Mono,
    /// What arrives when, at whom. In order, since everything takes as long.
    under_way: VecDeque<(Mono, usize, Input)>,
    /// Each end of a stream, and the other one.
    streams: BTreeMap<(usize, StreamId), (usize, StreamId)>,
    accepted: u64,
}

fn address(member: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7_001 + u16::try_from(member).unwrap_or_default()))
}

fn name(member: &Member) -> String {
    String::from_utf8_lossy(&member.metadata).into_owned()
}

impl World {
    /// What the clocks show. The wall clock only makes stamps; it may be wrong, and may jump.
    fn now(&self) -> Now {
        let wall = 1_750_000_000_000 + u64::try_from(self.time.since_origin().as_millis()).unwrap_or_default();
        Now { mono: self.time, wall: Wall::from_millis(wall) }
    }

    fn start(&mut self, seeds: &[usize]) -> Result<usize, Box<dyn Error>> {
        let number = self.members.len();
        let identity = Identity {
            id: Uuid::from_u128(number as u128 + 1),
            boot: number as u64, // Random at every start, in a program that starts again.
            address: address(number),
            metadata: format!("member {number}").into(),
            last_stamp: Stamp::ZERO, // What the disk holds, in a program that has one.
        };
        let swim = Swim::new(Config::local("by-hand"), identity, number as u64, self.now())?;
        self.members.push(swim);
        self.hand_in(number, Input::Seeds(seeds.iter().copied().map(address).collect()))?;
        Ok(number)
    }

    /// The heart of every driver: one input in, all outputs out.
    fn hand_in(&mut self, member: usize, input: Input) -> Result<(), Box<dyn Error>> {
        let now = self.now();
        self.members[member].handle(now, input)?;
        while let Some(output) = self.members[member].poll() {
            self.perform(member, output);
        }
        Ok(())
    }

    fn perform(&mut self, member: usize, output: Output) {
        match output {
            Output::Datagram { to, bytes } => {
                if let Some(receiver) = self.at(to) {
                    self.send(receiver, Input::Datagram { from: address(member), bytes });
                }
            }
            // Frames in both directions, in their order. A real driver begins with a preface, see `swim::wire::Preface`.
            Output::OpenStream { stream, to, frame, .. } | Output::ProbeStream { stream, to, frame, .. } => {
                let Some(receiver) = self.at(to) else {
                    return self.send(member, Input::StreamClosed { stream });
                };
                self.accepted += 1;
                let other = StreamId::Accepted(self.accepted);
                self.streams.insert((member, stream), (receiver, other));
                self.streams.insert((receiver, other), (member, stream));
                self.send(receiver, Input::Frame { stream: other, bytes: frame });
            }
            Output::SendFrame { stream, frame, last } => {
                if let Some(&(receiver, other)) = self.streams.get(&(member, stream)) {
                    self.send(receiver, Input::Frame { stream: other, bytes: frame });
                    if last {
                        self.close(member, stream);
                    }
                }
            }
            Output::CloseStream { stream } => self.close(member, stream),
            // There is no disk here: it is kept at once. A real one must have it synced first.
            Output::PersistStamp { stamp } => self.send(member, Input::StampPersisted { stamp }),
            Output::Event(event) => self.show(member, &event),
        }
    }

    fn close(&mut self, member: usize, stream: StreamId) {
        if let Some((receiver, other)) = self.streams.remove(&(member, stream)) {
            self.streams.remove(&(receiver, other));
            self.send(receiver, Input::StreamClosed { stream: other });
        }
    }

    fn send(&mut self, to: usize, input: Input) {
        self.under_way.push_back((self.time + LATENCY, to, input));
    }

    /// Who listens at an address.
    fn at(&self, at: SocketAddr) -> Option<usize> {
        (0..self.members.len()).find(|member| address(*member) == at && !self.gone.contains(member))
    }

    fn show(&self, member: usize, event: &Event) {
        let what = match event {
            Event::Joined(other) => format!("{} joined", name(other)),
            Event::Suspected(other) => format!("{} does not answer", name(other)),
            Event::Failed(other) => format!("{} is given up", name(other)),
            Event::Broadcast { payload, .. } => format!("heard: {}", String::from_utf8_lossy(payload)),
            _ => return,
        };
        println!("{} member {member}: {what}", self.time);
    }

    /// Lets whatever is due next happen, until `done`.
    fn run(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Box<dyn Error>> {
        let end = self.time + Duration::from_secs(30);
        while !done(self) {
            let alive = (0..self.members.len()).filter(|member| !self.gone.contains(member));
            let timer = alive.filter_map(|member| Some((self.members[member].next_deadline()?, member))).min();
            let (deadline, sleeper) = timer.ok_or("nobody is left")?;
            // What arrives is handed in before a timer of the same moment.
            let next = self.under_way.pop_front_if(|(at, ..)| *at <= deadline);
            let (at, member, input) = next.unwrap_or((deadline, sleeper, Input::Tick));
            self.time = self.time.max(at);
            if self.time > end {
                return Err("this takes too long".into());
            }
            if !self.gone.contains(&member) {
                self.hand_in(member, input)?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut world = World {
        members: Vec::new(),
        gone: Vec::new(),
        time: Mono::ZERO,
        under_way: VecDeque::new(),
        streams: BTreeMap::new(),
        accepted: 0,
    };
    let first = world.start(&[])?;
    world.start(&[first])?;
    let last = world.start(&[first])?;
    world.run(|world| world.members.iter().all(|member| member.live() == 3))?;
    println!("{} all see three members", world.time);

    world.hand_in(first, Input::Broadcast("good morning".into()))?;
    world.gone.push(last);
    world.run(|world| world.members[..last].iter().all(|member| member.live() == 2))?;
    println!("{} and now two", world.time);
    Ok(())
}
