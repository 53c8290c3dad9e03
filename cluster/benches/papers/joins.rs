//! Members that join one by one while packets are lost: SWIM, section 5, "false positives"; and the Go library's version of it.

use std::time::Duration;

use muster_cluster::sim::Sim;
use muster_cluster::swim::Config;

use crate::foca;
use crate::group::Eye;
use crate::options::Options;
use crate::report::{Section, two};
use crate::statistics::{mean, quantile};
use crate::swim::papers_settings;

const MEMBERS: usize = 17;
const PERIODS: u32 = 87;
const LOSS: f64 = 0.1;

/// The group sizes that were seen from the period on in which the last one should have settled.
pub(crate) struct Sizes {
    /// Of every member in every period.
    pub(crate) all: Vec<f64>,
    /// The smallest of any member in every period.
    pub(crate) least: Vec<f64>,
}

impl Sizes {
    pub(crate) const fn new() -> Self {
        Self { all: Vec::new(), least: Vec::new() }
    }

    /// Notes what members see at the end of a period.
    pub(crate) fn note(&mut self, period: u32, seen: &[usize]) {
        // One joins a period, and the last has as long again to become known.
        if period < 2 * MEMBERS as u32 {
            return;
        }
        self.all.extend(seen.iter().map(|size| *size as f64));
        self.least.extend(seen.iter().min().map(|size| *size as f64));
    }

    fn add(&mut self, other: Self) {
        self.all.extend(other.all);
        self.least.extend(other.least);
    }

    fn row(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            two(mean(&self.all)),
            format!("{:.2} %", 100.0 * self.full()),
            two(mean(&self.least)),
            format!("{:.0}", quantile(&self.least, 0.0)),
        ]
    }

    /// How many of all samples show the whole group.
    fn full(&self) -> f64 {
        self.all.iter().filter(|size| **size == MEMBERS as f64).count() as f64 / self.all.len() as f64
    }
}

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("Seventeen members join one by one at 10 % loss");
    let runs = options.runs(200);
    section.note(format!(
        "One member joins in each period, one of ten datagrams is lost, 87 periods. What group size does each member see at the end of each period, once \
         the last has had as long to become known as all took to join (periods 35 to 87)? {runs} runs. Streams lose nothing: TCP repeats."
    ));
    let paper = papers_settings();
    let exchanged = Config {
        exchange_interval: Duration::from_secs(30),
        dead_probe_interval: Duration::from_secs(5),
        ..paper.clone()
    };
    let lan = Config::lan("joins");
    let mut rows = Vec::new();
    let mut met = Vec::new();
    for (name, config) in [
        ("Muster, the paper's settings (plain SWIM, K = 1, 2 s, no gossip tick, no exchange)", paper),
        ("the same with our full exchange and probes of the dead", exchanged),
        ("Muster, preset `lan` as shipped", lan),
    ] {
        let mut sizes = Sizes::new();
        (0..runs).for_each(|run| sizes.add(joined(&config, options.seed + run)));
        met.push((name, sizes.full()));
        rows.push(sizes.row(name));
    }
    for (name, shipped) in [
        ("foca 2.0, the same periods, relays, transmissions and suspicion time-outs", false),
        ("foca 2.0, its own `new_lan`", true),
    ] {
        let mut sizes = Sizes::new();
        (0..runs).for_each(|run| sizes.add(foca::joined(shipped, MEMBERS, PERIODS, LOSS, options.seed + run)));
        rows.push(sizes.row(name));
    }
    rows.push(["Go library `membership` (published)", "16.5 to 16.9", "-", "-", "14"].map(str::to_owned).to_vec());
    rows.push(["SWIM, the paper's own, with suspicion", "12", "-", "-", "-"].map(str::to_owned).to_vec());
    section.table(&["", "size seen (mean)", "17 seen in", "smallest of all members (mean)", "least ever"], &rows);
    for (name, full) in met {
        section.goal(full >= 0.97, format!("17 in at least 97 % of samples, {name}: {:.2} %", 100.0 * full));
    }
    section
}

fn joined(config: &Config, seed: u64) -> Sizes {
    let mut sim = Sim::new(config.clone(), seed, Eye::default());
    sim.network.loss = LOSS;
    let seeds = vec![Sim::<()>::address(1)];
    let mut sizes = Sizes::new();
    for period in 0..PERIODS {
        if sim.len() < MEMBERS {
            let host = sim.add_next();
            sim.start(host, seeds.clone());
        }
        sim.run(config.probe_interval);
        let seen: Vec<usize> = sim.hosts().filter_map(|host| host.swim.as_ref()).map(|swim| swim.live()).collect();
        sizes.note(period, &seen);
    }
    sizes
}
