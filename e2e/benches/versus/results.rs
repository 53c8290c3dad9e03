//! What was measured, and the arithmetic on it: medians, spreads and ratios.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_e2e::drive::{Outcome, Usage};

use crate::cell::Cell;

/// One measurement of one system in one cell.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Good answers a second.
    pub(crate) rate: f64,
    /// Median latency in microseconds.
    pub p50: f64,
    /// 99th percentile in microseconds.
    pub p99: f64,
    /// Processor time of all its servers, in microseconds a request.
    pub(crate) processor: f64,
    /// The kernel's share of that.
    pub(crate) system_share: f64,
    /// Processors that the servers kept busy.
    pub(crate) busy: f64,
    /// Processors that the generator kept busy.
    pub(crate) generator: f64,
    /// Memory of the largest server, in MiB.
    pub(crate) memory: f64,
    /// What failed.
    pub(crate) failures: u64,
    /// The first of it.
    pub(crate) first_failure: Option<String>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    samples: BTreeMap<(Cell, &'static str), Vec<Sample>>,
    /// Memory of each server at rest after the load, in MiB.
    pub(crate) rested: Vec<(&'static str, Vec<f64>)>,
}

/// Median, least and most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// Half are below.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Sample {
    /// What an outcome says.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
    pub(crate) fn new(outcome: &Outcome) -> Self {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let user: Duration = outcome.servers.iter().map(|usage| usage.user).sum();
        let system: Duration = outcome.servers.iter().map(|usage| usage.system).sum();
        let largest = outcome.servers.iter().map(|usage| usage.resident).max().unwrap_or(0);
        let (processor, took) = (user + system, outcome.took.as_secs_f64());
        Self {
            rate: outcome.rate(),
            p50: micros(outcome.tally.quantile(0.5)),
            p99: micros(outcome.tally.quantile(0.99)),
            processor: micros(processor) / (outcome.tally.answers().max(1) as f64),
            system_share: system.as_secs_f64() / processor.as_secs_f64().max(f64::EPSILON),
            busy: processor.as_secs_f64() / took,
            generator: outcome.own.processor().as_secs_f64() / took,
            memory: largest as f64 / MIB,
            failures: outcome.tally.failures(),
            first_failure: outcome.tally.first_failure().map(str::to_owned),
        }
    }
}

impl Results {
    /// Notes a measurement.
    pub(crate) fn add(&mut self, cell: Cell, system: &'static str, sample: Sample) {
        self.samples.entry((cell, system)).or_default().push(sample);
    }

    /// Notes what the servers hold at rest.
    #[expect(clippy::cast_precision_loss, reason = "sizes below 2^52")]
    pub(crate) fn rest(&mut self, system: &'static str, servers: &[Usage]) {
        self.rested.push((system, servers.iter().map(|usage| usage.resident as f64 / MIB).collect()));
    }

    /// The cells that were measured, in the order of the tables.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.samples.keys().map(|(cell, _)| *cell).collect();
        cells.dedup();
        cells
    }

    /// All rounds of one system in one cell, in order; none where it was not measured.
    pub(crate) fn of(&self, cell: Cell, system: &'static str) -> &[Sample] {
        self.samples.get(&(cell, system)).map_or(&[], Vec::as_slice)
    }

    /// One figure of one system in one cell.
    pub(crate) fn spread(&self, cell: Cell, system: &'static str, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.of(cell, system).iter().map(figure).collect())
    }

    /// One figure of one system over another's, round by round: what disturbs a whole round disturbs both.
    pub(crate) fn ratio(
        &self,
        cell: Cell,
        (system, over): (&'static str, &'static str),
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let pairs = self.of(cell, system).iter().zip(self.of(cell, over));
        Spread::of(pairs.map(|(a, b)| figure(a) / figure(b)).collect())
    }
}

impl Spread {
    /// Of these figures; `None` of none.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { median, least, most })
    }
}
