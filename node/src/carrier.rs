//! Numbers the writes that this node carries to the leader, so that what it tries again applies once (see [`crate::kv::session`]).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use muster_cluster::world;

use crate::kv::session::Carried;

/// The writes under way of one start of this node.
#[derive(Debug)]
pub struct Carrier {
    session: u128,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    next: u64,
    numbers: BTreeSet<u64>,
}

/// A write under way; settled when dropped: it must not be proposed after that.
#[derive(Debug)]
pub struct Ticket<'a> {
    carrier: &'a Carrier,
    carried: Carried,
}

impl Carrier {
    /// A session that nobody had before.
    pub fn new() -> Self {
        let under_way = UnderWay { next: 1, numbers: BTreeSet::new() };
        Self { session: world::uuid().as_u128(), under_way: Mutex::new(under_way) }
    }

    /// Numbers a write.
    pub fn ticket(&self) -> Ticket<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let number = under_way.next;
        under_way.next += 1;
        under_way.numbers.insert(number);
        let settled_below = under_way.numbers.first().copied().unwrap_or(number);
        Ticket { carrier: self, carried: Carried { session: self.session, number, settled_below } }
    }
}

impl Default for Carrier {
    fn default() -> Self {
        Self::new()
    }
}

impl Ticket<'_> {
    /// What the write is recognised by. The same whenever it is asked: a retry must be what was tried.
    pub fn carried(&self) -> Carried {
        self.carried
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.carrier.under_way.lock().unwrap_or_else(PoisonError::into_inner).numbers.remove(&self.carried.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_under_way_is_never_settled() {
        let carrier = Carrier::new();
        let (first, second) = (carrier.ticket(), carrier.ticket());
        assert_eq!((first.carried().number, first.carried().settled_below), (1, 1));
        assert_eq!((second.carried().number, second.carried().settled_below), (2, 1));
        drop(second);
        assert_eq!(carrier.ticket().carried().settled_below, 1);
        drop(first);
        let last = carrier.ticket();
        assert_eq!((last.carried().number, last.carried().settled_below), (4, 4));
        assert_ne!(carrier.session, Carrier::new().session);
    }
}
