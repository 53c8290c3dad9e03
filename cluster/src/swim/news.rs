//! Of which members there is something to tell, how often it was told, and whose turn it is: fewest sent first, the newest of those
//! first.
//!
//! ```text
//!   turns   a heap of (times sent, age, slot); what was replaced or taken out stays there until its turn comes
//!   ages    slot -> the age of what is to be told of that member now; a turn of another age is stale
//! ```
//!
//! What is told stands in the table and is encoded when it is sent: so it is never older than what we know, and thousands of news
//! take 40 bytes each. A put, a take-out and each item sent cost O(log n).

use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::dissemination::MISSES;
use super::table::Slot;
use super::wire::SHORTEST_STATEMENT;

/// A put that replaces leaves a stale turn. From twice as many turns as there are news on, and this many, the stale ones are dropped.
const STALE: usize = 1_024;

/// More room than for this many is given back once there are no news.
const KEPT: usize = 64;

/// Whose turn it is: the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// The complement of the times sent, in the upper 16 bits; the age in the others.
    rank: u64,
    slot: Slot,
}

/// 2^48 news are never told.
const AGE: u64 = (1 << 48) - 1;

impl Turn {
    const fn new(sent: u16, age: u64, slot: Slot) -> Self {
        Self { rank: ((!sent as u64) << 48) | (age & AGE), slot }
    }

    const fn sent(self) -> u16 {
        !((self.rank >> 48) as u16)
    }

    const fn age(self) -> u64 {
        self.rank & AGE
    }
}

/// Spreads slots, which count up from 0, over a table. The map is never iterated in its order.
#[derive(Debug, Default)]
struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, slot: u32) {
        self.0 = (self.0 ^ u64::from(slot)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }
}

/// The news.
#[derive(Debug, Default)]
pub(super) struct News {
    turns: BinaryHeap<Turn>,
    ages: HashMap<Slot, u64, BuildHasherDefault<SlotHasher>>,
    next_age: u64,
    /// Empty between two packets; kept for its room.
    picked: Vec<Turn>,
    missed: Vec<Turn>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ages.len()
    }

    /// There is something new to tell of a member: in place of what there was, and never sent so far.
    pub(super) fn put(&mut self, slot: Slot) {
        self.next_age += 1;
        let age = self.next_age & AGE;
        self.ages.insert(slot, age);
        self.turns.push(Turn::new(0, age, slot));
        if self.turns.len() > STALE.max(2 * self.ages.len()) {
            let ages = &self.ages;
            self.turns.retain(|turn| ages.get(&turn.slot) == Some(&turn.age()));
        }
    }

    /// There is nothing to tell of it any more. To be called before its slot becomes another's.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.ages.remove(&slot);
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.ages.is_empty() {
            self.turns.clear();
            if self.ages.capacity() > KEPT {
                (self.ages, self.turns) = (HashMap::default(), BinaryHeap::new());
            }
        }
    }

    /// Appends to `out`, up to a length of `room`, what `encode` appends for the slots whose turn it is, and counts it as sent; what
    /// was sent `limit` times goes, and so does that of which there is nothing to say.
    pub(super) fn fill(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        limit: u32,
        mut encode: impl FnMut(Slot, &mut Vec<u8>),
    ) {
        let limit = u16::try_from(limit).unwrap_or(u16::MAX);
        while out.len() + SHORTEST_STATEMENT <= room && self.missed.len() < MISSES {
            let Some(turn) = self.turns.pop() else { break };
            if self.ages.get(&turn.slot) != Some(&turn.age()) {
                continue;
            }
            let len = out.len();
            encode(turn.slot, out);
            if out.len() > room {
                out.truncate(len);
                self.missed.push(turn);
            } else if out.len() == len || turn.sent() + 1 >= limit {
                self.ages.remove(&turn.slot);
            } else {
                self.picked.push(Turn::new(turn.sent() + 1, turn.age(), turn.slot));
            }
        }
        self.turns.extend(self.missed.drain(..));
        self.turns.extend(self.picked.drain(..));
        self.tidy();
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ROOM: usize = 3 * SHORTEST_STATEMENT;

    /// Who is told of in one packet, each with as many bytes as the shortest statement has and `slot % 7` more.
    fn told(news: &mut News, room: usize, limit: u32) -> Vec<Slot> {
        let (mut out, mut slots) = (Vec::new(), Vec::new());
        news.fill(&mut out, room, limit, |slot, out| {
            out.extend(std::iter::repeat_n(0, SHORTEST_STATEMENT + slot as usize % 7));
            slots.push((out.len(), slot));
        });
        assert!(out.len() <= room);
        slots.into_iter().filter(|(len, _)| *len <= room).map(|(_, slot)| slot).collect()
    }

    #[test]
    fn fewest_sent_first_and_the_newest_of_those() {
        let mut news = News::default();
        news.put(7);
        news.put(14);
        assert_eq!(told(&mut news, SHORTEST_STATEMENT, 3), [14]);
        assert_eq!(told(&mut news, SHORTEST_STATEMENT, 3), [7]);
        news.put(21);
        assert_eq!(told(&mut news, 2 * SHORTEST_STATEMENT, 3), [21, 14]);
        assert_eq!(told(&mut news, ROOM, 3), [21, 7, 14]);
        assert_eq!(told(&mut news, ROOM, 3), [21, 7], "14 was sent three times");
        assert!(news.is_empty() && news.turns.is_empty());
    }

    #[test]
    fn what_is_replaced_counts_anew_and_is_told_once_a_packet() {
        let mut news = News::default();
        news.put(7);
        assert_eq!(told(&mut news, ROOM, 2), [7]);
        news.put(7);
        assert_eq!(news.len(), 1);
        assert_eq!(told(&mut news, ROOM, 2), [7]);
        assert_eq!(told(&mut news, ROOM, 2), [7], "its count began anew");
        assert!(news.is_empty());
    }

    #[test]
    fn what_was_replaced_does_not_pile_up() {
        let mut news = News::default();
        for round in 0..100_000_u32 {
            news.put(round % 100);
            assert!(news.turns.len() <= STALE + 1);
        }
        assert_eq!(news.len(), 100);
    }

    proptest! {
        /// As an ordered set would do it, at more cost.
        #[test]
        fn as_a_set_would(steps in prop::collection::vec((0..24_u32, 0..4_u8), 0..300), limit in 1..5_u32) {
            let mut news = News::default();
            let mut model: BTreeMap<Slot, (u32, Reverse<usize>)> = BTreeMap::new();
            for (age, (slot, what)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        let room = ROOM + slot as usize;
                        let mut order: Vec<_> = model.iter().map(|(slot, turn)| (*turn, *slot)).collect();
                        order.sort();
                        let (mut left, mut wanted) = (room, Vec::new());
                        let mut misses = 0;
                        for (_, slot) in order {
                            let len = SHORTEST_STATEMENT + slot as usize % 7;
                            if left < SHORTEST_STATEMENT || misses == MISSES {
                                break;
                            }
                            if len > left {
                                misses += 1;
                                continue;
                            }
                            left -= len;
                            wanted.push(slot);
                            let turn = model.get_mut(&slot).expect("it is there");
                            turn.0 += 1;
                            if turn.0 >= limit {
                                model.remove(&slot);
                            }
                        }
                        prop_assert_eq!(told(&mut news, room, limit), wanted);
                    }
                    1 => {
                        news.forget(slot);
                        model.remove(&slot);
                    }
                    _ => {
                        news.put(slot);
                        model.insert(slot, (0, Reverse(age)));
                    }
                }
                prop_assert_eq!(news.len(), model.len());
                prop_assert_eq!(news.is_empty(), model.is_empty());
            }
        }
    }
}
