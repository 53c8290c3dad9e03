//! What must hold of every history, and the proof that each check bites.

use std::collections::BTreeMap;

use uuid::Uuid;

/// One leader a term, and nothing committed is ever lost. Fed by the world as things happen.
#[derive(Debug, Default)]
pub(crate) struct History {
    leaders: BTreeMap<u64, Uuid>,
    committed: Vec<u64>,
    pub(crate) broken: Option<String>,
}

impl History {
    /// A node's core said that somebody leads in this term.
    pub(crate) fn leads(&mut self, leader: Uuid, term: u64) {
        let first = *self.leaders.entry(term).or_insert(leader);
        if first != leader {
            self.breaks(format!("two leaders in term {term}: {first} and {leader}"));
        }
    }

    /// A majority has these entries.
    pub(crate) fn commits(&mut self, log: &[u64]) {
        if !log.starts_with(&self.committed) && !self.committed.starts_with(log) {
            self.breaks(format!("committed {:?}, then {log:?}", self.committed));
        }
        if log.len() > self.committed.len() {
            self.committed = log.to_vec();
        }
    }

    /// This log is that of a leader whose victory was reported.
    pub(crate) fn rules(&mut self, log: &[u64]) {
        if !log.starts_with(&self.committed) {
            self.breaks(format!("a leader without what was committed: {log:?} for {:?}", self.committed));
        }
    }

    pub(crate) fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub(crate) fn terms(&self) -> usize {
        self.leaders.len()
    }
}

#[test]
fn a_second_leader_of_a_term_is_caught() {
    let mut history = History::default();
    history.leads(Uuid::from_u128(1), 4);
    history.leads(Uuid::from_u128(1), 4);
    history.leads(Uuid::from_u128(2), 5);
    assert_eq!(history.broken, None);
    history.leads(Uuid::from_u128(2), 4);
    assert!(history.broken.is_some());
}

#[test]
fn a_leader_without_a_committed_entry_is_caught() {
    let mut history = History::default();
    history.commits(&[1, 1]);
    history.rules(&[1, 1, 2]);
    assert_eq!(history.broken, None);
    history.rules(&[1]);
    assert!(history.broken.is_some());
}
