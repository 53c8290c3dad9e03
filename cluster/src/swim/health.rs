//! How well we are ourselves: a score that rises with every sign that we are slow, and stretches our probes
//! (Lifeguard, section IV-A).
//!
//! | sign | score |
//! |---|---|
//! | a probe was answered | -1 |
//! | a probe failed, and no relay was there that could have said anything | +1 |
//! | a relay of a failed probe said nothing at all, not even that it heard nothing either (missed nack) | +1 for each |
//! | we had to refute | +1 |
//! | our own period timer went off late | +1 |
//!
//! A failed probe whose relays all spoke is no sign: they hear us and we hear them, so it is the target that is gone. So it is done in
//! the implementation that the paper's figures come from.

use std::time::Duration;

/// The score: 0 is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    score: u32,
    worst: u32,
}

impl Health {
    /// Well, and never above `worst`.
    pub(super) const fn new(worst: u32) -> Self {
        Self { score: 0, worst }
    }

    pub(super) const fn score(self) -> u32 {
        self.score
    }

    pub(super) fn worse(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(self.worst);
    }

    pub(super) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// `score + 1` times as long.
    pub(super) fn stretch(self, duration: Duration) -> Duration {
        duration.saturating_mul(self.score.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_within_its_bounds_and_stretches() {
        let mut health = Health::new(3);
        health.better();
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(1));
        health.worse(2);
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(3));
        health.worse(u32::MAX);
        assert_eq!(health.score(), 3);
        for _ in 0..4 {
            health.better();
        }
        assert_eq!(health.score(), 0);
    }
}
