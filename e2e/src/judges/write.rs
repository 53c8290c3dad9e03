//! Writes as judges see them: all sendings of one write together, with whatever anybody saw of it.

use std::collections::{BTreeMap, HashMap};

use crate::torture::operation::{Call, Condition, Found, Micros, Operation, Seen};
use crate::torture::record::Record;

/// A write, with all its sendings.
#[derive(Debug, Clone)]
pub struct Write<'a> {
    /// The key.
    pub key: &'a str,
    /// What was to be put; `None`: the key was to be removed.
    pub value: Option<&'a str>,
    /// On what condition.
    pub condition: Condition,
    /// When it was first sent.
    pub began: Micros,
    /// When it was certainly decided: the first definite answer, or the first sight of its value.
    pub ended: Option<Micros>,
    /// What is known of it.
    pub fate: Fate,
    /// Who sent it first.
    pub client: usize,
}

/// What is known of a write from all its answers and from what others read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has this revision; whether the key was there before, if anybody was told.
    Applied {
        /// The revision.
        revision: u64,
        /// Whether the key was there before.
        existed: Option<bool>,
        /// Whether its client was told so.
        acked: bool,
    },
    /// Its condition did not hold; the key's revision at that moment, `None` for an absent key.
    Refused(Option<u64>),
    /// It certainly was not applied.
    Failed,
    /// Nobody knows.
    Unknown,
}

impl Write<'_> {
    /// Its revision, if it is known to have been applied.
    pub fn revision(&self) -> Option<u64> {
        match self.fate {
            Fate::Applied { revision, .. } => Some(revision),
            Fate::Refused(_) | Fate::Failed | Fate::Unknown => None,
        }
    }
}

/// All writes in the order in which they were first sent.
pub fn writes(record: &Record) -> Vec<Write<'_>> {
    let mut all: Vec<Write<'_>> = Vec::new();
    let mut sent: HashMap<&str, usize> = HashMap::new();
    let mut operations: Vec<&Operation> = record.operations.iter().filter(|done| done.call.writes()).collect();
    operations.sort_by_key(|done| done.began);
    for done in operations {
        let write = of(done);
        match done.call.again().and_then(|again| sent.get(again)) {
            Some(&at) => join(&mut all[at], &write),
            None => {
                sent.extend(done.call.again().map(|again| (again, all.len())));
                all.push(write);
            }
        }
    }
    let sights = sights(record);
    for write in &mut all {
        let sight = write.value.and_then(|value| sights.get(&(write.key, value)));
        if let (Fate::Unknown, Some(&(revision, at))) = (write.fate, sight) {
            write.fate = Fate::Applied { revision, existed: None, acked: false };
            write.ended = Some(at);
        }
    }
    all
}

/// The same by key.
pub fn by_key(record: &Record) -> BTreeMap<&str, Vec<Write<'_>>> {
    let mut keys: BTreeMap<&str, Vec<Write<'_>>> = BTreeMap::new();
    for write in writes(record) {
        keys.entry(write.key).or_default().push(write);
    }
    keys
}

fn of(done: &Operation) -> Write<'_> {
    let (key, value, condition) = match &done.call {
        Call::Put { key, value, condition, .. } => (key.as_str(), Some(value.as_str()), *condition),
        Call::Delete { key, condition, .. } => (key.as_str(), None, *condition),
        Call::Get { .. } | Call::List { .. } => unreachable!("only writes are asked for"),
    };
    let fate = match done.seen {
        Seen::Wrote { revision, existed } => Fate::Applied { revision, existed: Some(existed), acked: true },
        Seen::Refused { current } => Fate::Refused(current),
        Seen::Failed(_) => Fate::Failed,
        Seen::Unknown(_) | Seen::Read { .. } | Seen::Listed { .. } => Fate::Unknown,
    };
    let ended = (fate != Fate::Unknown).then_some(done.ended);
    Write { key, value, condition, began: done.began, ended, fate, client: done.client }
}

/// A further sending. What any of them was told holds for all, but a failure: that is of this sending only.
fn join(first: &mut Write<'_>, again: &Write<'_>) {
    match (first.fate, again.fate) {
        (Fate::Applied { .. } | Fate::Refused(_), Fate::Applied { .. } | Fate::Refused(_)) => {
            // Whether the answers agree is the judge `once`'s business.
            first.ended = first.ended.min(again.ended);
        }
        (_, Fate::Applied { .. } | Fate::Refused(_)) => (first.fate, first.ended) = (again.fate, again.ended),
        (Fate::Failed, Fate::Unknown) => (first.fate, first.ended) = (Fate::Unknown, None),
        (Fate::Failed, Fate::Failed) => first.ended = first.ended.max(again.ended),
        (Fate::Applied { .. } | Fate::Refused(_) | Fate::Unknown, Fate::Failed | Fate::Unknown) => {}
    }
}

/// Who saw what: the revision of each value of each key as it was read first, and when.
fn sights(record: &Record) -> HashMap<(&str, &str), (u64, Micros)> {
    let mut sights: HashMap<(&str, &str), (u64, Micros)> = HashMap::new();
    for done in &record.operations {
        for (key, found) in found_by(done) {
            let sight = sights.entry((key, &found.value)).or_insert((found.revision, done.ended));
            sight.1 = sight.1.min(done.ended);
        }
    }
    for copy in &record.copies {
        for (key, found) in &copy.found {
            sights.entry((key, &found.value)).or_insert((found.revision, Micros::MAX));
        }
    }
    sights
}

/// The keys that an operation found to be there.
pub fn found_by(done: &Operation) -> Vec<(&str, &Found)> {
    match (&done.call, &done.seen) {
        (Call::Get { key, .. }, Seen::Read { found: Some(found), .. }) => vec![(key, found)],
        (_, Seen::Listed { found, .. }) => found.iter().map(|(key, found)| (key.as_str(), found)).collect(),
        _ => Vec::new(),
    }
}
