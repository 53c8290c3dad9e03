//! The same members in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_cluster::sim::{Latency, Record, Sim};
use muster_cluster::swim::Event;

use super::{Detection, Seen, Settings, What, Wrongs, detection, joined, wrongs};

/// Until a packet has gone through two cables and a switch of one machine, and its receiver has its turn.
const LATENCY: Latency = Latency::Uniform(Duration::from_micros(50), Duration::from_micros(500));

/// Members in virtual time, each knowing the first, all started at once.
#[derive(Debug)]
pub struct Members {
    sim: Sim<Record>,
    count: usize,
}

impl Members {
    /// Starts so many.
    pub fn start(count: usize, settings: Settings, seed: u64) -> Self {
        let mut sim = Sim::new(settings.config(), seed, Record::default());
        sim.network.latency = LATENCY;
        for _ in 0..count {
            sim.add_next();
        }
        let first = vec![sim.host(0).address];
        (0..count).for_each(|host| sim.start(host, first.clone()));
        Self { sim, count }
    }

    fn seen(&self) -> Vec<Seen> {
        let events = self.sim.watch.events.iter();
        events
            .filter_map(|(at, by, event)| {
                let (what, member) = match event {
                    Event::Joined(member) => (What::Joined, member),
                    Event::Suspected(member) => (What::Suspected, member),
                    Event::Refuted(member) => (What::Refuted, member),
                    Event::Failed(member) => (What::Failed, member),
                    _ => return None,
                };
                let whom = usize::try_from(member.id.as_u128() - 1).ok()?;
                Some(Seen { at: *at, by: *by, what, whom, life: member.incarnation.to_bits() })
            })
            .collect()
    }

    /// Until all saw all.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub fn joined(&mut self) -> Duration {
        for _ in 0..600 {
            self.sim.run(Duration::from_millis(100));
            if let Some(took) = joined(&self.seen(), self.count, Duration::ZERO) {
                return took;
            }
        }
        panic!("they do not find each other: {:?}", self.sim.agree());
    }

    /// Kills the last so many at once, and tells how each death came to be known.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub fn kill(&mut self, victims: usize) -> Vec<Detection> {
        // Between two periods, wherever: not in step with the start.
        self.sim.run(Duration::from_millis(1_037));
        let since = self.sim.time();
        let alive: BTreeSet<usize> = (0..self.count - victims).collect();
        (alive.len()..self.count).for_each(|host| self.sim.crash(host));
        for _ in 0..60 {
            self.sim.run(Duration::from_secs(1));
            let seen = self.seen();
            let all: Option<Vec<_>> =
                (alive.len()..self.count).map(|victim| detection(&seen, victim, since, &alive)).collect();
            if let Some(all) = all {
                return all;
            }
        }
        panic!("a death is not known to all after a minute");
    }

    /// Loses so many of all packets (0 to 1) for so long, and counts who was wronged.
    pub fn lose(&mut self, loss: f64, time: Duration) -> Wrongs {
        self.sim.network.loss = loss;
        let since = self.sim.time();
        self.sim.run(time);
        wrongs(&self.seen(), since)
    }
}
