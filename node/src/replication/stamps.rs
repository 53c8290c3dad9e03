//! The stamps of entries, by which idempotency records age: time as the cluster has seen it pass, not what a wall clock says.
//!
//! A stamp is the last one that was applied here when this node came to lead, plus what has passed since by this process's monotonic clock. So a wall clock that
//! jumps changes nothing, a new leader goes on from where the last one was, and what is lost on the way (a restart of everybody, a change of leaders
//! while nobody writes, entries applied late) only makes records live longer. What this node counted in an earlier term is worth nothing: the leaders since may have
//! lost time that it did not, and a record of theirs would be ten minutes old at once. The wall clock is read once in a cluster's life, for its first stamp: releases up to 2.2 stamped by it, and may
//! lead again while a cluster is upgraded.

use std::time::Duration;

use tokio::time::Instant;

/// Draws the stamps of one node. Never goes back within a term.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamps {
    last: Option<Last>,
}

/// Where time is counted from.
#[derive(Debug, Clone, Copy)]
struct Last {
    term: u64,
    at: Instant,
    stamp: u64,
}

impl Stamps {
    /// The stamp of an entry that is proposed now by the leader of `term`, in milliseconds. `applied` is the highest that was applied here (0: none
    /// ever was), `wall` the time since 1970.
    pub(crate) fn next(&mut self, now: Instant, term: u64, applied: u64, wall: Duration) -> u64 {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let stamp = match self.last.filter(|last| last.term == term) {
            Some(Last { at, stamp, .. }) => {
                let passed = stamp.saturating_add(millis(now.saturating_duration_since(at)));
                if passed < applied {
                    applied
                } else {
                    // The part of a millisecond that is left counts for the next one: `last` stays where it was counted from.
                    return passed;
                }
            }
            None if applied == 0 => millis(wall),
            None => applied,
        };
        self.last = Some(Last { term, at: now, stamp });
        stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::memory::REMEMBERED_MS;

    const WALL: Duration = Duration::from_millis(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_wall_clock_that_jumps_moves_no_stamp() {
        let (start, mut stamps) = (Instant::now(), Stamps::default());
        let first = stamps.next(start, 1, 0, WALL);
        assert_eq!(first, 1_700_000_000_000);
        for (passed, wall) in [(10, WALL + DAY), (20, WALL - DAY), (30, Duration::ZERO), (40, Duration::MAX)] {
            assert_eq!(stamps.next(start + Duration::from_millis(passed), 1, first, wall), first + passed);
        }
    }

    #[test]
    fn a_new_leader_goes_on_from_what_was_applied() {
        let (start, applied) = (Instant::now(), 5_000);
        let mut stamps = Stamps::default();
        // Its wall clock is a day ahead of that of the leader before.
        assert_eq!(stamps.next(start, 1, applied, WALL + DAY), applied);
        // Deposed for a minute; the other one's stamps go on, a little faster.
        let later = start + Duration::from_secs(60);
        assert_eq!(stamps.next(later, 3, applied + 60_100, WALL + DAY), applied + 60_100);
        assert_eq!(stamps.next(later + Duration::from_secs(1), 3, applied + 60_100, WALL), applied + 61_100);
    }

    #[test]
    fn a_leader_that_comes_back_counts_from_what_was_applied_and_not_from_its_own_past() {
        let (start, (mut one, mut other)) = (Instant::now(), (Stamps::default(), Stamps::default()));
        let first = one.next(start, 1, 0, WALL);
        // Nobody writes for an hour, and another one leads: for it no time has passed since the last write.
        let hour = start + Duration::from_secs(3_600);
        let recorded = other.next(hour, 2, first, WALL);
        assert_eq!(recorded, first);
        // The first one leads again a second later; the client that lost its answer asks once more.
        let retried = one.next(hour + Duration::from_secs(1), 3, recorded, WALL);
        assert!(retried - recorded < REMEMBERED_MS, "forgotten after a second: {recorded} {retried}");
    }

    #[test]
    fn a_record_lives_its_ten_minutes_by_what_has_passed_and_no_more() {
        let (start, mut stamps) = (Instant::now(), Stamps::default());
        let first = stamps.next(start, 1, 0, WALL);
        let forgotten = |stamp: u64| stamp - first >= REMEMBERED_MS;
        let mut applied = first;
        for minute in 1..=11 {
            applied = stamps.next(start + Duration::from_secs(60 * minute), 1, applied, WALL + DAY * 400);
            assert_eq!(forgotten(applied), minute >= 10, "minute {minute}");
        }
    }

    #[test]
    fn fractions_of_a_millisecond_add_up() {
        let (start, mut stamps) = (Instant::now(), Stamps::default());
        let first = stamps.next(start, 1, 0, WALL);
        let mut applied = first;
        for step in 1..=10_000u32 {
            applied = stamps.next(start + Duration::from_micros(100) * step, 1, applied, WALL);
        }
        assert_eq!(applied, first + 1_000);
    }
}
