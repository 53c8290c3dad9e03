//! Gossip by itself: members without a store, as real processes and in the simulator, and what both saw.
//!
//! ```text
//! gossip_agent x 24, a network namespace each --lines--> real ------+
//!                                                                   +--> Seen, counted the same way
//! 24 cores in virtual time --------events--------------> simulated -+
//! ```

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
}

impl Settings {
    /// As the protocol knows them.
    pub fn config(self) -> Config {
        let lifeguard = match self {
            Self::Lifeguard => Lifeguard::ALL,
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
pub fn detection(seen: &[Seen], victim: usize, since: Duration, survivors: &BTreeSet<usize>) -> Option<Detection> {
    let of = |what| {
        let hits = seen.iter().filter(move |seen| seen.what == what && seen.whom == victim && seen.at >= since);
        hits.filter(|seen| survivors.contains(&seen.by))
    };
    let first = |by: usize| of(What::Failed).filter(|seen| seen.by == by).map(|seen| seen.at).min();
    let all: Vec<Duration> = survivors.iter().map(|by| first(*by)).collect::<Option<_>>()?;
    let (failed, known) = (*all.iter().min()?, *all.iter().max()?);
    // With a plain give-up heard before any suspicion, the two are one.
    let suspected = of(What::Suspected).map(|seen| seen.at).min().unwrap_or(failed).min(failed);
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
