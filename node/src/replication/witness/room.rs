//! Which voters have room on their disks, as they say themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// A word that is older does not count: a node that is full and dead is dead.
const FRESH: Duration = Duration::from_secs(5);

/// Who said when whether its disk is full.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    said: Mutex<BTreeMap<Uuid, (bool, Instant)>>,
    majority_full: AtomicBool,
}

impl Rooms {
    pub(super) fn note(&self, id: Uuid, full: bool) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (full, Instant::now()));
    }

    /// Whether it said lately that its disk is full.
    pub(crate) fn is_full(&self, id: Uuid) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(&id).is_some_and(|(full, at)| *full && at.elapsed() < FRESH)
    }

    /// Whether so many voters are full that no majority can write: it would only end in an unknown outcome.
    pub(crate) fn majority_is_full(&self) -> bool {
        self.majority_full.load(Ordering::Relaxed)
    }

    /// Looks anew; forgets who does not vote.
    pub(super) fn weigh(&self, me: Uuid, full: bool, voters: &BTreeSet<Uuid>) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| voters.contains(id));
        let full = voters.iter().filter(|id| if **id == me { full } else { self.is_full(**id) }).count();
        self.majority_full.store(no_majority_writes(voters.len(), full), Ordering::Relaxed);
    }
}

/// Whether those with room are no majority because of those without.
fn no_majority_writes(voters: usize, full: usize) -> bool {
    full > 0 && (voters - full) * 2 <= voters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_full_when_the_others_are_none() {
        let table =
            [(1, 0, false), (1, 1, true), (2, 1, true), (3, 1, false), (3, 2, true), (5, 2, false), (5, 3, true)];
        for (voters, full, expected) in table {
            assert_eq!(no_majority_writes(voters, full), expected, "{full} of {voters}");
        }
    }

    #[test]
    fn it_clears_as_soon_as_one_has_room_again() {
        let rooms = Rooms::default();
        let ids: BTreeSet<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        rooms.note(two, true);
        rooms.weigh(one, true, &ids);
        assert!(rooms.majority_is_full() && rooms.is_full(two) && !rooms.is_full(three));
        rooms.note(two, false);
        rooms.weigh(one, true, &ids);
        assert!(!rooms.majority_is_full());
    }
}
