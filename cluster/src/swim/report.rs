//! A member's figures at one moment, beside the counters of [`Stats`](super::Stats): for people, `/metrics` and a regular line in
//! the log.

use std::fmt;
use std::time::Duration;

use super::Swim;
use super::estimates;
use super::ledger::{Accusations, Verdicts};
use super::round_trips::BOUNDS;

/// How round trips of direct probes were distributed since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// How many took at most so long, and longer than the bound before: not cumulative.
    pub buckets: Vec<(Duration, u64)>,
    /// How many took longer than the last bound.
    pub beyond: u64,
    /// The sum of all.
    pub sum: Duration,
}

/// The figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Live members, this one and the suspected included.
    pub live: usize,
    /// Of these, suspected.
    pub suspected: usize,
    /// Members of whom there is a record, the dead included.
    pub known: usize,
    /// Our score of health: 0 is well.
    pub health: u32,
    /// News of members that wait to be passed on once more.
    pub news_queued: usize,
    /// User broadcasts that do.
    pub broadcasts_queued: usize,
    /// Probes for others that are under way.
    pub relays: usize,
    /// Full-state exchanges that we began and that are under way.
    pub exchanges: usize,
    /// Timers that are set, the stale included.
    pub timers: usize,
    /// Round trips of direct probes.
    pub round_trips: Histogram,
    /// Within this long, 99 of 100 of the recent ones came back.
    pub round_trip_p99: Option<Duration>,
    /// Share of datagrams lost lately, as far as probes tell: 0 to 1.
    pub loss: f64,
    /// Chance that a member is probed by somebody within one period, 0 to 1: an estimate from the number of members.
    pub ping_chance: f64,
    /// Time until all members know of a piece of news: an estimate from their number, the fan-out and the loss.
    pub all_know: Duration,
    /// Who accused whom, of the pairs that were heard of last: 256 at most.
    pub accusations: Vec<Accusations>,
    /// The sums over all other pairs.
    pub other_accusations: Verdicts,
}

impl Swim {
    /// The figures at this moment. Costs a copy of the ledger, so it is for once in a while.
    #[must_use]
    pub fn report(&self) -> Report {
        let (config, live, loss) = (&self.config, self.live(), self.loss.share());
        Report {
            live,
            suspected: self.suspicions.len(),
            known: self.set.len(),
            health: self.health.score(),
            news_queued: self.news.news.len(),
            broadcasts_queued: self.news.broadcasts.len(),
            relays: self.relays.len(),
            exchanges: self.streams.len(),
            timers: self.timers.len(),
            round_trips: Histogram {
                buckets: BOUNDS.into_iter().zip(self.round_trips.buckets().iter().copied()).collect(),
                beyond: self.round_trips.buckets().last().copied().unwrap_or_default(),
                sum: self.round_trips.sum(),
            },
            round_trip_p99: self.round_trips.percentile(99),
            loss,
            ping_chance: estimates::ping_chance(live, config.direct_probes),
            all_know: estimates::all_know(live, config.gossip_fanout, loss, config.gossip_interval),
            accusations: self.ledger.lines(),
            other_accusations: self.ledger.others(),
        }
    }
}

impl fmt::Display for Report {
    /// The line for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| share * 100.0;
        write!(
            f,
            "{} live members ({} suspected): each is probed with {:.0} % chance in a period, news are everywhere within {:.1} s; {:.1} % of \
             datagrams lost",
            self.live,
            self.suspected,
            percent(self.ping_chance),
            self.all_know.as_secs_f64(),
            percent(self.loss),
        )?;
        if let Some(p99) = self.round_trip_p99 {
            write!(f, ", 99 % of round trips within {:.1} ms", p99.as_secs_f64() * 1_000.0)?;
        }
        write!(f, "; health {}, {} news queued", self.health, self.news_queued)
    }
}
