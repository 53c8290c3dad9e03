//! How candidates are compared.
//!
//! Rank is compared field by field: the fresher log first, then the operator's priority, then the id. The log comes first because a
//! candidate with a shorter log cannot win a majority vote: an election that looked at the id alone would send a node to campaign
//! that loses every time. Programs without a log leave [`Freshness`] at its default, and priority and id decide.

use uuid::Uuid;

/// How far a node's log reaches: the term and the index of its last entry, compared in that order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Freshness {
    /// The term of the last entry.
    pub term: u64,
    /// The index of the last entry.
    pub index: u64,
}

/// A candidate's rank. The derived order is the election's: the field order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The fresher log outranks.
    pub freshness: Freshness,
    /// Among equally fresh logs, what the operator prefers.
    pub priority: i32,
    /// Breaks the remaining ties, so that two nodes never rank the same.
    pub id: Uuid,
}

impl Rank {
    /// The rank of a node that has no log and no preference.
    pub fn plain(id: Uuid) -> Self {
        Self { freshness: Freshness::default(), priority: 0, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(term: u64, index: u64, priority: i32, id: u128) -> Rank {
        Rank { freshness: Freshness { term, index }, priority, id: Uuid::from_u128(id) }
    }

    #[test]
    fn freshness_comes_before_priority_and_priority_before_the_id() {
        let ascending = [
            rank(1, 9, 9, 9),
            rank(2, 1, 0, 9),
            rank(2, 2, -1, 9),
            rank(2, 2, 0, 1),
            rank(2, 2, 0, 2),
            rank(2, 2, 1, 0),
        ];
        assert!(ascending.is_sorted());
        assert!(ascending.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
