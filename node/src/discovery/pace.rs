//! When to ask a registry again: arithmetic only.

use std::time::Duration;

/// 250 ms: a node without a cluster asks four times a second, so that the founding costs less than a second in all.
const NEWCOMER: Duration = Duration::from_millis(250);
/// 100 ms: the first try after a failure; a registry that restarts is back about as soon.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// 600 ms: a registry that lost its memory listens for a second before it offers a founding. Whoever has a cluster must be
/// heard in that second, so no retry waits longer, jitter included.
const LAST_RETRY: Duration = Duration::from_millis(600);

/// How a node asks one registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// After an answer: how long until the next renewal. `chance` is in `0.0..1.0`.
    pub(super) fn answered(&mut self, lease: Duration, has_cluster: bool, chance: f64) -> Duration {
        self.failures = 0;
        let third = lease / 3;
        jittered(if has_cluster { third } else { third.min(NEWCOMER) }, chance)
    }

    /// After a failure: how long until the next try.
    pub(super) fn failed(&mut self, chance: f64) -> Duration {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        jittered(doubled.min(LAST_RETRY), chance)
    }
}

/// Between 75 % and 100 %, never more: a lease must not be missed for the sake of jitter.
fn jittered(full: Duration, chance: f64) -> Duration {
    full.mul_f64(0.75 + 0.25 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(6);

    #[test]
    fn a_member_renews_at_a_third_of_the_lease_and_a_newcomer_asks_faster() {
        let mut pace = Pace::default();
        assert_eq!(pace.answered(LEASE, true, 1.0), Duration::from_secs(2));
        assert_eq!(pace.answered(LEASE, true, 0.0), Duration::from_millis(1_500));
        assert_eq!(pace.answered(LEASE, false, 1.0), NEWCOMER);
        assert_eq!(pace.answered(Duration::from_millis(300), false, 1.0), Duration::from_millis(100));
    }

    #[test]
    fn failures_wait_longer_up_to_a_bound_and_an_answer_starts_over() {
        let mut pace = Pace::default();
        let waits: Vec<u128> = (0..5).map(|_| pace.failed(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 600, 600]);
        for _ in 0..100 {
            assert!(pace.failed(1.0) <= LAST_RETRY);
        }
        pace.answered(LEASE, true, 1.0);
        assert_eq!(pace.failed(1.0), FIRST_RETRY);
    }
}
