//! How one sees that a fault really happened: by what the world and the nodes count. A fault that shows nothing was none.

use std::time::Duration;

use muster_world::disk::Sectors;
use muster_world::{Met, Millis};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::faults::{Fault, Struck, Way};

/// What faults change, as it stands.
#[derive(Debug)]
pub struct Standing {
    nodes: Vec<Node>,
    met: Vec<(Way, Met)>,
    transfers: u64,
}

/// A node of it.
#[derive(Debug, Clone, Copy)]
struct Node {
    starts: u64,
    slept: Millis,
    clock: Duration,
    sectors: Sectors,
    identity: Option<Uuid>,
}

impl Standing {
    /// Now.
    pub fn of(cluster: &Cluster) -> Self {
        let node = |node| Node {
            starts: cluster.starts(node),
            slept: cluster.sim.slept(node),
            clock: cluster.sim.clock(node),
            sectors: cluster.sim.sectors(node),
            identity: cluster.identity(node),
        };
        let nodes = 0..cluster.count();
        let ways = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to)));
        Self {
            met: ways.map(|(from, to)| ((from, to), cluster.sim.met(from, to))).collect(),
            nodes: nodes.map(node).collect(),
            transfers: cluster.transfers(),
        }
    }

    /// What packets met there since.
    fn met_since(&self, before: &Self, ways: &[Way]) -> Met {
        let mut met = Met::default();
        for ((way, now), (_, then)) in self.met.iter().zip(&before.met) {
            if ways.contains(way) {
                met += *now - *then;
            }
        }
        met
    }
}

impl Struck {
    /// What shows that it happened, once it is over and all processes are there again. `None`: nothing does.
    pub fn evidence(&self, cluster: &Cluster) -> Option<String> {
        let now = Standing::of(cluster);
        let met = now.met_since(&self.before, &self.ways);
        let packets = |count: u64, what: &str| (count > 0).then(|| format!("{count} packets {what}"));
        let each = |shows: &dyn Fn(Node, Node) -> Option<String>| {
            let shown = self
                .on
                .iter()
                .map(|&node| shows(self.before.nodes[node], now.nodes[node]).map(|shown| format!("n{node} {shown}")));
            shown.collect::<Option<Vec<_>>>().filter(|shown| !shown.is_empty()).map(|shown| shown.join(", "))
        };
        match self.fault {
            Fault::Kill | Fault::KillAll => each(&started_again),
            Fault::PowerOff | Fault::PowerOffAll => each(&|before, now| {
                let Sectors { lost, kept } = now.sectors;
                let (lost, kept) = (lost - before.sectors.lost, kept - before.sectors.kept);
                Some(format!("{}, {lost} of {} unsynced sectors lost", started_again(before, now)?, lost + kept))
            }),
            Fault::WipedDisk => each(&|before, now| {
                let (before, now) = (before.identity?, now.identity?);
                (before != now).then(|| format!("was {before}, is {now}"))
            }),
            Fault::Pause | Fault::PauseAll => each(&|before, now| {
                (now.slept > before.slept).then(|| format!("slept {} ms", now.slept - before.slept))
            }),
            Fault::CutOff | Fault::Halves | Fault::OneWay | Fault::Ring => packets(met.cut, "did not come through"),
            Fault::GossipCut => packets(met.datagrams_cut, "of gossip did not come through"),
            Fault::StreamsCut => packets(met.streams_cut, "of streams did not come through"),
            Fault::Lossy => packets(met.lost, "lost"),
            Fault::Slow => packets(met.delayed, "late"),
            Fault::Doubled => packets(met.doubled, "came twice"),
            Fault::Clocks => each(&|before, now| {
                let jumped = now.clock.abs_diff(before.clock);
                (!jumped.is_zero()).then(|| format!("jumped by {} s", jumped.as_secs()))
            }),
            Fault::Transfer => {
                let times = now.transfers - self.before.transfers;
                (times > 0).then(|| format!("{times} hand-overs"))
            }
        }
    }
}

fn started_again(before: Node, now: Node) -> Option<String> {
    (now.starts > before.starts).then(|| "started again".to_owned())
}
