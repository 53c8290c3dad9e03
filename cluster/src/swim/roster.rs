//! The live members, in the order in which they are probed: a shuffled round robin into which newcomers are put at random
//! (SWIM, section 4.3), so that every member is probed within 2n - 1 periods, whatever happens.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use uuid::Uuid;

/// Below this many members all are shuffled to pick some; above it, some are drawn until enough differ.
const SHUFFLE_ALL: usize = 32;

/// All live members but ourselves.
#[derive(Debug, Default)]
pub(super) struct Roster {
    order: Vec<Uuid>,
    next: usize,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// In the order of probing; for those who look at all.
    pub(super) fn iter(&self) -> impl Iterator<Item = Uuid> {
        self.order.iter().copied()
    }

    /// Puts a newcomer at a random place.
    pub(super) fn insert(&mut self, id: Uuid, rng: &mut Xoshiro256PlusPlus) {
        let place = rng.random_range(0..=self.order.len());
        self.order.insert(place, id);
        if place < self.next {
            // Nobody is probed twice in this round for it.
            self.next += 1;
        }
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        if let Some(place) = self.order.iter().position(|other| *other == id) {
            self.order.remove(place);
            if place < self.next {
                self.next -= 1;
            }
        }
    }

    /// The next one to probe.
    pub(super) fn advance(&mut self, rng: &mut Xoshiro256PlusPlus) -> Option<Uuid> {
        if self.next >= self.order.len() {
            self.order.shuffle(rng);
            self.next = 0;
        }
        let id = self.order.get(self.next).copied();
        self.next += 1;
        id
    }

    /// Up to `count` different ones at random, without `but`.
    pub(super) fn pick(&self, count: usize, but: Option<Uuid>, rng: &mut Xoshiro256PlusPlus) -> Vec<Uuid> {
        let mut picked: Vec<Uuid> = Vec::with_capacity(count.min(self.order.len()));
        if self.order.len() <= SHUFFLE_ALL.max(count.saturating_mul(4)) {
            picked.extend(self.iter().filter(|id| Some(*id) != but));
            picked.shuffle(rng);
            picked.truncate(count);
            return picked;
        }
        while picked.len() < count {
            // At least three of four draws give a new one.
            let id = self.order[rng.random_range(0..self.order.len())];
            if Some(id) != but && !picked.contains(&id) {
                picked.push(id);
            }
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn everyone_is_probed_once_a_round_newcomers_within_the_next() {
        for seed in 0..50 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut roster = Roster::default();
            for id in 1..=10 {
                roster.insert(Uuid::from_u128(id), &mut rng);
            }
            let first: BTreeSet<_> = (0..5).filter_map(|_| roster.advance(&mut rng)).collect();
            roster.insert(Uuid::from_u128(11), &mut rng);
            roster.remove(*first.first().expect("five were probed"));
            let mut rest: Vec<_> = (0..5).filter_map(|_| roster.advance(&mut rng)).collect();
            rest.retain(|id| id.as_u128() != 11);
            assert!(rest.iter().all(|id| !first.contains(id)), "seed {seed}: twice in one round");
            let next: BTreeSet<_> = (0..11).filter_map(|_| roster.advance(&mut rng)).collect();
            assert_eq!(next.len(), 10, "seed {seed}");
        }
    }

    #[test]
    fn picks_differ_and_leave_out_the_one() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for size in [0, 1, 3, 33, 200] {
            let mut roster = Roster::default();
            for id in 1..=size {
                roster.insert(Uuid::from_u128(id), &mut rng);
            }
            let but = Uuid::from_u128(1);
            let picked = roster.pick(3, Some(but), &mut rng);
            assert_eq!(picked.len(), usize::try_from(size.saturating_sub(1).min(3)).expect("small"));
            assert!(!picked.contains(&but));
            assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), picked.len());
        }
    }
}
