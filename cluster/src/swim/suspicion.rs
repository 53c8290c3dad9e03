//! How long a suspect has to refute, and which suspicions are running.
//!
//! Every member that hears of a suspicion runs its own clock for it: whoever is first gives the suspect up and says so. The
//! accusers are kept apart, so that a time-out that shrinks with each independent one (Lifeguard) is one more argument to
//! [`time_out`].

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::hlc::Stamp;

/// `multiplier * max(1, log10(n + 1)) * interval`: as news take longer to spread among many, so does the refutation.
pub(super) fn time_out(multiplier: u32, interval: Duration, members: usize) -> Duration {
    let scale = (members as f64 + 1.0).log10().max(1.0);
    interval.saturating_mul(multiplier).mul_f64(scale)
}

/// The suspicions that are running: which life of whom.
#[derive(Debug, Default)]
pub(super) struct Suspicions(BTreeMap<Uuid, Stamp>);

impl Suspicions {
    /// A life is suspected; whether that is new, and its time begins.
    pub(super) fn start(&mut self, id: Uuid, stamp: Stamp) -> bool {
        self.0.insert(id, stamp) != Some(stamp)
    }

    /// The suspicion is over, one way or the other.
    pub(super) fn end(&mut self, id: Uuid) {
        self.0.remove(&id);
    }

    /// Which life of it is suspected.
    pub(super) fn running(&self, id: Uuid) -> Option<Stamp> {
        self.0.get(&id).copied()
    }

    /// Whether the timer that went off is the one that counts: the same life is still suspected.
    pub(super) fn is_running(&self, id: Uuid, stamp: Stamp) -> bool {
        self.0.get(&id) == Some(&stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_grows_with_the_logarithm() {
        let second = Duration::from_secs(1);
        assert_eq!(time_out(4, second, 3), Duration::from_secs(4));
        assert_eq!(time_out(4, second, 9), Duration::from_secs(4));
        assert_eq!(time_out(4, second, 99), Duration::from_secs(8));
    }

    #[test]
    fn a_timer_of_an_older_life_is_stale() {
        let mut running = Suspicions::default();
        let (id, old, new) = (Uuid::from_u128(1), Stamp::from_bits(1), Stamp::from_bits(2));
        assert!(running.start(id, old));
        assert!(!running.start(id, old));
        assert!(running.start(id, new));
        assert!(!running.is_running(id, old));
        assert!(running.is_running(id, new));
        running.end(id);
        assert!(!running.is_running(id, new));
    }
}
