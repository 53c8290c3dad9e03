//! Who founds the cluster of one name: the rules, as plain state. No time and no I/O; leases are the roll's.
//!
//! ```text
//! nobody known --enough newcomers--> offered to the lowest id --record()--> recorded
//!      ^                                   |
//!      +------- its lease lapsed ----------+
//! ```
//!
//! An id that a registered node carries counts as known even when nothing is recorded: then this registry has lost its
//! memory, not the cluster its founding. Two ids are both kept, and none is picked: that is for a person.

use std::collections::{BTreeMap, BTreeSet};

use muster_client::api::registry::{Founding, Standing};
use uuid::Uuid;

/// What is known under one cluster name.
#[derive(Debug, Default)]
pub struct Charter {
    /// Every registered node of the name.
    members: BTreeSet<Uuid>,
    /// Those without a cluster that were heard since the start, with the number that each was told to wait for.
    newcomers: BTreeMap<Uuid, u32>,
    /// How many registered nodes carry each cluster id.
    carried: BTreeMap<Uuid, usize>,
    recorded: Option<Founding>,
    offered: Option<Uuid>,
    /// Whether a person had the record forgotten: then it is not written again from what the nodes carry.
    waived: bool,
}

/// What is to be done with the wish to record a founding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has: record it, and confirm it once it is on disk.
    Record,
    /// This very founding is recorded already: confirm it again.
    Stands,
    /// Something else stands. `None`: several ids do, and none is picked.
    Refused(Option<Standing>),
}

impl Charter {
    /// A charter that remembers a recorded founding, or none.
    pub fn new(recorded: Option<Founding>) -> Self {
        Self { recorded, ..Self::default() }
    }

    /// Counts a node in. `heard`: it spoke itself since this registry started; one that is only remembered founds nothing.
    pub fn enter(&mut self, id: Uuid, cluster_id: Option<Uuid>, expect: u32, heard: bool) {
        self.members.insert(id);
        match cluster_id {
            Some(carried) => *self.carried.entry(carried).or_insert(0) += 1,
            None if heard => {
                self.newcomers.insert(id, expect);
            }
            None => {}
        }
    }

    /// Takes back what [`Charter::enter`] did with the same `cluster_id`.
    pub fn leave(&mut self, id: Uuid, cluster_id: Option<Uuid>) {
        self.members.remove(&id);
        self.newcomers.remove(&id);
        if let Some(carried) = cluster_id
            && let Some(count) = self.carried.get_mut(&carried)
        {
            *count -= 1;
            if *count == 0 {
                self.carried.remove(&carried);
            }
        }
    }

    /// Every id known under the name, in order.
    pub fn ids(&self) -> BTreeSet<Uuid> {
        self.carried.keys().copied().chain(self.recorded.as_ref().map(|founding| founding.cluster_id)).collect()
    }

    /// The one id that stands; `None` when there is none, or more than one.
    pub fn standing(&self) -> Option<Uuid> {
        let ids = self.ids();
        if ids.len() == 1 { ids.first().copied() } else { None }
    }

    /// All ids when there is more than one, else nothing.
    pub fn conflict(&self) -> Vec<Uuid> {
        let ids = self.ids();
        if ids.len() > 1 { ids.into_iter().collect() } else { Vec::new() }
    }

    /// To whom the founding is offered now, if to anybody.
    ///
    /// Newcomers may have been told different numbers to wait for; the largest counts, since waiting can be mended and
    /// founding cannot. An offer stays with its node while that node is a newcomer, even when a lower id arrives.
    pub fn offer(&mut self) -> Option<Uuid> {
        if !self.ids().is_empty() {
            self.offered = None;
            return None;
        }
        if self.offered.is_none_or(|id| !self.newcomers.contains_key(&id)) {
            let expect = self.newcomers.values().max().copied().unwrap_or(u32::MAX);
            let enough = u32::try_from(self.newcomers.len()).unwrap_or(u32::MAX) >= expect;
            self.offered = if enough { self.newcomers.keys().next().copied() } else { None };
        }
        self.offered
    }

    /// Compare-and-set against "nobody yet". A cluster whose record was lost may be recorded again under its own id.
    pub fn judge(&self, wanted: &Founding) -> Verdict {
        if self.recorded.as_ref() == Some(wanted) {
            return Verdict::Stands;
        }
        if let Some(founding) = &self.recorded {
            let standing = Standing { cluster_id: founding.cluster_id, founder: Some(founding.founder) };
            return Verdict::Refused(Some(standing));
        }
        match (self.standing(), self.carried.len()) {
            (None, 0) => Verdict::Record,
            (Some(id), _) if id == wanted.cluster_id => Verdict::Record,
            (Some(id), _) => Verdict::Refused(Some(Standing { cluster_id: id, founder: None })),
            (None, _) => Verdict::Refused(None),
        }
    }

    /// Sets the record after [`Verdict::Record`], or takes it away at a person's wish.
    pub fn set_recorded(&mut self, recorded: Option<Founding>) {
        self.waived = recorded.is_none();
        self.recorded = recorded;
        self.offered = None;
    }

    /// The id that stands without a record, and is worth one: otherwise it would be forgotten with the last node's lease, and the
    /// next newcomer would found beside a cluster that only sleeps.
    pub fn unrecorded(&self) -> Option<Uuid> {
        if self.recorded.is_some() || self.waived { None } else { self.standing() }
    }

    /// The recorded founding.
    pub fn recorded(&self) -> Option<&Founding> {
        self.recorded.as_ref()
    }

    /// Every id that registered nodes carry, in order.
    pub fn carried(&self) -> impl Iterator<Item = Uuid> {
        self.carried.keys().copied()
    }

    /// The registered nodes of the name, in order.
    pub fn members(&self) -> &BTreeSet<Uuid> {
        &self.members
    }

    /// Whether the name can be forgotten: nobody there, nothing recorded.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.recorded.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn founding(cluster: u128, founder: u128) -> Founding {
        Founding { cluster_id: id(cluster), founder: id(founder) }
    }

    #[test]
    fn the_lowest_id_is_offered_once_enough_are_there() {
        let mut charter = Charter::default();
        assert_eq!(charter.offer(), None);
        charter.enter(id(5), None, 3, true);
        charter.enter(id(3), None, 3, true);
        assert_eq!(charter.offer(), None);
        charter.enter(id(9), None, 3, true);
        assert_eq!(charter.offer(), Some(id(3)));
    }

    #[test]
    fn an_offer_stays_until_its_node_is_gone() {
        let mut charter = Charter::default();
        charter.enter(id(5), None, 1, true);
        assert_eq!(charter.offer(), Some(id(5)));
        charter.enter(id(3), None, 1, true);
        assert_eq!(charter.offer(), Some(id(5)));
        charter.leave(id(5), None);
        assert_eq!(charter.offer(), Some(id(3)));
    }

    #[test]
    fn the_largest_number_to_wait_for_counts() {
        let mut charter = Charter::default();
        charter.enter(id(1), None, 1, true);
        charter.enter(id(2), None, 3, true);
        assert_eq!(charter.offer(), None);
        charter.enter(id(3), None, 1, true);
        assert_eq!(charter.offer(), Some(id(1)));
    }

    #[test]
    fn one_that_is_only_remembered_founds_nothing_and_is_not_counted() {
        let mut charter = Charter::default();
        charter.enter(id(1), None, 2, false);
        charter.enter(id(2), None, 2, true);
        assert_eq!(charter.offer(), None);
        charter.leave(id(1), None);
        charter.enter(id(1), None, 2, true);
        assert_eq!(charter.offer(), Some(id(1)));
    }

    #[test]
    fn a_node_with_a_cluster_never_founds_and_nobody_beside_it() {
        let mut charter = Charter::default();
        charter.enter(id(1), Some(id(100)), 1, true);
        charter.enter(id(2), None, 1, true);
        assert_eq!((charter.offer(), charter.standing()), (None, Some(id(100))));
        assert_eq!(
            charter.judge(&founding(200, 2)),
            Verdict::Refused(Some(Standing { cluster_id: id(100), founder: None }))
        );
        assert_eq!(charter.judge(&founding(100, 1)), Verdict::Record, "its own id may be recorded again");
    }

    #[test]
    fn the_first_record_stands_and_is_confirmed_again() {
        let mut charter = Charter::default();
        let first = founding(100, 1);
        assert_eq!(charter.judge(&first), Verdict::Record);
        charter.set_recorded(Some(first.clone()));
        assert_eq!(charter.judge(&first), Verdict::Stands);
        let standing = Some(Standing { cluster_id: id(100), founder: Some(id(1)) });
        assert_eq!(charter.judge(&founding(200, 2)), Verdict::Refused(standing));
        assert_eq!(charter.judge(&founding(100, 2)), Verdict::Refused(standing), "an id is founded by one node");
    }

    #[test]
    fn two_ids_are_both_shown_and_none_is_picked() {
        let mut charter = Charter::new(Some(founding(100, 1)));
        charter.enter(id(7), Some(id(200)), 1, true);
        charter.enter(id(8), None, 1, true);
        assert_eq!((charter.standing(), charter.offer()), (None, None));
        assert_eq!(charter.conflict(), [id(100), id(200)]);
        charter.leave(id(7), Some(id(200)));
        assert_eq!((charter.standing(), charter.conflict()), (Some(id(100)), vec![]));
    }

    #[test]
    fn what_nodes_carry_is_worth_a_record_unless_a_person_waived_it() {
        let mut charter = Charter::default();
        assert_eq!(charter.unrecorded(), None);
        charter.enter(id(7), Some(id(100)), 1, true);
        assert_eq!(charter.unrecorded(), Some(id(100)));
        charter.set_recorded(Some(founding(100, 7)));
        assert_eq!(charter.unrecorded(), None);
        charter.set_recorded(None);
        assert_eq!(charter.unrecorded(), None, "waived");
        let mut conflict = Charter::default();
        conflict.enter(id(7), Some(id(100)), 1, true);
        conflict.enter(id(8), Some(id(200)), 1, true);
        assert_eq!(conflict.unrecorded(), None, "none is picked");
    }

    #[test]
    fn two_carried_ids_refuse_any_record() {
        let mut charter = Charter::default();
        charter.enter(id(7), Some(id(100)), 1, true);
        charter.enter(id(8), Some(id(200)), 1, true);
        assert_eq!(charter.judge(&founding(100, 7)), Verdict::Refused(None));
    }

    #[test]
    fn forgetting_the_record_lets_newcomers_found_anew_but_not_beside_carriers() {
        let mut charter = Charter::new(Some(founding(100, 1)));
        charter.enter(id(2), None, 1, true);
        assert_eq!(charter.offer(), None);
        charter.set_recorded(None);
        assert_eq!(charter.offer(), Some(id(2)));
        charter.enter(id(1), Some(id(100)), 1, true);
        assert_eq!(charter.offer(), None);
    }
}
