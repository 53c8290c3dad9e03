//! Who takes part, who of them can be reached, and how they rank as far as is known.
//!
//! Pure bookkeeping and counting; it decides nothing. The set comes from the caller (for a store: the committed voters, never the
//! gossip view).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::rank::Rank;

/// The participants as one of them sees them.
#[derive(Clone, Debug)]
pub(super) struct Electorate {
    me: Uuid,
    members: BTreeSet<Uuid>,
    reachable: BTreeSet<Uuid>,
    ranks: BTreeMap<Uuid, Rank>,
}

impl Electorate {
    pub(super) fn new(me: Uuid) -> Self {
        Self { me, members: BTreeSet::new(), reachable: BTreeSet::new(), ranks: BTreeMap::new() }
    }

    pub(super) fn replace(&mut self, members: BTreeSet<Uuid>) {
        // What is known of those who left goes with them, or the maps would grow for ever.
        self.ranks.retain(|id, _| members.contains(id));
        self.reachable.retain(|id| members.contains(id));
        self.members = members;
    }

    pub(super) fn contains(&self, id: Uuid) -> bool {
        self.members.contains(&id)
    }

    pub(super) fn includes_me(&self) -> bool {
        self.members.contains(&self.me)
    }

    pub(super) fn is_me_alone(&self) -> bool {
        self.members.len() == 1 && self.includes_me()
    }

    /// Everyone but this node, in order.
    pub(super) fn peers(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.members.iter().copied().filter(|id| *id != self.me)
    }

    pub(super) fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Notes what the caller's streams say. Those outside of the electorate are of no interest.
    pub(super) fn set_reachable(&mut self, peer: Uuid, reachable: bool) {
        if !reachable {
            self.reachable.remove(&peer);
        } else if self.contains(peer) && peer != self.me {
            self.reachable.insert(peer);
        }
    }

    pub(super) fn is_reachable(&self, peer: Uuid) -> bool {
        self.reachable.contains(&peer)
    }

    /// Whether this node and those it reaches are a majority. A peer of which nothing was said counts as out of reach.
    pub(super) fn reaches_majority(&self) -> bool {
        self.includes_me() && self.reachable.len() + 1 >= self.majority()
    }

    pub(super) fn note_rank(&mut self, rank: Rank) {
        if self.contains(rank.id) && rank.id != self.me {
            self.ranks.insert(rank.id, rank);
        }
    }

    pub(super) fn rank_of(&self, id: Uuid) -> Option<Rank> {
        self.ranks.get(&id).copied()
    }

    /// How many peers outrank `mine` as far as is known, `except` left out. A peer never heard of is taken to be as fresh as this node,
    /// with the same priority.
    pub(super) fn outranked_by(&self, mine: Rank, except: Option<Uuid>) -> u32 {
        let above = self.peers().filter(|id| Some(*id) != except).filter(|id| {
            let rank = self.ranks.get(id).copied();
            rank.unwrap_or(Rank { freshness: mine.freshness, priority: mine.priority, id: *id }) > mine
        });
        u32::try_from(above.count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn a_majority_counts_this_node_and_those_it_reaches() {
        let mut electorate = Electorate::new(id(1));
        assert!(!electorate.reaches_majority(), "nobody is a majority of an empty electorate");
        electorate.replace((1..=4).map(id).collect());
        electorate.set_reachable(id(2), true);
        assert!(!electorate.reaches_majority(), "two of four are half");
        electorate.set_reachable(id(9), true);
        assert!(!electorate.reaches_majority(), "a stranger does not count");
        electorate.set_reachable(id(3), true);
        assert!(electorate.reaches_majority());
        electorate.replace((2..=4).map(id).collect());
        assert!(!electorate.reaches_majority(), "this node was taken out");
    }

    #[test]
    fn the_unknown_rank_by_id_and_the_known_by_what_they_said() {
        let mut electorate = Electorate::new(id(2));
        electorate.replace((1..=4).map(id).collect());
        let mine = Rank::plain(id(2));
        assert_eq!(electorate.outranked_by(mine, None), 2);
        electorate.note_rank(Rank { priority: -1, ..Rank::plain(id(4)) });
        assert_eq!(electorate.outranked_by(mine, None), 1);
        assert_eq!(electorate.outranked_by(mine, Some(id(3))), 0);
    }
}
