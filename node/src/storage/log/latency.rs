//! How long the last syncs took.

use std::time::Duration;

/// Enough that the 99th percentile rests on ten of them; at 8,000 syncs a second an eighth of a second.
const KEPT: usize = 1024;

/// The last syncs, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Latency {
    last: Vec<u32>,
    next: usize,
}

impl Latency {
    pub(super) fn record(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.last.len() < KEPT {
            self.last.push(micros);
        } else {
            self.last[self.next] = micros;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Median and 99th percentile; zero before the first sync.
    pub(super) fn percentiles(&self) -> (Duration, Duration) {
        let mut sorted = self.last.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let micros = sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or(0);
            Duration::from_micros(u64::from(micros))
        };
        (at(50), at(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_syncs_only() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), (Duration::ZERO, Duration::ZERO));
        for _ in 0..KEPT {
            latency.record(Duration::from_secs(9));
        }
        for micros in 1..=KEPT as u64 {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.percentiles(), (Duration::from_micros(513), Duration::from_micros(1014)));
    }
}
