//! Stands in for the crate `base2histogram`, of which openraft keeps a dozen histograms of its own doings.
//!
//! The published crate (0.2.3) makes tables for sixteen resolutions when the first histogram is made and keeps them: 27 MiB, two thirds
//! of what a node may take at rest, for one resolution that openraft uses and figures that Muster never asks for. This one has the part of
//! its interface that openraft 0.10.0-alpha.37 names, over 64 buckets, one for each power of two. `[patch.crates-io]` in the workspace puts
//! it in place. Remove both once a release makes its tables when they are first asked for.

use std::fmt;
use std::marker::PhantomData;

/// Counts values by their power of two. A percentile is the upper end of the bucket that it falls into: at most twice too high.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    buckets: [u64; 64],
    /// The published crate keeps data beside a histogram's periods; here there is one period without data.
    data: PhantomData<T>,
}

/// Percentiles of what was recorded; all 0 of nothing.
#[expect(missing_docs, reason = "the names say which percentile each is")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl Histogram<()> {
    /// Of nothing.
    pub fn new() -> Self {
        Self { buckets: [0; 64], data: PhantomData }
    }
}

impl Default for Histogram<()> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        self.buckets[(u64::BITS - value.leading_zeros()).min(63) as usize] += count;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value that this share (0 to 1) of all is not above.
    pub fn percentile(&self, share: f64) -> u64 {
        let total = self.total();
        if total == 0 {
            return 0;
        }
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.map_or(u64::MAX, |bits| (1u64 << bits) - 1)
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n={} p50={} p90={} p99={} p99.9={}", self.samples, self.p50, self.p90, self.p99, self.p99_9)
    }
}

/// Several histograms by name. The published crate draws them; this one lists their percentiles.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// Of no series.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn add<T>(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.series.push((name.to_owned(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, stats) in &self.series {
            writeln!(f, "{name}: {stats}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_twice_too_high() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        for value in 0..=1000 {
            histogram.record(value);
        }
        histogram.record(u64::MAX);
        for (share, exact) in [(0.1, 100), (0.5, 500), (0.9, 900)] {
            let found = histogram.percentile(share);
            assert!(found >= exact && found <= 2 * exact, "{share}: {found}");
        }
        assert_eq!(histogram.total(), 1002);
    }
}
