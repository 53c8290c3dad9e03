//! What is passed on, how often, and in which order: fewest sent first, the newest of those first.
//!
//! Two queues: [`News`] of members, at most one item for each, and user broadcasts, bounded by the configuration. The packets are
//! shared out between them by turns, so that neither starves the other. Every operation costs O(log n) for each item that it
//! touches.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::news::News;
use super::table::Slot;
use crate::time::Mono;

/// Of every this many packets, one offers its room to user broadcasts first; the others to news of members first. So each kind has
/// its share of a full network, and all of an idle one.
const BROADCAST_TURN: u64 = 4;

/// Items too long for the room left that are passed over before a packet is thought full.
pub(super) const MISSES: usize = 8;

/// How often each item is sent: `multiplier * ceil(ln(n + 1))`. With the decimal logarithm small groups would miss members.
pub(super) fn retransmit_limit(multiplier: u32, members: usize) -> u32 {
    let log = (members as f64 + 1.0).ln().ceil().max(1.0);
    // At most 45 for any count of members there can be.
    multiplier.saturating_mul(log as u32)
}

#[derive(Debug)]
struct Item {
    sent: u32,
    age: u64,
    since: Mono,
    bytes: Vec<u8>,
}

/// Items under keys, in the order in which they go out.
#[derive(Debug)]
pub(super) struct Queue<K> {
    items: BTreeMap<K, Item>,
    order: BTreeSet<(u32, Reverse<u64>, K)>,
    next_age: u64,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), order: BTreeSet::new(), next_age: 0 }
    }
}

impl<K: Ord + Copy> Queue<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Queues an encoded message; one under the same key is replaced in place, and counts as never sent.
    pub(super) fn put(&mut self, key: K, bytes: Vec<u8>, now: Mono) {
        self.forget(key);
        let age = self.next_age;
        self.next_age += 1;
        self.items.insert(key, Item { sent: 0, age, since: now, bytes });
        self.order.insert((0, Reverse(age), key));
    }

    /// Takes one out.
    pub(super) fn forget(&mut self, key: K) {
        if let Some(item) = self.items.remove(&key) {
            self.order.remove(&(item.sent, Reverse(item.age), key));
        }
    }

    /// Takes out the one that was sent most often, the oldest of those. It has had the most of its share.
    pub(super) fn evict(&mut self) -> bool {
        match self.order.pop_last() {
            Some((_, _, key)) => self.items.remove(&key).is_some(),
            None => false,
        }
    }

    /// Takes out those queued before `before`; how many that were. Looks at all, so it is for a bounded queue and a slow timer.
    pub(super) fn expire(&mut self, before: Mono) -> u64 {
        let old: Vec<K> = self.items.iter().filter(|(_, item)| item.since < before).map(|(key, _)| *key).collect();
        for key in &old {
            self.forget(*key);
        }
        old.len() as u64
    }

    /// Appends to `out` what fits into `room`, and counts it as sent; what was sent `limit` times goes.
    fn fill(&mut self, out: &mut Vec<u8>, room: usize, limit: u32) {
        let mut left = room.saturating_sub(out.len());
        let mut picked = Vec::new();
        let mut misses = 0;
        for (_, _, key) in &self.order {
            let Some(item) = self.items.get(key) else { continue };
            if item.bytes.len() <= left {
                left -= item.bytes.len();
                out.extend_from_slice(&item.bytes);
                picked.push(*key);
            } else {
                misses += 1;
                if misses == MISSES {
                    break;
                }
            }
        }
        for key in picked {
            let Some(item) = self.items.get_mut(&key) else { continue };
            self.order.remove(&(item.sent, Reverse(item.age), key));
            item.sent += 1;
            if item.sent >= limit {
                self.items.remove(&key);
            } else {
                self.order.insert((item.sent, Reverse(item.age), key));
            }
        }
    }
}

/// Names a user broadcast: its origin, the boot number, the count.
pub(super) type BroadcastKey = (Uuid, u64, u64);

/// Both queues.
#[derive(Debug, Default)]
pub(super) struct Dissemination {
    /// News of members.
    pub(super) news: News,
    /// User broadcasts.
    pub(super) broadcasts: Queue<BroadcastKey>,
    max_broadcasts: usize,
    max_age: Duration,
    turn: u64,
}

impl Dissemination {
    pub(super) fn new(max_broadcasts: usize, max_age: Duration) -> Self {
        Self { news: News::default(), broadcasts: Queue::default(), max_broadcasts, max_age, turn: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.news.is_empty() && self.broadcasts.is_empty()
    }

    /// Queues a broadcast; how many made room for it.
    pub(super) fn broadcast(&mut self, key: BroadcastKey, bytes: Vec<u8>, now: Mono) -> u64 {
        let mut dropped = 0;
        while self.broadcasts.len() >= self.max_broadcasts && self.broadcasts.evict() {
            dropped += 1;
        }
        self.broadcasts.put(key, bytes, now);
        dropped
    }

    /// Drops the broadcasts that are too old; how many.
    pub(super) fn expire(&mut self, now: Mono) -> u64 {
        if now.since_origin() < self.max_age { 0 } else { self.broadcasts.expire(now - self.max_age) }
    }

    /// Fills a packet up to `room` bytes. `encode` appends what is to be told of a member.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, room: usize, limit: u32, encode: impl FnMut(Slot, &mut Vec<u8>)) {
        self.turn += 1;
        if self.turn.is_multiple_of(BROADCAST_TURN) {
            self.broadcasts.fill(out, room, limit);
            self.news.fill(out, room, limit, encode);
        } else {
            self.news.fill(out, room, limit, encode);
            self.broadcasts.fill(out, room, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::SHORTEST_STATEMENT;
    use super::*;

    fn sent(queue: &mut Queue<u32>, room: usize, limit: u32) -> Vec<u8> {
        let mut out = Vec::new();
        queue.fill(&mut out, room, limit);
        out
    }

    #[test]
    fn fewest_sent_first_and_the_newest_of_those() {
        let mut queue = Queue::default();
        queue.put(1, vec![1], Mono::ZERO);
        queue.put(2, vec![2], Mono::ZERO);
        assert_eq!(sent(&mut queue, 1, 3), [2]);
        assert_eq!(sent(&mut queue, 1, 3), [1]);
        queue.put(3, vec![3], Mono::ZERO);
        assert_eq!(sent(&mut queue, 2, 3), [3, 2]);
        assert_eq!(sent(&mut queue, 9, 3), [3, 1, 2]);
        assert_eq!(sent(&mut queue, 9, 3), [3, 1], "2 was sent three times");
        assert!(queue.is_empty());
    }

    #[test]
    fn a_new_statement_replaces_the_old_one_in_place() {
        let mut queue = Queue::default();
        queue.put(1, vec![1], Mono::ZERO);
        assert_eq!(sent(&mut queue, 9, 2), [1]);
        queue.put(1, vec![11], Mono::ZERO);
        assert_eq!(queue.len(), 1);
        assert_eq!(sent(&mut queue, 9, 2), [11]);
        assert_eq!(sent(&mut queue, 9, 2), [11], "its count began anew");
        assert!(queue.is_empty());
    }

    #[test]
    fn what_does_not_fit_waits_and_smaller_ones_go() {
        let mut queue = Queue::default();
        queue.put(1, vec![1], Mono::ZERO);
        queue.put(2, vec![2; 5], Mono::ZERO);
        assert_eq!(sent(&mut queue, 4, 9), [1]);
        assert_eq!(sent(&mut queue, 5, 9), [2; 5]);
    }

    const LEN: usize = SHORTEST_STATEMENT;

    /// How many packets begin with a broadcast, of `count` with room for `room` items, and how many items of each kind go out.
    fn shares(both: &mut Dissemination, count: usize, room: usize) -> (usize, usize, usize) {
        let (mut first, mut broadcasts, mut news) = (0, 0, 0);
        for _ in 0..count {
            let mut packet = Vec::new();
            both.fill(&mut packet, room * LEN, u32::MAX, |_, out| out.extend([b'n'; LEN]));
            first += usize::from(packet.first() == Some(&b'b'));
            broadcasts += packet.chunks(LEN).filter(|item| item[0] == b'b').count();
            news += packet.chunks(LEN).filter(|item| item[0] == b'n').count();
        }
        (first, broadcasts, news)
    }

    #[test]
    fn neither_kind_starves_the_other() {
        let mut both = Dissemination::new(1_000, Duration::from_secs(1));
        for i in 0..100 {
            both.news.put(i);
            both.broadcast((Uuid::from_u128(1), 1, i.into()), vec![b'b'; LEN], Mono::ZERO);
        }
        assert_eq!(shares(&mut both, 100, 1), (25, 25, 75));
    }

    proptest! {
        /// However many there are of each and however they arrive: a quarter of the packets is for broadcasts first, the others for news; and
        /// what one kind has no use for, the other has.
        #[test]
        fn each_kind_has_its_share(
            rounds in prop::collection::vec((0..200_u32, 0..200_u64), 1..20),
            room in 1..20_usize,
        ) {
            let mut both = Dissemination::new(1_000, Duration::from_secs(1));
            let mut seq = 0;
            for (news, broadcasts) in rounds {
                for slot in 0..news {
                    both.news.put(slot);
                }
                for _ in 0..broadcasts {
                    seq += 1;
                    both.broadcast((Uuid::from_u128(1), 1, seq), vec![b'b'; LEN], Mono::ZERO);
                }
                let (queued_news, queued) = (both.news.len(), both.broadcasts.len());
                let (first, sent, told) = shares(&mut both, 8, room);
                prop_assert_eq!(first, if queued_news == 0 && queued > 0 { 8 } else if queued > 0 { 2 } else { 0 });
                let (least, least_news) = (2 * room.min(queued), 6 * room.min(queued_news));
                prop_assert!(sent >= least && told >= least_news, "{sent} of {least}, {told} of {least_news}");
                prop_assert_eq!(sent + told, 8 * room.min(queued_news + queued), "nothing is left empty");
            }
        }
    }

    #[test]
    fn broadcasts_are_bounded_in_number_and_age() {
        let mut both = Dissemination::new(2, Duration::from_secs(1));
        let key = |seq| (Uuid::from_u128(1), 1, seq);
        assert_eq!(both.broadcast(key(1), vec![1], Mono::ZERO), 0);
        assert_eq!(both.broadcast(key(2), vec![2], Mono::ZERO), 0);
        both.fill(&mut Vec::new(), 1, 9, |_, _| {});
        let later = Mono::ZERO + Duration::from_millis(1_500);
        assert_eq!(both.broadcast(key(3), vec![3], later), 1, "the one sent most often made room");
        let mut out = Vec::new();
        both.fill(&mut out, 9, 9, |_, _| {});
        assert_eq!(out, [3, 1]);
        assert_eq!(both.expire(later), 1);
        assert_eq!(both.broadcasts.len(), 1);
    }

    #[test]
    fn small_groups_send_often_enough() {
        assert_eq!(retransmit_limit(4, 1), 4);
        assert_eq!(retransmit_limit(4, 3), 8);
        assert_eq!(retransmit_limit(4, 30), 16);
        assert_eq!(retransmit_limit(4, 16_384), 40);
    }
}
