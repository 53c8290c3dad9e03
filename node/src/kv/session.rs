//! What is remembered of the writes that one node carries to the leader, so that what it tries again applies once.
//!
//! The node numbers them from its start on and says with each which are settled: below that number it waits for no answer, and asks for none again.
//! So what is remembered is what is under way, not ten minutes of writes. (Sessions of clients: D. Ongaro, "Consensus: Bridging Theory and
//! Practice", 2014, section 6.3; here the client is the node that carries.)

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::memory::REMEMBERED_MS;
use super::operation::{Idempotency, Outcome};

/// Begins the keys of carried writes. Callers' keys are visible text.
const CARRIED: char = '\u{1}';

/// Names a carried write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// One start of one node.
    pub session: u128,
    /// Of the write, from 1 on.
    pub number: u64,
    /// The lowest number that the node waited for when it gave this one; at least 1, at most `number`.
    pub settled_below: u64,
}

impl Carried {
    /// As it stands in the log: a key that no caller can give, and in the place of the digest what is settled.
    pub fn idempotency(&self) -> Idempotency {
        let Self { session, number, settled_below } = self;
        Idempotency { key: format!("{CARRIED}{session:032x}-{number:x}"), digest: *settled_below }
    }

    /// From what stands in the log. `None`: a caller's key, or one of a node that does not say what is settled (releases up to 2.2, or beside one).
    pub fn parse(idempotency: &Idempotency) -> Option<Self> {
        let (session, number) = idempotency.key.strip_prefix(CARRIED)?.split_once('-')?;
        let session = u128::from_str_radix(session, 16).ok()?;
        let number = u64::from_str_radix(number, 16).ok()?;
        let settled_below = idempotency.digest;
        (1..=number).contains(&settled_below).then_some(Self { session, number, settled_below })
    }
}

/// What is remembered of one session. The same on every replica after the same entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    settled_below: u64,
    stamp_ms: u64,
    outcomes: BTreeMap<u64, Outcome>,
}

/// What a session knows of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Past {
    /// It is to be applied.
    New,
    /// It was; this came of it.
    Applied(Outcome),
    /// Nobody waits for it any more. Whether it was applied once is forgotten, so it must not be now.
    Settled,
}

impl Session {
    /// What is known of a write, before it is applied.
    pub fn past(&self, write: Carried) -> Past {
        match self.outcomes.get(&write.number) {
            Some(outcome) => Past::Applied(outcome.clone()),
            None if write.number < self.settled_below => Past::Settled,
            None => Past::New,
        }
    }

    /// Remembers what came of a write, and forgets what it says is settled.
    pub fn remember(&mut self, write: Carried, outcome: Outcome, now_ms: u64) {
        self.stamp_ms = self.stamp_ms.max(now_ms);
        self.settled_below = self.settled_below.max(write.settled_below);
        self.outcomes.insert(write.number, outcome);
        while let Some(lowest) = self.outcomes.first_entry()
            && *lowest.key() < self.settled_below
        {
            lowest.remove();
        }
    }

    /// Puts one back together from what was kept of it (see [`Self::settled_below`], [`Self::outcomes`], [`Self::stamp_ms`]), in any order.
    pub fn restore(&mut self, settled_below: u64, stamp_ms: u64, outcomes: impl IntoIterator<Item = (u64, Outcome)>) {
        self.stamp_ms = self.stamp_ms.max(stamp_ms);
        self.settled_below = self.settled_below.max(settled_below);
        self.outcomes.extend(outcomes);
        self.outcomes = self.outcomes.split_off(&self.settled_below);
    }

    /// All below this number is settled.
    pub fn settled_below(&self) -> u64 {
        self.settled_below
    }

    /// When it was used last, by the stamp of an entry.
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// What came of the writes that are not settled.
    pub fn outcomes(&self, numbers: RangeInclusive<u64>) -> impl Iterator<Item = (u64, &Outcome)> {
        self.outcomes.range(numbers).map(|(number, outcome)| (*number, outcome))
    }

    /// Whether its node carried nothing for so long that it may be gone.
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.stamp_ms) >= REMEMBERED_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(revision: u64) -> Outcome {
        Outcome::Put { revision, created: false }
    }

    fn write(number: u64, settled_below: u64) -> Carried {
        Carried { session: 7, number, settled_below }
    }

    #[test]
    fn a_write_is_applied_once_and_what_is_settled_never_again() {
        let mut session = Session::default();
        session.remember(write(1, 1), outcome(10), 0);
        session.remember(write(3, 1), outcome(11), 0);
        assert_eq!(session.past(write(1, 1)), Past::Applied(outcome(10)));
        assert_eq!(session.past(write(2, 1)), Past::New, "it was overtaken");
        session.remember(write(4, 3), outcome(12), 0);
        assert_eq!(session.past(write(1, 1)), Past::Settled);
        assert_eq!(session.past(write(2, 1)), Past::Settled, "nobody knows whether it was applied");
        assert_eq!(session.past(write(3, 1)), Past::Applied(outcome(11)));
        // What was proposed earlier says less, and brings nothing back.
        session.remember(write(5, 1), outcome(13), 0);
        assert_eq!(session.past(write(2, 1)), Past::Settled);
    }

    #[test]
    fn it_is_forgotten_ten_minutes_after_its_last_write() {
        let mut session = Session::default();
        session.remember(write(1, 1), outcome(1), 5_000);
        session.remember(write(2, 1), outcome(1), 4_000);
        assert!(!session.is_forgotten(5_000 + REMEMBERED_MS - 1));
        assert!(session.is_forgotten(5_000 + REMEMBERED_MS));
        assert!(!session.is_forgotten(0));
    }

    #[test]
    fn what_the_log_says_of_a_carried_write_is_read_back_and_nothing_else_is_taken_for_one() {
        let carried = Carried { session: u128::MAX - 1, number: 0x1f, settled_below: 0x1e };
        assert_eq!(Carried::parse(&carried.idempotency()), Some(carried));
        for (key, digest) in [
            ("0000-1", 1),
            ("\u{1}0000", 1),
            ("\u{1}0000-", 1),
            ("\u{1}zz-1", 1),
            ("\u{1}0000-zz", 1),
            // Of 2.2: no number is settled.
            ("\u{1}00000000000000000000000000000001-1", 0),
            // More settled than was given.
            ("\u{1}00000000000000000000000000000001-1", 2),
        ] {
            assert_eq!(Carried::parse(&Idempotency { key: key.into(), digest }), None, "{key:?} {digest}");
        }
    }
}
