//! What can be expected of a cluster like this one: how surely a member is probed in a period, and how long news take.

use std::time::Duration;

/// Probes after which the old ones count half.
const FADE_AT: u32 = 1_024;

/// News are taken to be everywhere when fewer than this many members are expected not to have them.
const NOBODY: f64 = 0.5;

/// More rounds than any cluster needs.
const ROUNDS: u32 = 1_000;

/// What share of datagrams is lost, by the probes that were answered one way or the other: the direct way needs two of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loss {
    answered: u32,
    directly: u32,
}

impl Loss {
    /// A probe was answered, by the target's own datagram or only otherwise.
    pub(super) fn note(&mut self, directly: bool) {
        self.answered += 1;
        self.directly += u32::from(directly);
        if self.answered >= FADE_AT {
            self.answered /= 2;
            self.directly /= 2;
        }
    }

    /// Between 0 and 1; 0 while nothing is known.
    pub(super) fn share(self) -> f64 {
        if self.answered == 0 { 0.0 } else { 1.0 - (f64::from(self.directly) / f64::from(self.answered)).sqrt() }
    }
}

/// The chance that a member is probed by somebody within one period: `1 - (1 - d / (n - 1))^(n - 1)`, for many members 1 - 1/e
/// with one direct probe (SWIM, section 3.1). Between 0 and 1; 0 when we are alone.
pub(super) fn ping_chance(members: usize, direct_probes: usize) -> f64 {
    let others = members.saturating_sub(1) as f64;
    if others < 1.0 {
        return 0.0;
    }
    1.0 - (1.0 - (direct_probes as f64 / others).min(1.0)).powf(others)
}

/// How long until all know of a piece of news that one has, by the gossip tick alone: in each round, every member that knows tells
/// `fanout` others at random. That is an upper bound: probes carry news as well.
pub(super) fn all_know(members: usize, fanout: usize, loss: f64, interval: Duration) -> Duration {
    let all = members as f64;
    let told = (fanout as f64 * (1.0 - loss) / (all - 1.0).max(1.0)).clamp(0.0, 1.0);
    let mut know = 1.0_f64.min(all);
    let mut rounds = 0;
    while all - know >= NOBODY && rounds < ROUNDS {
        know = all - (all - know) * (1.0 - told).powf(know);
        rounds += 1;
    }
    interval.saturating_mul(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_of_a_ping_is_that_of_the_paper() {
        assert_eq!(ping_chance(1, 1), 0.0);
        assert_eq!(ping_chance(2, 1), 1.0);
        assert!((ping_chance(3, 1) - 0.75).abs() < 1e-9);
        assert!((ping_chance(10_000, 1) - 0.632).abs() < 1e-3);
        assert!((ping_chance(10_000, 2) - 0.865).abs() < 1e-3);
        assert_eq!(ping_chance(3, 5), 1.0);
    }

    #[test]
    fn news_take_the_logarithm_of_the_members_and_longer_with_loss() {
        let tick = Duration::from_millis(200);
        let time = |members, loss| all_know(members, 3, loss, tick);
        assert_eq!(time(1, 0.0), Duration::ZERO);
        assert_eq!(time(2, 0.0), tick);
        // Serf's formula gives 1.4 s for 100 members and 2.0 s for 10,000 until 99 of 100 know; here it is until all do.
        assert!((Duration::from_millis(1_000)..=Duration::from_millis(1_800)).contains(&time(100, 0.0)));
        assert!((Duration::from_millis(1_800)..=Duration::from_millis(3_000)).contains(&time(10_000, 0.0)));
        assert!(time(1_000, 0.25) > time(1_000, 0.0));
        assert!(time(100, 1.0) > Duration::from_secs(60), "nobody ever hears");
    }

    #[test]
    fn loss_is_that_of_one_packet_of_two() {
        let mut loss = Loss::default();
        assert_eq!(loss.share(), 0.0);
        for number in 0..10_000 {
            // Ten of a hundred packets lost: 81 of a hundred probes come back directly.
            loss.note(number % 100 < 81);
        }
        assert!((loss.share() - 0.1).abs() < 0.02, "{}", loss.share());
    }
}
