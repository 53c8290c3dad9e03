//! What goes wrong, drawn from the run's chance. Each is begun, holds for a while, and is over when everything is healed.

use muster_world::{Link, Millis};

use crate::cluster::Cluster;
use crate::evidence::Standing;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A process dies, the leader's as often as not.
    Kill,
    /// All processes die at once.
    KillAll,
    /// A machine loses its power, and what its disk had not synced.
    PowerOff,
    /// All machines do.
    PowerOffAll,
    /// A process sleeps and wakes with all that it believed.
    Pause,
    /// All sleep, and wake together.
    PauseAll,
    /// A machine's cable is pulled.
    CutOff,
    /// Two sides.
    Halves,
    /// A machine that is heard and does not hear, or the reverse.
    OneWay,
    /// Everyone reaches two neighbours only.
    Ring,
    /// 5 to 40 % of all packets are lost.
    Lossy,
    /// Packets take up to 200 ms, each its own time.
    Slow,
    /// Half of the datagrams come twice.
    Doubled,
    /// Datagrams are cut, streams stand.
    GossipCut,
    /// Streams are cut, datagrams go through.
    StreamsCut,
    /// Clocks jump, up to a day forward or backward.
    Clocks,
    /// The leadership is handed over again and again.
    Transfer,
    /// A node starts with an empty disk.
    WipedDisk,
}

/// All of them.
pub const ALL: [Fault; 18] = [
    Fault::Kill,
    Fault::KillAll,
    Fault::PowerOff,
    Fault::PowerOffAll,
    Fault::Pause,
    Fault::PauseAll,
    Fault::CutOff,
    Fault::Halves,
    Fault::OneWay,
    Fault::Ring,
    Fault::Lossy,
    Fault::Slow,
    Fault::Doubled,
    Fault::GossipCut,
    Fault::StreamsCut,
    Fault::Clocks,
    Fault::Transfer,
    Fault::WipedDisk,
];

/// A day, in milliseconds.
const DAY: i64 = 86_400_000;
/// The leadership is handed over every 300 ms.
const BETWEEN_TRANSFERS: Millis = 300;

/// A direction of the way between two machines.
pub type Way = (usize, usize);

/// A fault that has begun.
#[derive(Debug)]
pub struct Struck {
    /// Which.
    pub fault: Fault,
    /// The nodes that it met.
    pub on: Vec<usize>,
    /// Where it is in the way.
    pub(crate) ways: Vec<Way>,
    /// How things stood before.
    pub(crate) before: Standing,
}

impl Fault {
    /// Whether it is one for so many nodes: with three, everyone has two neighbours only.
    pub fn is_for(self, count: usize) -> bool {
        self != Self::Ring || count > 3
    }

    /// Begins it.
    pub fn begin(self, cluster: &mut Cluster) -> Struck {
        let before = Standing::of(cluster);
        let count = cluster.count();
        let mut ways = Vec::new();
        let mut between = |cluster: &mut Cluster, chosen: &dyn Fn(usize, usize) -> bool, change: &dyn Fn(&mut Link)| {
            ways = between(cluster, chosen, change);
        };
        let one = victim(cluster);
        let all: Vec<usize> = (0..count).collect();
        let on = match self {
            Self::Kill => stop(cluster, &[one], false),
            Self::KillAll => stop(cluster, &all, false),
            Self::PowerOff => stop(cluster, &[one], true),
            Self::PowerOffAll => stop(cluster, &all, true),
            Self::WipedDisk => {
                stop(cluster, &[one], false);
                cluster.wipe(one);
                vec![one]
            }
            Self::Pause => {
                cluster.sim.pause(one);
                vec![one]
            }
            Self::PauseAll => {
                let awake: Vec<usize> = all.into_iter().filter(|&node| cluster.sim.is_awake(node)).collect();
                awake.iter().for_each(|&node| cluster.sim.pause(node));
                awake
            }
            Self::CutOff => {
                between(cluster, &|from, to| (from == one) != (to == one), &|link| link.cut = true);
                vec![one]
            }
            Self::OneWay => {
                let deaf = cluster.sim.draw(0..2) == 0;
                between(cluster, &|from, to| if deaf { to == one } else { from == one }, &|link| link.cut = true);
                vec![one]
            }
            Self::Halves => {
                let side: Vec<usize> = all.into_iter().filter(|_| cluster.sim.draw(0..2) == 0).collect();
                between(cluster, &|from, to| side.contains(&from) != side.contains(&to), &|link| link.cut = true);
                side
            }
            Self::Ring => {
                let next_to = |a: usize, b: usize| (a + 1) % count == b || (b + 1) % count == a;
                between(cluster, &|from, to| !next_to(from, to), &|link| link.cut = true);
                all
            }
            Self::Lossy => {
                let loss = f64::from(cluster.sim.draw(5..40u32)) / 100.0;
                between(cluster, &|_, _| true, &|link| link.loss = loss);
                all
            }
            Self::Slow => {
                let most = cluster.sim.draw(5..200);
                between(cluster, &|_, _| true, &|link| link.delay = 1..=most);
                all
            }
            Self::Doubled => {
                between(cluster, &|_, _| true, &|link| link.doubling = 0.5);
                all
            }
            Self::GossipCut => {
                between(cluster, &|_, _| true, &|link| link.datagrams_cut = true);
                all
            }
            Self::StreamsCut => {
                between(cluster, &|from, to| (from == one) != (to == one), &|link| link.streams_cut = true);
                vec![one]
            }
            Self::Clocks => {
                for &node in &all {
                    let by = cluster.sim.draw(-DAY..DAY);
                    cluster.sim.move_clock(node, by);
                }
                all
            }
            Self::Transfer => all,
        };
        Struck { fault: self, on, ways, before }
    }
}

impl Struck {
    /// Goes on with it, after so long.
    pub fn goes_on(&self, cluster: &mut Cluster, since: Millis) {
        if self.fault == Fault::Transfer && since.is_multiple_of(BETWEEN_TRANSFERS) {
            cluster.transfer();
        }
    }

    /// Whom it met, for people.
    pub fn names(&self) -> String {
        self.on.iter().map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ")
    }
}

/// A machine's cable is pulled.
pub(crate) fn cut_off(cluster: &mut Cluster, one: usize) {
    between(cluster, &|from, to| (from == one) != (to == one), &|link| link.cut = true);
}

/// Nothing is in the way any more.
pub fn heal(cluster: &mut Cluster) {
    between(cluster, &|_, _| true, &|link| *link = Link::default());
    for node in 0..cluster.count() {
        if cluster.sim.runs(node) { cluster.sim.resume(node) } else { cluster.start(node) }
    }
}

/// The leader as often as not.
fn victim(cluster: &mut Cluster) -> usize {
    let (any, prefers_leader) = (cluster.sim.draw(0..cluster.count()), cluster.sim.draw(0..2) == 0);
    cluster.leader().filter(|_| prefers_leader).unwrap_or(any)
}

fn stop(cluster: &mut Cluster, nodes: &[usize], power_fails: bool) -> Vec<usize> {
    let running: Vec<usize> = nodes.iter().copied().filter(|&node| cluster.sim.runs(node)).collect();
    running.iter().for_each(|&node| cluster.stop(node, power_fails));
    running
}

fn between(cluster: &mut Cluster, chosen: &dyn Fn(usize, usize) -> bool, change: &dyn Fn(&mut Link)) -> Vec<Way> {
    let nodes = 0..cluster.count();
    let ways = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to)));
    let ways: Vec<Way> = ways.filter(|&(from, to)| from != to && chosen(from, to)).collect();
    ways.iter().for_each(|&(from, to)| cluster.sim.link(from, to, change));
    ways
}
