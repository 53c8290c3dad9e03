//! When to ask a registry again: arithmetic only.

use std::time::Duration;

/// A node without a cluster asks three times as often as it has to: about four times a second where there are few, so that
/// founding and joining wait for the others and not for the next request.
const NEWCOMER: u32 = 3;
/// 50 ms, whatever a registry says: nobody is asked in a loop.
const SHORTEST: Duration = Duration::from_millis(50);
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
    /// After an answer, which said when to renew: how long until the next request. `chance` is in `0.0..1.0`.
    pub(super) fn answered(&mut self, renewal: Duration, has_cluster: bool, chance: f64) -> Duration {
        self.failures = 0;
        let wanted = if has_cluster { renewal } else { renewal / NEWCOMER };
        jittered(wanted.max(SHORTEST), chance)
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

    const RENEWAL: Duration = Duration::from_millis(1_200);

    #[test]
    fn a_member_renews_when_it_is_told_and_a_newcomer_asks_faster() {
        let mut pace = Pace::default();
        assert_eq!(pace.answered(RENEWAL, true, 1.0), RENEWAL);
        assert_eq!(pace.answered(RENEWAL, true, 0.0), Duration::from_millis(900));
        assert_eq!(pace.answered(RENEWAL, false, 1.0), Duration::from_millis(400));
        assert_eq!(pace.answered(Duration::ZERO, true, 1.0), SHORTEST);
    }

    #[test]
    fn failures_wait_longer_up_to_a_bound_and_an_answer_starts_over() {
        let mut pace = Pace::default();
        let waits: Vec<u128> = (0..5).map(|_| pace.failed(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 600, 600]);
        for _ in 0..100 {
            assert!(pace.failed(1.0) <= LAST_RETRY);
        }
        pace.answered(RENEWAL, true, 1.0);
        assert_eq!(pace.failed(1.0), FIRST_RETRY);
    }
}
