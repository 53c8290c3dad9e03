//! The rows of keys that were read or written lately, in bounded memory.
//!
//! In front of the engine's own cache, which holds blocks of tables: after some overwriting most of those are of tables that are gone, and a few megabytes of
//! live keys fill any cache. This one holds live rows only, saves the search through the tables, and tells the applier what is there.
//!
//! The applier is the only one who changes keys, and corrects the cache before it says that it applied them. A reader that fetched a row from the engine
//! puts it in only if nothing in that shard was changed since it looked, so an old row never outlives its successor.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Enough that two threads seldom meet in one.
const SHARDS: usize = 64;

/// What a row takes beside its bytes: map, queue, counters.
const OVERHEAD: u64 = 128;

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Vec<Mutex<Shard>>,
    /// Chosen anew for each process: nobody can aim keys at one shard.
    hasher: RandomState,
    shard_limit: u64,
}

/// What a reader that missed has to show to put something in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    shard: usize,
    version: u64,
}

#[derive(Debug, Default)]
struct Shard {
    rows: HashMap<Arc<str>, Slot>,
    /// Second chance, oldest first. May name rows that are gone.
    queue: VecDeque<Arc<str>>,
    bytes: u64,
    /// Counts the changes by the applier.
    version: u64,
}

#[derive(Debug)]
struct Slot {
    row: Bytes,
    /// Was read since it came in or was last spared.
    read: bool,
}

impl Cache {
    /// Takes at most about `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), shard_limit: limit / SHARDS as u64 }
    }

    /// The row of a key, or what is needed to put it in.
    pub(super) fn get(&self, key: &str) -> Result<Bytes, Ticket> {
        let at = self.shard_of(key);
        let mut shard = self.lock(at);
        match shard.rows.get_mut(key) {
            Some(slot) => {
                slot.read = true;
                Ok(slot.row.clone())
            }
            None => Err(Ticket { shard: at, version: shard.version }),
        }
    }

    /// Puts in a row that was read from the engine after the ticket was given.
    pub(super) fn fill(&self, ticket: Ticket, key: &str, row: Bytes) {
        let mut shard = self.lock(ticket.shard);
        if shard.version == ticket.version {
            shard.put(key, row, self.shard_limit);
        }
    }

    /// A key was set (`None`: removed) in the engine.
    pub(super) fn change(&self, key: &str, row: Option<Bytes>) {
        let mut shard = self.lock(self.shard_of(key));
        shard.version += 1;
        match row {
            Some(row) => shard.put(key, row, self.shard_limit),
            None => shard.remove(key),
        }
    }

    /// Everything was changed.
    pub(super) fn clear(&self) {
        for at in 0..SHARDS {
            let mut shard = self.lock(at);
            let version = shard.version + 1;
            *shard = Shard { version, ..Shard::default() };
        }
    }

    fn shard_of(&self, key: &str) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Shard> {
        // A shard that a panic left behind may only be wrong in its sums.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn put(&mut self, key: &str, row: Bytes, limit: u64) {
        let cost = cost(key, &row);
        // One that would push out most others is not worth it.
        if cost > limit / 4 {
            return self.remove(key);
        }
        self.bytes += cost;
        if let Some(slot) = self.rows.get_mut(key) {
            let old = std::mem::replace(&mut slot.row, row);
            self.bytes -= self::cost(key, &old);
        } else {
            let key: Arc<str> = key.into();
            self.queue.push_back(key.clone());
            self.rows.insert(key, Slot { row, read: false });
        }
        while self.bytes > limit || self.queue.len() > 2 * self.rows.len() + 16 {
            self.turn();
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(slot) = self.rows.remove(key) {
            self.bytes -= cost(key, &slot.row);
        }
    }

    /// Removes the oldest, or spares it if it was read.
    fn turn(&mut self) {
        let Some(key) = self.queue.pop_front() else { return };
        match self.rows.get_mut(&key) {
            Some(slot) if slot.read => {
                slot.read = false;
                self.queue.push_back(key);
            }
            Some(_) => self.remove(&key),
            None => {}
        }
    }
}

fn cost(key: &str, row: &Bytes) -> u64 {
    key.len() as u64 + row.len() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(length: usize) -> Bytes {
        vec![7; length].into()
    }

    #[test]
    fn it_stays_within_its_limit_and_spares_what_is_read() {
        let cache = Cache::new(64 * 10_000);
        cache.change("read", Some(row(100)));
        for at in 0..20_000 {
            assert!(cache.get("read").is_ok(), "after {at}");
            cache.change(&format!("{at}"), Some(row(100)));
            if at % 3 == 0 {
                cache.change(&format!("{at}"), None);
            }
        }
        for at in 0..SHARDS {
            let shard = cache.lock(at);
            let sum: u64 = shard.rows.iter().map(|(key, slot)| cost(key, &slot.row)).sum();
            assert_eq!(shard.bytes, sum);
            assert!((5_000..=10_000).contains(&sum), "{sum}");
            assert!(shard.queue.len() <= 2 * shard.rows.len() + 16);
        }
        cache.change("read", Some(row(5_000)));
        assert!(cache.get("read").is_err(), "too large for a shard");
    }

    #[test]
    fn a_row_that_was_read_before_a_change_does_not_come_in_behind_it() {
        let cache = Cache::new(1 << 20);
        let late = cache.get("k").unwrap_err();
        cache.change("k", Some(row(2)));
        cache.fill(late, "k", row(1));
        assert_eq!(cache.get("k").unwrap(), row(2));
        let late = cache.get("gone").unwrap_err();
        cache.change("gone", None);
        cache.fill(late, "gone", row(1));
        assert!(cache.get("gone").is_err());
        let late = cache.get("other").unwrap_err();
        cache.clear();
        cache.fill(late, "other", row(1));
        assert!(cache.get("other").is_err() && cache.get("k").is_err());
        let ticket = cache.get("k").unwrap_err();
        cache.fill(ticket, "k", row(3));
        assert_eq!(cache.get("k").unwrap(), row(3));
    }
}
