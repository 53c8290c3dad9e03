//! A vote for the voted mode: Raft's, with pre-vote, lease and the freshness check, and with the whole log in every append, which is
//! all that an election needs of it. Its flaws can be switched on, to see that the checks catch them.

use std::collections::BTreeSet;

use muster_cluster::{election::Freshness, time::Mono};

/// What is wrong with the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// One vote is a majority.
    Alone,
    /// Voters do not compare logs.
    BlindToLogs,
}

/// What votes say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ballot {
    Ask { real: bool, campaign: u64, term: u64, last: Freshness },
    Reply { real: bool, campaign: u64, term: u64, granted: bool },
    Append { term: u64, log: Vec<u64> },
    Appended { term: u64, len: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    Candidate { real: bool, campaign: u64, votes: BTreeSet<usize> },
    Leader { acks: BTreeSet<usize>, at: usize, reported: bool },
}

/// What a crash leaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) term: u64,
    pub(crate) voted: Option<usize>,
    pub(crate) log: Vec<u64>,
}

impl Disk {
    pub(crate) fn last(&self) -> Freshness {
        Freshness { term: self.log.last().copied().unwrap_or(0), index: self.log.len() as u64 }
    }
}

/// One voter.
#[derive(Clone, Debug)]
pub(crate) struct Voter {
    pub(crate) disk: Disk,
    pub(crate) role: Role,
    pub(crate) lease: Mono,
    appended_in: u64,
}

impl Voter {
    /// A voter that starts, or starts again: it must assume that it has just heard a leader.
    pub(crate) fn new(disk: Disk, lease: Mono) -> Self {
        Self { disk, role: Role::Follower, lease, appended_in: 0 }
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    /// Raises the term if the other's is higher; says whether that ended a leadership.
    pub(crate) fn observe(&mut self, term: u64) -> bool {
        if term <= self.disk.term {
            return false;
        }
        self.disk.term = term;
        self.disk.voted = None;
        let led = self.leads();
        self.role = Role::Follower;
        led
    }

    /// Whether the vote is given. A real one is remembered.
    pub(crate) fn grants(
        &mut self,
        now: Mono,
        from: usize,
        real: bool,
        term: u64,
        last: Freshness,
        flaw: Flaw,
    ) -> bool {
        let fresh = last >= self.disk.last() || flaw == Flaw::BlindToLogs;
        if now < self.lease || self.leads() || !fresh {
            return false;
        }
        if !real {
            return term > self.disk.term;
        }
        self.observe(term);
        let free = term == self.disk.term && self.disk.voted.is_none_or(|other| other == from);
        if free {
            self.disk.voted = Some(from);
        }
        free
    }

    /// A leader's log; says whether it was taken (or had been before).
    pub(crate) fn append(&mut self, now: Mono, lease: Mono, term: u64, log: Vec<u64>) -> bool {
        debug_assert!(now <= lease);
        if term < self.disk.term {
            return false;
        }
        self.observe(term);
        self.role = Role::Follower;
        self.lease = lease;
        // Of one term's appends a shorter one is an older one, come late.
        if term > self.appended_in || log.len() > self.disk.log.len() {
            self.disk.log = log;
            self.appended_in = term;
        }
        true
    }
}
