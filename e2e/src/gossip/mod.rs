//! Gossip by itself: members without a store, as real processes and in the simulator, and what both saw.
//!
//! ```text
//! gossip_agent x 24, a network namespace each --lines--> real ------+
//!                                                                   +--> Seen, counted the same way
//! 24 cores in virtual time --------events--------------> simulated -+
//! ```

pub mod page;
pub mod real;
pub mod simulated;

use std::collections::BTreeSet;
use std::time::Duration;

use muster_cluster::swim::{Config, Lifeguard};

/// How members behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// The preset for one data centre, five times as fast: a period of 200 ms.
    Lifeguard,
    /// The same without any part of Lifeguard: SWIM with suspicion.
    Plain,
    /// As with Lifeguard, and whatever is sent is sealed with a key.
    Sealed,
}

impl Settings {
    /// As the protocol knows them.
    pub fn config(self) -> Config {
        let lifeguard = match self {
            Self::Lifeguard | Self::Sealed => Lifeguard::ALL,
            Self::Plain => Lifeguard::NONE,
        };
        Config {
            probe_interval: Duration::from_millis(200),
            probe_timeout: Duration::from_millis(80),
            probe_timeout_min: Duration::from_millis(10),
            gossip_interval: Duration::from_millis(40),
            exchange_interval: Duration::from_secs(6),
            exchange_timeout: Duration::from_secs(2),
            dead_probe_interval: Duration::from_secs(1),
            seed_interval: Duration::from_secs(3),
            lifeguard,
            ..Config::lan("gossip")
        }
    }

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lifeguard => "Lifeguard",
            Self::Plain => "plain",
            Self::Sealed => "sealed",
        }
    }
}

/// What was seen of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is there.
    Joined,
    /// It did not answer.
    Suspected,
    /// It showed that it lives.
    Refuted,
    /// It was given up.
    Failed,
}

/// One member saw something of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When, since some beginning.
    pub at: Duration,
    /// Who saw it, by number.
    pub by: usize,
    /// What.
    pub what: What,
    /// Of whom, by number.
    pub whom: usize,
    /// The stamp of its life.
    pub life: u64,
}

/// How the death of one member came to be known.
#[derive(Debug, Clone, Copy)]
pub struct Detection {
    /// Until the first other suspected it.
    pub suspected: Duration,
    /// Until the first other gave it up.
    pub failed: Duration,
    /// Until all had.
    pub known: Duration,
}

/// How the death of `victim` at `since` came to be known to `survivors`; none while one of them does not know.
///
/// What stands is the last word of each. One that was suspected before it died may be given up for that, come back with the refutation that it
/// sent with its last breath, and be given up again: the first of these is no detection, and who is started again in between is not seen to join.
pub fn detection(seen: &[Seen], victim: usize, since: Duration, survivors: &BTreeSet<usize>) -> Option<Detection> {
    let of = || seen.iter().filter(|seen| seen.whom == victim && survivors.contains(&seen.by));
    let gave_up = |by: usize| {
        let last = of().filter(|seen| seen.by == by).max_by_key(|seen| seen.at)?;
        (last.what == What::Failed && last.at >= since).then_some(last.at)
    };
    let all: Vec<Duration> = survivors.iter().map(|by| gave_up(*by)).collect::<Option<_>>()?;
    let (failed, known) = (*all.iter().min()?, *all.iter().max()?);
    let suspicions = of().filter(|seen| seen.what == What::Suspected && seen.at >= since);
    // With a plain give-up heard before any suspicion, the two are one.
    let suspected = suspicions.map(|seen| seen.at).min().unwrap_or(failed).min(failed);
    Some(Detection { suspected: suspected - since, failed: failed - since, known: known - since })
}

/// Who was wronged while all lived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wrongs {
    /// Lives that somebody suspected.
    pub suspected: usize,
    /// Lives that somebody gave up.
    pub failed: usize,
}

/// Counts them from `since` on: each life once, however many heard of it.
pub fn wrongs(seen: &[Seen], since: Duration) -> Wrongs {
    let lives = |what: What| -> usize {
        let hits = seen.iter().filter(|seen| seen.what == what && seen.at >= since);
        hits.map(|seen| (seen.whom, seen.life)).collect::<BTreeSet<_>>().len()
    };
    Wrongs { suspected: lives(What::Suspected), failed: lives(What::Failed) }
}

/// Whether all of `members` have seen each other since `since`; when the last did.
pub fn joined(seen: &[Seen], members: usize, since: Duration) -> Option<Duration> {
    let mut last = since;
    for by in 0..members {
        for whom in (0..members).filter(|whom| *whom != by) {
            let hit =
                |seen: &&Seen| seen.what == What::Joined && seen.by == by && seen.whom == whom && seen.at >= since;
            last = last.max(seen.iter().find(hit)?.at);
        }
    }
    Some(last - since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_known_when_it_is_the_last_word_of_all() {
        let survivors = BTreeSet::from([0, 1]);
        let word = |millis, by, what, life| Seen { at: Duration::from_millis(millis), by, what, whom: 2, life };
        let since = Duration::from_millis(1_000);
        let mut seen = vec![
            word(10, 0, What::Joined, 1),
            word(10, 1, What::Joined, 1),
            word(900, 0, What::Suspected, 1),
            // Killed at 1,000, after it had refuted that: member 1 hears of it at 1,500.
            word(1_400, 0, What::Failed, 1),
            word(1_410, 1, What::Failed, 1),
            word(1_500, 1, What::Joined, 2),
        ];
        assert!(detection(&seen, 2, since, &survivors).is_none(), "member 1 holds it to be alive");
        seen.extend([word(2_400, 1, What::Suspected, 2), word(3_000, 1, What::Failed, 2)]);
        let death = detection(&seen, 2, since, &survivors).unwrap();
        assert_eq!((death.failed.as_millis(), death.known.as_millis()), (400, 2_000));
        assert!(detection(&seen[..4], 2, since, &survivors).is_none(), "member 1 has not said it");
    }
}
