//! Short histories, told by tests.

use std::ops::Range;

use crate::torture::operation::{Call, Condition, Found, Freshness, Micros, Operation, Seen};
use crate::torture::record::Record;

/// A history under way. Every operation is of another client, unless [`Story::by`] says whose.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) record: Record,
}

pub(super) fn found(value: &str, revision: u64) -> Found {
    Found { value: value.to_owned(), revision }
}

impl Story {
    pub(super) fn add(mut self, call: Call, seen: Seen, when: Range<Micros>) -> Self {
        let client = self.record.operations.len();
        self.record.operations.push(Operation { client, node: None, began: when.start, ended: when.end, call, seen });
        self
    }

    /// The last operation is this client's.
    pub(super) fn by(mut self, client: usize) -> Self {
        self.record.operations.last_mut().unwrap().client = client;
        self
    }

    /// The last operation was sent with this idempotency key.
    pub(super) fn again(mut self, name: &str) -> Self {
        match &mut self.record.operations.last_mut().unwrap().call {
            Call::Put { again, .. } | Call::Delete { again, .. } => *again = Some(name.to_owned()),
            Call::Get { .. } | Call::List { .. } => unreachable!("a read has no such key"),
        }
        self
    }

    /// A put that was acknowledged with this revision, or of which nobody knows.
    pub(super) fn put(self, key: &str, value: &str, when: Range<Micros>, revision: Option<u64>) -> Self {
        let there = self.record.operations.iter().any(|done| done.call.key() == Some(key) && done.acked().is_some());
        let seen = revision.map(|revision| Seen::Wrote { revision, existed: there });
        self.put_as(key, value, when, seen.unwrap_or(Seen::Unknown(String::new())))
    }

    pub(super) fn put_as(self, key: &str, value: &str, when: Range<Micros>, seen: Seen) -> Self {
        self.put_if(key, value, Condition::Always, when, seen)
    }

    pub(super) fn put_if(self, key: &str, value: &str, condition: Condition, when: Range<Micros>, seen: Seen) -> Self {
        self.add(Call::Put { key: key.to_owned(), value: value.to_owned(), condition, again: None }, seen, when)
    }

    /// A delete of a key that was there, acknowledged with this revision, or of which nobody knows.
    pub(super) fn delete(self, key: &str, when: Range<Micros>, revision: Option<u64>) -> Self {
        let seen = revision.map(|revision| Seen::Wrote { revision, existed: true });
        let call = Call::Delete { key: key.to_owned(), condition: Condition::Always, again: None };
        self.add(call, seen.unwrap_or(Seen::Unknown(String::new())), when)
    }

    /// A read at a node that had applied what it found.
    pub(super) fn get(self, key: &str, what: Option<(&str, u64)>, when: Range<Micros>, freshness: Freshness) -> Self {
        let applied = what.map_or(0, |(_, revision)| revision);
        self.get_at(key, what, applied, None, when, freshness)
    }

    pub(super) fn get_at(
        self,
        key: &str,
        what: Option<(&str, u64)>,
        applied: u64,
        staleness: Option<u64>,
        when: Range<Micros>,
        freshness: Freshness,
    ) -> Self {
        let found = what.map(|(value, revision)| found(value, revision));
        let call = Call::Get { key: key.to_owned(), freshness };
        self.add(call, Seen::Read { found, applied: Some(applied), staleness }, when)
    }
}
