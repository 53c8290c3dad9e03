//! Timers as data. None is ever cancelled: one that is no longer wanted is recognised when it goes off.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use uuid::Uuid;

use super::hlc::Stamp;
use crate::time::Mono;

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A protocol period begins.
    Probe,
    /// The direct probe was not answered: ask others. Stale when it was.
    ProbeTimeout { seq: u32 },
    /// The probe is over. Stale when it was answered.
    ProbeEnds { seq: u32 },
    /// A probe for another member was not answered for so long that the asker should know. Stale when it was.
    RelayNack { seq: u32 },
    /// A probe for another member is over.
    RelayEnds { seq: u32 },
    /// The time to refute is over. Stale when another life, or none, is suspected.
    SuspicionEnds { id: Uuid, stamp: Stamp },
    /// News go out.
    Gossip,
    /// The full state is exchanged with somebody.
    Exchange,
    /// One of the dead is probed.
    DeadProbe,
    /// The seeds are tried.
    Seeds { round: u64 },
    /// An exchange took too long. Stale when it is done.
    StreamEnds { stream: u64 },
    /// The next slice of what came by frames is merged.
    Reading,
    /// We may defend ourselves again.
    Refute,
    /// Old broadcasts and tombstones go.
    Sweep,
    /// Time to leave is over.
    LeaveEnds,
}

/// The timers that run, by the time at which they go off, then in the order in which they were set. A
/// heap, so that in its steady state it allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Timers {
    running: BinaryHeap<Reverse<(Mono, u64, Timer)>>,
    set: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Mono, timer: Timer) {
        self.set += 1;
        self.running.push(Reverse((at, self.set, timer)));
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.running.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next one that is due, with the time at which it was.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<(Mono, Timer)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.running.pop().map(|Reverse((at, _, timer))| (at, timer))
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn clear(&mut self) {
        self.running.clear();
    }
}
