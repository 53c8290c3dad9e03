//! How long a suspect has to refute, and which suspicions are running.
//!
//! Every member that hears of a suspicion runs its own clock for it: whoever is first gives the suspect up and says so. The
//! accusers are kept apart, since each that speaks from its own experience makes it likelier that the suspect is gone, and not
//! the first accuser deaf (Lifeguard, section IV-B):
//!
//! ```text
//!   time-out
//!   most  |*            most - (most - least) * ln(C + 1) / ln(K + 1)
//!         |   *
//!         |       *
//!   least |           *-----
//!         +----------------- C, accusers beyond the first
//!          0  1   2   3=K
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::hlc::Stamp;
use crate::time::Mono;

/// The least: `multiplier * max(1, log10(n + 1)) * interval`. As news take longer to spread among many, so does the refutation.
pub(super) fn time_out(multiplier: u32, interval: Duration, members: usize) -> Duration {
    let scale = (members as f64 + 1.0).log10().max(1.0);
    interval.saturating_mul(multiplier).mul_f64(scale)
}

/// What is left between `most` and `least` after `confirmed` of `wanted` confirmations. Nobody to wait for: the least.
pub(super) fn shrunk(least: Duration, most: Duration, confirmed: usize, wanted: usize) -> Duration {
    if confirmed >= wanted {
        return least;
    }
    let share = (confirmed as f64 + 1.0).ln() / (wanted as f64 + 1.0).ln();
    most.saturating_sub(most.saturating_sub(least).mul_f64(share)).max(least)
}

/// One life that is suspected.
#[derive(Debug, Clone)]
pub(super) struct Suspicion {
    /// Which.
    pub(super) stamp: Stamp,
    /// When its time began.
    pub(super) since: Mono,
    /// When its time ends, as far as it is known now.
    pub(super) deadline: Mono,
    /// What its time is multiplied with, in thousandths: members that heard of it together should not all announce the end.
    pub(super) jitter: u32,
    accusers: Vec<Uuid>,
}

impl Suspicion {
    /// Who said so, the first one first. Empty when that came without a name.
    pub(super) fn accusers(&self) -> &[Uuid] {
        &self.accusers
    }

    /// How many said so after the first.
    pub(super) fn confirmations(&self) -> usize {
        self.accusers.len().saturating_sub(1)
    }
}

/// The suspicions that are running.
#[derive(Debug, Default)]
pub(super) struct Suspicions(BTreeMap<Uuid, Suspicion>);

impl Suspicions {
    /// A life is suspected; whether that is new.
    pub(super) fn start(&mut self, id: Uuid, stamp: Stamp, now: Mono, jitter: u32) -> bool {
        if self.is_running(id, stamp) {
            return false;
        }
        self.0.insert(id, Suspicion { stamp, since: now, deadline: now, jitter, accusers: Vec::new() });
        true
    }

    /// Adds an accuser while there are fewer than `most`; whether that is new.
    pub(super) fn accuse(&mut self, id: Uuid, stamp: Stamp, by: Uuid, most: usize) -> bool {
        let Some(suspicion) = self.0.get_mut(&id).filter(|suspicion| suspicion.stamp == stamp) else { return false };
        let new = suspicion.accusers.len() < most && !suspicion.accusers.contains(&by);
        if new {
            suspicion.accusers.push(by);
        }
        new
    }

    /// The suspicion is over, one way or the other.
    pub(super) fn end(&mut self, id: Uuid) -> Option<Suspicion> {
        self.0.remove(&id)
    }

    /// Which life of it is suspected, and since when.
    pub(super) fn running(&self, id: Uuid) -> Option<&Suspicion> {
        self.0.get(&id)
    }

    pub(super) fn running_mut(&mut self, id: Uuid) -> Option<&mut Suspicion> {
        self.0.get_mut(&id)
    }

    /// Whether this life is still suspected.
    pub(super) fn is_running(&self, id: Uuid, stamp: Stamp) -> bool {
        self.0.get(&id).is_some_and(|suspicion| suspicion.stamp == stamp)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The suspects.
    pub(super) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.0.keys().copied()
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
    fn confirmations_shrink_it_the_first_most() {
        let (least, most) = (Duration::from_secs(4), Duration::from_secs(24));
        let after = |confirmed| shrunk(least, most, confirmed, 3);
        assert_eq!(after(0), most);
        assert_eq!(after(1), Duration::from_secs(14), "ln 2 is half of ln 4");
        assert!(after(2) > least && after(2) < after(1));
        assert_eq!(after(3), least);
        assert_eq!(after(9), least);
        assert_eq!(shrunk(least, most, 0, 0), least, "nobody could confirm it");
        assert_eq!(shrunk(most, least, 1, 3), most, "never below the least");
    }

    #[test]
    fn a_timer_of_an_older_life_is_stale() {
        let mut running = Suspicions::default();
        let (id, old, new) = (Uuid::from_u128(1), Stamp::from_bits(1), Stamp::from_bits(2));
        assert!(running.start(id, old, Mono::ZERO, 1_000));
        assert!(!running.start(id, old, Mono::ZERO, 1_000));
        assert!(running.start(id, new, Mono::ZERO, 1_000));
        assert!(!running.is_running(id, old));
        assert!(running.is_running(id, new));
        running.end(id);
        assert!(!running.is_running(id, new));
    }

    #[test]
    fn each_accuser_counts_once_and_for_one_life() {
        let mut running = Suspicions::default();
        let (id, stamp) = (Uuid::from_u128(1), Stamp::from_bits(2));
        running.start(id, stamp, Mono::ZERO, 1_000);
        let mut accuse = |by, stamp| running.accuse(id, stamp, Uuid::from_u128(by), 3);
        assert!(accuse(2, stamp));
        assert!(!accuse(2, stamp));
        assert!(!accuse(3, Stamp::from_bits(1)), "of another life");
        assert!(accuse(3, stamp) && accuse(4, stamp));
        assert!(!accuse(5, stamp), "full");
        let suspicion = running.running(id).expect("it runs");
        assert_eq!(suspicion.confirmations(), 2);
        assert_eq!(suspicion.accusers()[0], Uuid::from_u128(2));
    }
}
