//! What the log is told regularly: the figures of the membership, and that somebody's datagrams are blocked.

use std::time::Duration;

use tokio::time::Instant;

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
}

impl Reporter {
    pub(super) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self { every, next_report: now + every, next_warning: now, by_stream: 0 }
    }

    /// Says what is due. Called about once a second.
    pub(super) fn look(&mut self, swim: &Swim) {
        let now = Instant::now();
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
}
