//! What one lane, or all of them, saw.

use std::time::Duration;

use hdrhistogram::Histogram;

/// 60 s: no request takes longer, since a job is given up sooner.
const LONGEST_NS: u64 = 60_000_000_000;

/// Counts and latencies.
#[derive(Debug)]
pub struct Tally {
    latencies: Histogram<u64>,
    failures: u64,
    first_failure: Option<String>,
}

impl Default for Tally {
    fn default() -> Self {
        // From 1 us on, with two digits: 30 KB a lane, and an error below 1 %.
        let latencies = Histogram::new_with_bounds(1_000, LONGEST_NS, 2);
        #[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
        let latencies = latencies.expect("1,000 is at least 1 and half of the longest at most");
        Self { latencies, failures: 0, first_failure: None }
    }
}

impl Tally {
    pub(super) fn answered(&mut self, after: Duration) {
        self.latencies.saturating_record(u64::try_from(after.as_nanos()).unwrap_or(LONGEST_NS));
    }

    pub(super) fn failed(&mut self, what: impl FnOnce() -> String) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(what);
    }

    pub(super) fn add(&mut self, other: Self) {
        // The bounds are the same, so adding cannot fail.
        let _ = self.latencies.add(&other.latencies);
        self.failures += other.failures;
        if self.first_failure.is_none() {
            self.first_failure = other.first_failure;
        }
    }

    /// Good answers.
    pub fn answers(&self) -> u64 {
        self.latencies.len()
    }

    /// Everything else, warm-up included.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// What the first failure was.
    pub fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    /// The latency that this share (0 to 1) of the answers did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(share))
    }
}
