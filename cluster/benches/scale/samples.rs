//! What steps cost.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this thread has had of its processor: other programs on the machine do not count.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// One step: how long it took, and how often it allocated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) took: Duration,
    pub(crate) allocations: u64,
}

/// All steps of a phase.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    pub(crate) fn with_capacity(steps: usize) -> Self {
        Self(Vec::with_capacity(steps))
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn mean(&self) -> Duration {
        self.0.iter().map(|sample| sample.took).sum::<Duration>() / u32::try_from(self.0.len().max(1)).expect("fewer")
    }

    /// The least time within which all but so many of a million steps were done.
    pub(crate) fn all_but(&self, millionths: usize) -> Duration {
        let mut took: Vec<Duration> = self.0.iter().map(|sample| sample.took).collect();
        took.sort_unstable();
        let beyond = took.len() * millionths / 1_000_000;
        took.iter().rev().nth(beyond).copied().unwrap_or_default()
    }

    pub(crate) fn allocations(&self) -> u64 {
        self.0.iter().map(|sample| sample.allocations).sum()
    }

    pub(crate) fn allocating(&self) -> usize {
        self.0.iter().filter(|sample| sample.allocations > 0).count()
    }
}
