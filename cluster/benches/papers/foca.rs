//! The crate `foca` 2.0 in the same simulator: the same network, latencies, losses and seeds. It has no sockets of its own either.

use std::collections::HashMap;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{Config, Foca, Identity, Member, NoCustomBroadcast, Notification, PostcardCodec, Runtime, Timer};
use muster_cluster::sim::{Network, Queue};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::go::{Times, times};
use crate::joins::Sizes;

/// The largest group that is measured: it looks through all members for each update, which takes its time.
pub(crate) const MOST: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    host: u32,
    life: u32,
}

impl Identity for Id {
    type Addr = u32;

    fn renew(&self) -> Option<Self> {
        Some(Self { host: self.host, life: self.life + 1 })
    }

    fn addr(&self) -> u32 {
        self.host
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

type Node = Foca<Id, PostcardCodec, Xoshiro256PlusPlus, NoCustomBroadcast>;

enum Due {
    Begin { host: usize },
    Packet { from: usize, to: usize, bytes: Bytes },
    Timer { host: usize, timer: Timer<Id> },
}

/// What one step gave.
#[derive(Default)]
struct Out {
    packets: Vec<(usize, Bytes)>,
    timers: Vec<(Duration, Timer<Id>)>,
    up: Vec<u32>,
    down: Vec<u32>,
}

impl Runtime<Id> for Out {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        match notification {
            Notification::MemberUp(id) => self.up.push(id.host),
            Notification::MemberDown(id) => self.down.push(id.host),
            _ => {}
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.packets.push((to.host as usize, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.timers.push((after, event));
    }
}

struct World {
    network: Network,
    queue: Queue<Due>,
    rng: Xoshiro256PlusPlus,
    nodes: Vec<Option<Node>>,
    config: Config,
    /// Whom a node knows or announces itself to when it begins.
    acquainted: usize,
    time: u64,
    sent: u64,
    /// By observer and subject: when it was first said to be there, or gone.
    up: HashMap<(usize, u32), u64>,
    down: HashMap<(usize, u32), u64>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl World {
    /// Members who know each other and begin at random moments of the first period.
    fn new(config: Config, members: usize, seed: u64) -> Self {
        let mut world = Self {
            network: Network::default(),
            queue: Queue::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            nodes: Vec::new(),
            config,
            acquainted: members,
            time: 0,
            sent: 0,
            up: HashMap::new(),
            down: HashMap::new(),
        };
        for _ in 0..members {
            let at = world.rng.random_range(0..nanos(world.config.probe_period));
            world.add(at);
        }
        world
    }

    fn add(&mut self, begins_at: u64) {
        let host = self.nodes.len();
        let id = Id { host: host as u32, life: 0 };
        let rng = Xoshiro256PlusPlus::seed_from_u64(self.rng.random());
        self.nodes.push(Some(Foca::new(id, self.config.clone(), rng, PostcardCodec)));
        self.queue.put(begins_at, Due::Begin { host });
    }

    fn run(&mut self, duration: Duration) {
        let end = self.time + nanos(duration);
        while let Some((at, due)) = self.queue.pop_until(end) {
            self.time = at;
            let mut out = Out::default();
            let host = match due {
                Due::Begin { host } => {
                    let ids = (0..self.acquainted).filter(|other| *other != host);
                    let members: Vec<_> = ids.map(|other| Member::alive(Id { host: other as u32, life: 0 })).collect();
                    let newcomer = host >= self.acquainted;
                    let guide = self.rng.random_range(0..self.acquainted.max(1));
                    if let Some(node) = &mut self.nodes[host] {
                        // Whether a packet was well formed is its own affair.
                        let _ = if newcomer {
                            node.announce(Id { host: guide as u32, life: 0 }, &mut out)
                        } else {
                            node.apply_many(members.into_iter(), false, &mut out)
                        };
                    }
                    host
                }
                Due::Packet { from, to, bytes } => {
                    if !self.network.carries_datagram(from, to) {
                        continue;
                    }
                    if let Some(node) = &mut self.nodes[to] {
                        let _ = node.handle_data(&bytes, &mut out);
                    }
                    to
                }
                Due::Timer { host, timer } => {
                    if let Some(node) = &mut self.nodes[host] {
                        let _ = node.handle_timer(timer, &mut out);
                    }
                    host
                }
            };
            self.perform(host, out);
        }
        self.time = end;
    }

    fn perform(&mut self, host: usize, out: Out) {
        for (to, bytes) in out.packets {
            self.sent += 1;
            let fate = self.network.fate(host, Some(to), &mut self.rng);
            for delay in fate.into_iter().flatten() {
                self.queue.put(self.time + nanos(delay), Due::Packet { from: host, to, bytes: bytes.clone() });
            }
        }
        for (after, timer) in out.timers {
            self.queue.put(self.time + nanos(after), Due::Timer { host, timer });
        }
        for id in out.up {
            self.up.entry((host, id)).or_insert(self.time);
        }
        for id in out.down {
            self.down.entry((host, id)).or_insert(self.time);
        }
    }
}

/// The paper's settings, for a group of this size.
fn papers_settings(members: usize, period: Duration) -> Config {
    let log = (members as f64 + 1.0).ln();
    Config {
        probe_period: period,
        probe_rtt: Duration::from_millis(500),
        num_indirect_probes: NonZeroUsize::MIN,
        max_transmissions: NonZeroU8::new((3.0 * log.ceil()) as u8).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: period.mul_f64(3.0 * log),
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: None,
        ..Config::simple()
    }
}

/// Messages that a member sends in a period.
pub(crate) fn load(members: usize, periods: u32, period: Duration, seed: u64) -> f64 {
    let mut world = World::new(papers_settings(members, period), members, seed);
    world.run(5 * period);
    let before = world.sent;
    world.run(periods * period);
    (world.sent - before) as f64 / f64::from(periods) / members as f64
}

/// What each member sees at the end of each period while members join one by one. It has no full exchange to join by: a lost
/// announcement is repeated in every period until it is answered, as a program would.
pub(crate) fn joined(shipped: bool, members: usize, periods: u32, loss: f64, seed: u64) -> Sizes {
    let mut config = if shipped { lan(members) } else { papers_settings(members, Duration::from_secs(2)) };
    let period = config.probe_period;
    // So that members that were given up hear of it, and come back under another identity.
    config.notify_down_members = true;
    let mut world = World::new(config, 0, seed);
    world.network.loss = loss;
    world.acquainted = 1;
    let mut sizes = Sizes::new();
    for number in 0..periods {
        if world.nodes.len() < members {
            let now = world.time;
            world.add(now);
        }
        for host in 1..world.nodes.len() {
            if world.nodes[host].as_ref().is_some_and(|node| node.num_members() == 0) {
                let now = world.time;
                world.queue.put(now, Due::Begin { host });
            }
        }
        world.run(period);
        let seen: Vec<usize> = world.nodes.iter().flatten().map(|node| node.num_members() + 1).collect();
        sizes.note(number, &seen);
    }
    sizes
}

fn lan(members: usize) -> Config {
    Config::new_lan(NonZeroU32::new(members as u32).unwrap_or(NonZeroU32::MIN))
}

pub(crate) fn crash(members: usize, seed: u64) -> Times {
    let config = lan(members);
    let period = config.probe_period;
    let mut world = World::new(config, members, seed);
    let moment = world.rng.random_range(2.0..3.0);
    world.run(period.mul_f64(moment));
    let dead = world.rng.random_range(0..members);
    let crashed = world.time;
    world.nodes[dead] = None;
    let subject = dead as u32;
    let told = |world: &World| world.down.keys().filter(|(_, id)| *id == subject).count();
    for _ in 0..200 {
        if told(&world) == members - 1 {
            break;
        }
        world.run(period);
    }
    let wrong = world.down.keys().filter(|(_, id)| *id != subject).count() as u64;
    times(&since(&world.down, subject, crashed, period), members - 1, wrong)
}

pub(crate) fn join(members: usize, seed: u64) -> Times {
    let config = lan(members);
    let period = config.probe_period;
    let mut world = World::new(config, members - 1, seed);
    let moment = world.rng.random_range(2.0..3.0);
    world.run(period.mul_f64(moment));
    let begun = world.time;
    let subject = world.nodes.len() as u32;
    world.add(begun);
    for _ in 0..60 {
        if world.up.keys().filter(|(_, id)| *id == subject).count() == members - 1 {
            break;
        }
        world.run(period);
    }
    times(&since(&world.up, subject, begun, period), members - 1, 0)
}

fn since(said: &HashMap<(usize, u32), u64>, subject: u32, from: u64, period: Duration) -> Vec<f64> {
    said.iter()
        .filter(|((_, id), at)| *id == subject && **at >= from)
        .map(|(_, at)| (*at - from) as f64 / nanos(period) as f64)
        .collect()
}
