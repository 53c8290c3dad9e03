//! What several registries say together: a function of the latest word of each.
//!
//! An id counts as a cluster when a majority of the registries *named* (not of those that answer) knows it, or when a
//! registered node carries it: nodes carry an id only once its founding was confirmed or they were admitted. What a
//! minority alone has recorded is a founding under way, or one that was given up.

use std::collections::{BTreeMap, BTreeSet};

use muster_client::api::registry::Registered;
use uuid::Uuid;

/// The latest word of one registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Word {
    /// Not asked to the end yet.
    #[default]
    Untried,
    /// It answered.
    Said(Registered),
    /// It did not, for this reason.
    Silent(String),
}

impl Word {
    fn said(&self) -> Option<&Registered> {
        match self {
            Self::Said(answer) => Some(answer),
            Self::Untried | Self::Silent(_) => None,
        }
    }
}

/// What the registries say of the cluster's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// Some registry has not been asked yet: too early to found anything.
    #[default]
    Unheard,
    /// No registry answers.
    Silent,
    /// No cluster yet, and the founding is not ours: wait.
    Waiting,
    /// No cluster yet, and a registry offers the founding to this node.
    Offered,
    /// This cluster.
    Cluster(Uuid),
    /// More than one, in order. Nobody picks; a person has to.
    Conflict(Vec<Uuid>),
}

/// Whether `count` is a majority of `named`.
pub(super) fn is_majority(count: usize, named: usize) -> bool {
    count * 2 > named
}

/// Weighs the words of all registries named.
pub(super) fn weigh(words: &[Word]) -> Standing {
    let mut votes: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut confirmed = BTreeSet::new();
    for answer in words.iter().filter_map(Word::said) {
        let known: BTreeSet<Uuid> = answer.conflict.iter().copied().chain(answer.cluster_id).collect();
        for id in known {
            *votes.entry(id).or_insert(0) += 1;
        }
        confirmed.extend(answer.seeds.iter().filter_map(|seed| seed.cluster_id));
    }
    confirmed.extend(votes.iter().filter(|(_, count)| is_majority(**count, words.len())).map(|(id, _)| *id));
    match confirmed.len() {
        0 => {}
        1 => return confirmed.pop_first().map_or(Standing::Waiting, Standing::Cluster),
        _ => return Standing::Conflict(confirmed.into_iter().collect()),
    }
    if words.contains(&Word::Untried) {
        return Standing::Unheard;
    }
    let mut said = words.iter().filter_map(Word::said).peekable();
    if said.peek().is_none() {
        return Standing::Silent;
    }
    if said.any(|answer| answer.found) { Standing::Offered } else { Standing::Waiting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_client::api::registry::Seed;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn answer() -> Registered {
        Registered {
            lease_ms: 5_000,
            renew_ms: 700,
            observed_ip: "10.0.0.1".parse().unwrap(),
            seeds: Vec::new(),
            cluster_id: None,
            found: false,
            conflict: Vec::new(),
        }
    }

    fn nothing() -> Word {
        Word::Said(answer())
    }

    fn offer() -> Word {
        Word::Said(Registered { found: true, ..answer() })
    }

    fn knows(n: u128) -> Word {
        Word::Said(Registered { cluster_id: Some(id(n)), ..answer() })
    }

    fn carried(n: u128) -> Word {
        let seed = Seed { id: id(1), http: "h:1".into(), peer: "h:2".into(), cluster_id: Some(id(n)) };
        Word::Said(Registered { seeds: vec![seed], ..answer() })
    }

    fn silent() -> Word {
        Word::Silent("refused".to_owned())
    }

    #[test]
    fn one_registry_is_its_own_majority() {
        assert_eq!(weigh(&[Word::Untried]), Standing::Unheard);
        assert_eq!(weigh(&[silent()]), Standing::Silent);
        assert_eq!(weigh(&[nothing()]), Standing::Waiting);
        assert_eq!(weigh(&[offer()]), Standing::Offered);
        assert_eq!(weigh(&[knows(7)]), Standing::Cluster(id(7)));
    }

    #[test]
    fn what_a_minority_has_recorded_is_no_cluster_yet() {
        assert_eq!(weigh(&[knows(7), nothing(), nothing()]), Standing::Waiting);
        assert_eq!(weigh(&[knows(7), silent(), silent()]), Standing::Waiting);
        assert_eq!(weigh(&[knows(7), knows(7), nothing()]), Standing::Cluster(id(7)));
        assert_eq!(weigh(&[knows(7), nothing()]), Standing::Waiting, "one of two is no majority");
    }

    #[test]
    fn a_node_that_carries_an_id_proves_it_whoever_is_silent() {
        assert_eq!(weigh(&[carried(7), silent(), silent()]), Standing::Cluster(id(7)));
        assert_eq!(weigh(&[carried(7), Word::Untried]), Standing::Cluster(id(7)));
    }

    #[test]
    fn nothing_is_founded_before_every_registry_was_asked() {
        assert_eq!(weigh(&[offer(), Word::Untried]), Standing::Unheard);
        assert_eq!(weigh(&[offer(), silent()]), Standing::Offered);
    }

    #[test]
    fn a_wiped_registry_that_offers_is_outweighed() {
        assert_eq!(weigh(&[offer(), knows(7), knows(7)]), Standing::Cluster(id(7)));
    }

    #[test]
    fn two_that_count_are_a_conflict_and_a_left_over_is_none() {
        let both = |a, b| Word::Said(Registered { conflict: vec![id(a), id(b)], ..answer() });
        assert_eq!(weigh(&[both(7, 8)]), Standing::Conflict(vec![id(7), id(8)]));
        assert_eq!(weigh(&[carried(8), carried(7), nothing()]), Standing::Conflict(vec![id(7), id(8)]));
        assert_eq!(weigh(&[both(7, 8), knows(7), knows(7)]), Standing::Cluster(id(7)));
    }
}
