//! What the log is told regularly: the figures of the membership, that somebody's datagrams are blocked, and
//! that somebody has other keys.

use std::time::Duration;

use tokio::time::Instant;

use super::counters::{Counters, Metrics};
use crate::swim::Swim;

/// Between two warnings of one kind: who reads the log has seen it.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// Keeps the time.
#[derive(Debug)]
pub(super) struct Reporter {
    every: Duration,
    next_report: Instant,
    next_warning: Instant,
    by_stream: u64,
    next_key_warning: Instant,
    other_keys: OtherKeys,
}

/// What could not be opened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct OtherKeys {
    unsealed: u64,
    unknown: u64,
    broken: u64,
}

impl OtherKeys {
    fn of(metrics: &Metrics) -> Self {
        let swim = &metrics.swim;
        Self {
            unsealed: swim.unsealed + metrics.streams_unsealed,
            unknown: swim.unknown_keys + metrics.streams_unknown_key,
            broken: swim.bad_seals + metrics.streams_bad_seal,
        }
    }
}

impl Reporter {
    pub(super) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            next_report: now + every,
            next_warning: now,
            by_stream: 0,
            next_key_warning: now,
            other_keys: OtherKeys::default(),
        }
    }

    /// Says what is due. Called about once a second.
    pub(super) fn look(&mut self, swim: &Swim, counters: &Counters) {
        let now = Instant::now();
        self.look_at_keys(now, OtherKeys::of(&counters.read(swim.stats())));
        if !self.every.is_zero() && now >= self.next_report {
            self.next_report = now + self.every;
            log::info!("gossip: {}", swim.report());
        }
        let stats = swim.stats();
        if now >= self.next_warning
            && stats.probes_stream > self.by_stream
            && let Some(last) = stats.last_by_stream
        {
            let count = stats.probes_stream - self.by_stream;
            self.by_stream = stats.probes_stream;
            self.next_warning = now + WARNING_PAUSE;
            log::warn!(
                "{count} probes were answered over TCP and by no datagram, the last one by {last}: is UDP blocked on the way? It is not \
                 given up, but hears news late"
            );
        }
    }

    fn look_at_keys(&mut self, now: Instant, seen: OtherKeys) {
        let before = self.other_keys;
        if now >= self.next_key_warning && seen != before {
            self.other_keys = seen;
            self.next_key_warning = now + WARNING_PAUSE;
            log::warn!(
                "datagrams and connections were dropped since their keys are not ours: {} unsealed, {} with an unknown key, {} with a broken seal; \
                 a stranger, or a member that missed a change of keys",
                seen.unsealed - before.unsealed,
                seen.unknown - before.unknown,
                seen.broken - before.broken,
            );
        }
    }
}
