//! A place where a member can run: its disk, its clocks, and what keeps it from running.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::network::nanos;
use super::turns::{Hold, Turns};
use crate::keyring::Keyring;
use crate::swim::{Input, Output, Stamp, Swim};
use crate::time::{Mono, Now, Wall};

/// The wall clock of a host that is right, at the beginning of a run: milliseconds since the Unix epoch.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// Datagrams that wait in a socket whose process does not read; further ones are lost. What Linux holds by default for packets of
/// this protocol's usual size.
pub(super) const SOCKET: usize = 256;

/// The two clocks of a host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// By how much the wall clock is ahead of the right one.
    pub ahead_ms: i64,
    /// How much faster than they should both clocks run, in millionths. Quartz is within 100; -500,000 is half speed.
    ppm: i64,
    /// When the rate last changed, by the right clock and by this one, in nanoseconds.
    since: (u64, u64),
}

impl Clock {
    /// Its monotonic reading at a time.
    fn mono(&self, time: u64) -> u64 {
        let passed = time.saturating_sub(self.since.0);
        let extra = i128::from(passed) * i128::from(self.ppm) / 1_000_000;
        let read = i128::from(self.since.1) + i128::from(passed) + extra;
        u64::try_from(read).unwrap_or(0)
    }

    /// When it will show `mono`, or a nanosecond or two later.
    pub(super) fn when(&self, mono: Mono) -> u64 {
        let shown = nanos(mono.since_origin());
        if self.ppm == 0 {
            return shown.saturating_sub(self.since.1).saturating_add(self.since.0);
        }
        let wanted = i128::from(shown.saturating_sub(self.since.1));
        let passed = wanted * 1_000_000 / i128::from(1_000_000 + self.ppm) + 2;
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(self.since.0)
    }

    /// Lets it run faster or slower from now on, by so many millionths; at least a tenth and at most ten times as fast as it should.
    pub(super) fn set_rate(&mut self, time: u64, ppm: i64) {
        self.since = (time, self.mono(time));
        self.ppm = ppm.clamp(-900_000, 9_000_000);
    }

    pub(super) fn now(&self, time: u64) -> Now {
        let mono = self.mono(time);
        let wall = (EPOCH_MS + mono / 1_000_000).saturating_add_signed(self.ahead_ms);
        Now { mono: Mono::new(Duration::from_nanos(mono)), wall: Wall::from_millis(wall) }
    }
}

/// A place in the network: what runs there now, and what its disk keeps.
#[derive(Debug)]
pub struct Host {
    /// The id of the member that runs here.
    pub id: Uuid,
    /// Where it is reached; changes count from the next start.
    pub address: SocketAddr,
    /// What it wants known at its next start.
    pub metadata: Bytes,
    /// The keys that it starts with; [`Sim::set_keys`](super::Sim::set_keys) changes those of one that runs.
    pub keys: Keyring,
    /// The last stamp that was synced to its disk.
    pub disk: Stamp,
    /// What its disk held before: for a disk that is set back.
    pub disk_before: Stamp,
    /// The member; none while it is down.
    pub swim: Option<Swim>,
    /// How often it was started. What is under way to an earlier start is lost.
    pub starts: u64,
    /// Whether it went by leaving.
    pub left: bool,
    /// Its clocks.
    pub clock: Clock,
    /// When it will be woken, in nanoseconds; the maximum while that is not planned.
    pub(super) wake: u64,
    pub(super) hold: Hold,
    /// A timer went off while it was stopped.
    pub(super) overslept: bool,
    /// What came in while it was held, and how many of those are datagrams.
    pub(super) inbox: VecDeque<Input>,
    pub(super) unread: usize,
    /// What should go out while it is mute.
    pub(super) outbox: Vec<Output>,
    pub(super) turns: Option<Turns>,
    /// Counts changes of the turns: what was planned before the last is stale.
    pub(super) plan: u64,
}

impl Host {
    pub(super) fn new(id: Uuid, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            metadata: Bytes::new(),
            keys: Keyring::default(),
            disk: Stamp::ZERO,
            disk_before: Stamp::ZERO,
            swim: None,
            starts: 0,
            left: false,
            clock: Clock::default(),
            wake: u64::MAX,
            hold: Hold::None,
            overslept: false,
            inbox: VecDeque::new(),
            unread: 0,
            outbox: Vec::new(),
            turns: None,
            plan: 0,
        }
    }

    /// Whether a member runs here (or is stopped, but would).
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.swim.is_some()
    }

    /// The stamp that the member here uses; zero while it has none.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let own = self.swim.as_ref().and_then(|swim| swim.member(self.id));
        own.map_or(Stamp::ZERO, |own| own.incarnation)
    }

    /// The process is gone, with all that it had in memory.
    pub(super) fn end(&mut self) {
        self.swim = None;
        self.wake = u64::MAX;
        self.hold = Hold::None;
        self.overslept = false;
        self.inbox.clear();
        self.unread = 0;
        self.outbox.clear();
        self.turns = None;
        self.plan += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_drifts_never_goes_back_and_wakes_in_time() {
        for ppm in [-900_000, -200, 0, 37, 100_000, 9_000_000] {
            let mut clock = Clock::default();
            clock.set_rate(3 * SECOND, ppm);
            let mut last = clock.now(3 * SECOND).mono;
            assert_eq!(last, Mono::new(Duration::from_secs(3)), "it jumped with its rate");
            for step in 1..1_000 {
                let now = clock.now(3 * SECOND + step * 7_777_777).mono;
                assert!(now > last);
                last = now;
            }
            let alarm = last + Duration::from_millis(1_234);
            let at = clock.when(alarm);
            assert!(clock.now(at).mono >= alarm, "{ppm}: woken too early");
            assert!(clock.now(at.saturating_sub(40)).mono < alarm, "{ppm}: woken too late");
        }
    }
}
