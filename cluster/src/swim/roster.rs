//! The live members, in the order in which they are probed: a shuffled round robin into which newcomers are put at random
//! (SWIM, section 4.3), so that every member is probed within 2n - 1 periods, whatever happens.
//!
//! ```text
//!   order  | probed in this round | still to come | not live |
//!          0                      next            live       all slots
//! ```
//!
//! The shuffle is Fisher and Yates's, one step for each probe, so no round begins with a pause. Members are known by their slots,
//! and every operation costs O(1): a member changes its part by changing places. In a member that shares its base with others the
//! order begins as that of the base, and what was moved since is all that is kept.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use super::table::{Slot, make_room};

/// Below this many members all are shuffled to pick some; above it, some are drawn until enough differ.
const SHUFFLE_ALL: usize = 32;

/// Of this many numbers one may have been moved before all are stored: one moved costs several times what one in a row does.
const SPARSE: usize = 8;

/// All live members but ourselves.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Who is at a place.
    order: Numbers,
    /// The place that a slot is at.
    places: Numbers,
    live: u32,
    next: u32,
}

impl Roster {
    /// With slots 0 to `live - 1`, all live.
    pub(super) fn with(live: Slot) -> Self {
        Self { order: Numbers::counting(live), places: Numbers::counting(live), live, next: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.live as usize
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// In the order of probing; for those who look at all.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        (0..self.live).map(|place| self.order.get(place))
    }

    fn swap(&mut self, one: u32, other: u32) {
        let (a, b) = (self.order.get(one), self.order.get(other));
        self.order.set(one, b);
        self.order.set(other, a);
        self.places.set(a, other);
        self.places.set(b, one);
    }

    /// Puts a newcomer at a random place.
    pub(super) fn insert(&mut self, slot: Slot, rng: &mut Xoshiro256PlusPlus) {
        self.order.count_to(slot + 1);
        self.places.count_to(slot + 1);
        let place = self.places.get(slot);
        if place < self.live {
            return;
        }
        self.swap(place, self.live);
        self.live += 1;
        if rng.random_range(0..self.live) < self.next {
            // Nobody is probed twice in this round for it.
            self.swap(self.live - 1, self.next);
            self.next += 1;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let mut place = self.places.get(slot);
        if place >= self.live {
            return;
        }
        if place < self.next {
            self.next -= 1;
            self.swap(place, self.next);
            place = self.next;
        }
        self.live -= 1;
        self.swap(place, self.live);
    }

    /// The next one to probe.
    pub(super) fn advance(&mut self, rng: &mut Xoshiro256PlusPlus) -> Option<Slot> {
        if self.live == 0 {
            return None;
        }
        if self.next >= self.live {
            self.next = 0;
        }
        let place = rng.random_range(self.next..self.live);
        self.swap(self.next, place);
        self.next += 1;
        Some(self.order.get(self.next - 1))
    }

    /// One at random.
    pub(super) fn one(&self, rng: &mut Xoshiro256PlusPlus) -> Option<Slot> {
        (self.live > 0).then(|| self.order.get(rng.random_range(0..self.live)))
    }

    /// Up to `count` different ones at random, without `but`.
    pub(super) fn pick(&self, count: usize, but: Option<Slot>, rng: &mut Xoshiro256PlusPlus) -> Vec<Slot> {
        let mut picked: Vec<Slot> = Vec::with_capacity(count.min(self.len()));
        if self.len() <= SHUFFLE_ALL.max(count.saturating_mul(4)) {
            picked.extend(self.iter().filter(|slot| Some(*slot) != but));
            picked.shuffle(rng);
            picked.truncate(count);
            return picked;
        }
        while picked.len() < count {
            // At least three of four draws give a new one.
            let slot = self.order.get(rng.random_range(0..self.live));
            if Some(slot) != but && !picked.contains(&slot) {
                picked.push(slot);
            }
        }
        picked
    }
}

/// Numbers that count up from 0 until they are set otherwise.
#[derive(Debug)]
enum Numbers {
    /// Few were: `len` of them, but for those here.
    Sparse { len: u32, moved: BTreeMap<u32, u32> },
    /// Each as it is.
    Dense(Vec<u32>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Dense(Vec::new())
    }
}

impl Numbers {
    const fn counting(len: u32) -> Self {
        Self::Sparse { len, moved: BTreeMap::new() }
    }

    /// What was never counted to stands for itself.
    fn get(&self, at: u32) -> u32 {
        match self {
            Self::Sparse { moved, .. } => moved.get(&at),
            Self::Dense(numbers) => numbers.get(at as usize),
        }
        .copied()
        .unwrap_or(at)
    }

    fn set(&mut self, at: u32, to: u32) {
        match self {
            Self::Sparse { moved, .. } if at == to => {
                moved.remove(&at);
            }
            Self::Sparse { len, moved } => {
                moved.insert(at, to);
                if moved.len() >= *len as usize / SPARSE {
                    let len = *len;
                    *self = Self::Dense((0..len).map(|at| self.get(at)).collect());
                }
            }
            Self::Dense(numbers) => {
                if let Some(number) = numbers.get_mut(at as usize) {
                    *number = to;
                }
            }
        }
    }

    fn count_to(&mut self, wanted: u32) {
        match self {
            Self::Sparse { len, .. } => *len = wanted.max(*len),
            Self::Dense(numbers) => {
                for number in numbers.len() as u32..wanted {
                    make_room(numbers);
                    numbers.push(number);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn everyone_is_probed_once_a_round_newcomers_within_the_next() {
        for seed in 0..50 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut roster = if seed.is_multiple_of(2) { Roster::with(10) } else { Roster::default() };
            for slot in 0..10 {
                roster.insert(slot, &mut rng);
            }
            let first: BTreeSet<_> = (0..5).filter_map(|_| roster.advance(&mut rng)).collect();
            roster.insert(10, &mut rng);
            roster.remove(*first.first().expect("five were probed"));
            let mut rest: Vec<_> = (0..5).filter_map(|_| roster.advance(&mut rng)).collect();
            rest.retain(|slot| *slot != 10);
            assert!(rest.iter().all(|slot| !first.contains(slot)), "seed {seed}: twice in one round");
            let next: BTreeSet<_> = (0..11).filter_map(|_| roster.advance(&mut rng)).collect();
            assert_eq!(next.len(), 10, "seed {seed}");
        }
    }

    #[test]
    fn picks_differ_and_leave_out_the_one() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for size in [0, 1, 3, 33, 200] {
            let mut roster = Roster::default();
            for slot in 0..size {
                roster.insert(slot, &mut rng);
            }
            let picked = roster.pick(3, Some(0), &mut rng);
            assert_eq!(picked.len(), usize::try_from(size.saturating_sub(1).min(3)).expect("small"));
            assert!(!picked.contains(&0));
            assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), picked.len());
        }
    }

    proptest! {
        /// Whatever comes and goes: it holds whom a set would hold, and from any moment on all are probed within 2n - 1 periods.
        #[test]
        fn a_set_with_rounds(seed: u64, shared in 0..40_u32, steps in prop::collection::vec((0..48_u32, 0..4_u8), 0..400)) {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut roster = Roster::with(shared);
            let mut set: BTreeSet<u32> = (0..shared).collect();
            for (slot, what) in steps {
                match what {
                    0 => {
                        roster.insert(slot, &mut rng);
                        set.insert(slot);
                    }
                    1 => {
                        roster.remove(slot);
                        set.remove(&slot);
                    }
                    _ => {
                        let probed = roster.advance(&mut rng);
                        prop_assert_eq!(probed.is_none(), set.is_empty());
                        prop_assert!(probed.is_none_or(|probed| set.contains(&probed)));
                    }
                }
                prop_assert_eq!(roster.iter().collect::<BTreeSet<_>>(), set.clone());
                prop_assert_eq!(roster.len(), set.len());
            }
            let most = set.len();
            let mut due: BTreeSet<u32> = set;
            for _ in 0..(2 * most).saturating_sub(1) {
                due.remove(&roster.advance(&mut rng).expect("there are some"));
            }
            prop_assert!(due.is_empty(), "{due:?} of {most} were not probed");
        }
    }
}
