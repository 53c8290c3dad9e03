//! A group of members who know each other from the start, and what is watched in it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use muster_cluster::sim::{Happening, Sim, Watch};
use muster_cluster::swim::{Config, Event};
use uuid::Uuid;

/// What is watched: who says what of one member, who sends how much, and who is wrongly given up.
#[derive(Debug, Default)]
pub(crate) struct Eye {
    /// The member that everything is about.
    pub(crate) target: Option<Uuid>,
    pub(crate) address: Option<SocketAddr>,
    /// Nothing before this counts.
    pub(crate) since: Duration,
    /// When the first packet to the target was sent.
    pub(crate) first_probe: Option<Duration>,
    /// By host: when it first joined, suspected, failed the target.
    pub(crate) joined: HashMap<usize, Duration>,
    pub(crate) suspected: HashMap<usize, Duration>,
    pub(crate) failed: HashMap<usize, Duration>,
    /// When a broadcast first came to each host.
    pub(crate) told: HashMap<usize, Duration>,
    /// By observer and accused: members given up.
    pub(crate) given_up: HashMap<(usize, Uuid), u64>,
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
}

impl Watch for Eye {
    fn note(&mut self, at: Duration, happening: &Happening<'_>) {
        if at < self.since {
            return;
        }
        match happening {
            Happening::Sent { to, bytes, .. } => {
                self.sent += 1;
                self.bytes += bytes.len() as u64;
                if self.address == Some(*to) {
                    self.first_probe.get_or_insert(at);
                }
            }
            Happening::Heard { host, event } => match event {
                Event::Joined(member) if Some(member.id) == self.target => {
                    self.joined.entry(*host).or_insert(at);
                }
                Event::Suspected(member) if Some(member.id) == self.target => {
                    self.suspected.entry(*host).or_insert(at);
                }
                Event::Failed(member) => {
                    *self.given_up.entry((*host, member.id)).or_default() += 1;
                    if Some(member.id) == self.target {
                        self.failed.entry(*host).or_insert(at);
                    }
                }
                Event::Broadcast { .. } => {
                    self.told.entry(*host).or_insert(at);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

pub(crate) type Group = Sim<Eye>;

/// As many members who know each other, at the beginning of their first periods.
pub(crate) fn group(config: &Config, members: usize, seed: u64) -> Group {
    let mut sim = Sim::new(config.clone(), seed, Eye::default());
    for _ in 0..members {
        sim.add_next();
    }
    sim.start_acquainted();
    sim
}

/// Looks at one member from now on.
pub(crate) fn look_at(sim: &mut Group, host: usize) {
    let (id, address) = (sim.host(host).id, sim.host(host).address);
    sim.watch = Eye { target: Some(id), address: Some(address), since: sim.time(), ..Eye::default() };
}

/// How long after `from`, in `unit`s, each of these was.
pub(crate) fn after(times: &HashMap<usize, Duration>, from: Duration, unit: Duration) -> Vec<f64> {
    times.values().map(|at| at.saturating_sub(from).as_secs_f64() / unit.as_secs_f64()).collect()
}
