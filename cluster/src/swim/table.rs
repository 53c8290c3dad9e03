//! The rows of all members, in order of their ids, and how alike two members' rows are.
//!
//! ```text
//!   base, shared          slot 0 .. b    sorted, never changes; empty in a member that starts alone
//!   changed               rows of the base that are other here
//!   more                  slot b ..      members that the base does not know, and their order
//! ```
//!
//! Members of one process that know the same (a simulation's) share the base and keep their differences only. A slot is a
//! member's number for as long as it is known: what is kept of all members is kept by slots, in four bytes each.
//!
//! What it does not do: merge (that is for [`Row`]), and decide what is told to others; what is not told is not in the digest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::digest::{Sums, row_hash};
use super::lww::Row;

/// A member's number.
pub(super) type Slot = u32;

/// Room for one more. What is kept of all members grows by an eighth, not to twice what it was: it grows seldom, and then stays.
pub(super) fn make_room<T>(all: &mut Vec<T>) {
    if all.len() == all.capacity() {
        all.reserve_exact(all.len() / 8 + 8);
    }
}

/// What several members share.
#[derive(Debug, Default)]
pub(super) struct Base {
    rows: Vec<(Uuid, Row)>,
    sums: Sums,
}

impl Base {
    /// Of rows in any order; of several under one id the last counts. At most [`MAX_ROWS`](super::wire::MAX_ROWS) are kept.
    pub(super) fn new(rows: impl IntoIterator<Item = (Uuid, Row)>) -> Self {
        let rows: BTreeMap<Uuid, Row> = rows.into_iter().collect();
        let mut sums = Sums::default();
        let rows: Vec<_> = rows.into_iter().take(super::wire::MAX_ROWS).collect();
        for (id, row) in &rows {
            sums.replace(*id, 0, row_hash(*id, row, true));
        }
        Self { rows, sums }
    }

    pub(super) fn rows(&self) -> &[(Uuid, Row)] {
        &self.rows
    }

    fn find(&self, id: &Uuid) -> Option<usize> {
        self.rows.binary_search_by_key(id, |(id, _)| *id).ok()
    }
}

/// Where a row is, with the upper half of its id: so nearly all of a search stays within one array.
#[derive(Debug, Clone, Copy)]
struct Place {
    upper: u64,
    at: u32,
}

fn upper(id: &Uuid) -> u64 {
    id.as_u64_pair().0
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    base: Arc<Base>,
    /// None: forgotten here.
    changed: BTreeMap<Slot, Option<Row>>,
    /// Under the nil id: nobody, to be used again.
    more: Vec<(Uuid, Row)>,
    /// Places in `more`, in order of the ids there.
    order: Vec<Place>,
    free: Vec<u32>,
    len: usize,
    sums: Sums,
    /// Our own, until others may know us.
    concealed: Option<Uuid>,
    /// Those whose tombstones are told no more.
    faded: BTreeSet<Uuid>,
}

impl Table {
    /// All that the base has.
    pub(super) fn over(base: Arc<Base>) -> Self {
        Self { len: base.rows.len(), sums: base.sums.clone(), base, ..Self::default() }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains_key(&self, id: &Uuid) -> bool {
        self.get(id).is_some()
    }

    fn place(&self, id: &Uuid) -> Result<usize, usize> {
        let wanted = upper(id);
        self.order.binary_search_by(|place| {
            let id_there = || self.more.get(place.at as usize).map(|(id, _)| *id).unwrap_or_default();
            place.upper.cmp(&wanted).then_with(|| id_there().cmp(id))
        })
    }

    fn slot_in_more(&self, id: &Uuid) -> Option<usize> {
        self.place(id).ok().and_then(|place| self.order.get(place)).map(|place| place.at as usize)
    }

    pub(super) fn get(&self, id: &Uuid) -> Option<&Row> {
        match self.base.find(id) {
            Some(slot) => self.at_base(slot),
            None => self.slot_in_more(id).and_then(|at| self.more.get(at)).map(|(_, row)| row),
        }
    }

    fn at_base(&self, slot: usize) -> Option<&Row> {
        match self.changed.get(&(slot as Slot)) {
            Some(row) => row.as_ref(),
            None => self.base.rows.get(slot).map(|(_, row)| row),
        }
    }

    /// The number of a member that is known.
    pub(super) fn slot(&self, id: &Uuid) -> Option<Slot> {
        match self.base.find(id) {
            Some(slot) => self.at_base(slot).map(|_| slot as Slot),
            None => self.slot_in_more(id).map(|at| (self.base.rows.len() + at) as Slot),
        }
    }

    /// Whose number it is, and what is said of it.
    pub(super) fn at(&self, slot: Slot) -> Option<(Uuid, &Row)> {
        let found = match (slot as usize).checked_sub(self.base.rows.len()) {
            None => self.base.rows.get(slot as usize).map(|(id, _)| *id).zip(self.at_base(slot as usize)),
            Some(at) => self.more.get(at).map(|(id, row)| (*id, row)),
        };
        found.filter(|(id, _)| !id.is_nil())
    }

    /// Whose number it is.
    pub(super) fn id_at(&self, slot: Slot) -> Option<Uuid> {
        let slot = slot as usize;
        let row = match slot.checked_sub(self.base.rows.len()) {
            None => self.base.rows.get(slot),
            Some(at) => self.more.get(at),
        };
        row.map(|(id, _)| *id).filter(|id| !id.is_nil())
    }

    /// Lets `change` have its way with a row, an empty one if there is none; it says whether it changed anything.
    pub(super) fn change(&mut self, id: Uuid, change: impl FnOnce(&mut Row) -> bool) -> bool {
        let before = self.get(&id).cloned();
        let mut after = before.clone().unwrap_or_default();
        let changed = change(&mut after);
        if changed || before.is_none() {
            let old = before.map_or(0, |row| self.weight(id, &row));
            self.sums.replace(id, old, self.weight(id, &after));
            self.put(id, after);
        }
        changed
    }

    fn put(&mut self, id: Uuid, row: Row) {
        if let Some(slot) = self.base.find(&id) {
            if let Some(None) = self.changed.insert(slot as Slot, Some(row)) {
                self.len += 1;
            }
            return;
        }
        match self.place(&id) {
            Ok(place) => {
                if let Some(old) = self.order.get(place).and_then(|place| self.more.get_mut(place.at as usize)) {
                    old.1 = row;
                }
            }
            Err(place) => {
                let at = self.free.pop().unwrap_or_else(|| {
                    make_room(&mut self.more);
                    self.more.push((Uuid::nil(), Row::default()));
                    (self.more.len() - 1) as u32
                });
                self.more[at as usize] = (id, row);
                make_room(&mut self.order);
                self.order.insert(place, Place { upper: upper(&id), at });
                self.len += 1;
            }
        }
    }

    /// Forgets a member.
    pub(super) fn remove(&mut self, id: &Uuid) {
        let Some(row) = self.get(id).cloned() else { return };
        self.sums.replace(*id, self.weight(*id, &row), 0);
        self.faded.remove(id);
        self.len -= 1;
        if let Some(slot) = self.base.find(id) {
            self.changed.insert(slot as Slot, None);
        } else if let Ok(place) = self.place(id) {
            let Place { at, .. } = self.order.remove(place);
            self.more[at as usize] = (Uuid::nil(), Row::default());
            self.free.push(at);
        }
    }

    /// In order of the ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, &Row)> {
        self.after(None)
    }

    /// Those behind `id`, in order of the ids.
    pub(super) fn after(&self, id: Option<Uuid>) -> impl Iterator<Item = (Uuid, &Row)> {
        let (first, place) = match id {
            Some(id) => (
                self.base.rows.partition_point(|(other, _)| *other <= id),
                match self.place(&id) {
                    Ok(place) => place + 1,
                    Err(place) => place,
                },
            ),
            None => (0, 0),
        };
        let shared = self.base.rows.iter().enumerate().skip(first);
        let mut shared = shared.filter_map(|(slot, (id, _))| Some((*id, self.at_base(slot)?))).peekable();
        let mut more = self.order[place.min(self.order.len())..]
            .iter()
            .filter_map(|place| self.more.get(place.at as usize))
            .map(|(id, row)| (*id, row))
            .peekable();
        std::iter::from_fn(move || match (shared.peek(), more.peek()) {
            (Some((one, _)), Some((other, _))) if one < other => shared.next(),
            (_, Some(_)) => more.next(),
            (_, None) => shared.next(),
        })
    }

    /// How alike this table is to another's.
    pub(super) const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// What a row counts for in the digest.
    pub(super) fn weight(&self, id: Uuid, row: &Row) -> u64 {
        let faded = self.faded.contains(&id);
        if self.concealed == Some(id) || (faded && row.standing_removal().is_some()) {
            return 0;
        }
        row_hash(id, row, !faded)
    }

    fn reweigh(&mut self, id: Uuid, change: impl FnOnce(&mut Self)) {
        let row = self.get(&id).cloned();
        let before = row.as_ref().map_or(0, |row| self.weight(id, row));
        change(self);
        let after = row.as_ref().map_or(0, |row| self.weight(id, row));
        self.sums.replace(id, before, after);
    }

    /// This one is not told of until it is revealed.
    pub(super) fn conceal(&mut self, id: Uuid) {
        self.reweigh(id, |table| table.concealed = Some(id));
    }

    pub(super) fn reveal(&mut self, id: Uuid) {
        self.reweigh(id, |table| table.concealed = None);
    }

    /// Its tombstone is told of no more.
    pub(super) fn fade(&mut self, id: Uuid) {
        self.reweigh(id, |table| {
            table.faded.insert(id);
        });
    }

    /// It has a fresh tombstone, or none any more.
    pub(super) fn unfade(&mut self, id: Uuid) {
        if self.faded.contains(&id) {
            self.reweigh(id, |table| {
                table.faded.remove(&id);
            });
        }
    }

    /// The digest counted afresh, for tests.
    pub(super) fn digest_anew(&self) -> u64 {
        self.iter().fold(0, |sum: u64, (id, row)| sum.wrapping_add(self.weight(id, row)))
    }

    /// The sums counted afresh.
    #[cfg(test)]
    fn sums_anew(&self) -> Sums {
        let mut sums = Sums::default();
        for (id, row) in self.iter() {
            sums.replace(id, 0, self.weight(id, row));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hlc::Stamp;
    use super::super::lww::{Reason, Removal};
    use super::*;

    fn suspect(table: &mut Table, id: u128, stamp: u64) {
        let removal = Removal { stamp: Stamp::from_bits(stamp), reason: Reason::Failed };
        table.change(Uuid::from_u128(id), |row| row.remove(removal));
    }

    proptest! {
        /// Over any base, it does what an ordered map does, and its digest depends on the rows alone.
        #[test]
        fn as_a_map_would(
            base in prop::collection::btree_map(1..24_u128, 1..9_u64, 0..12),
            steps in prop::collection::vec((1..24_u128, 0..9_u64), 0..60),
        ) {
            let mut first = Table::default();
            for (id, stamp) in &base {
                suspect(&mut first, *id, *stamp);
            }
            let rows = first.iter().map(|(id, row)| (id, row.clone()));
            let mut table = Table::over(Arc::new(Base::new(rows)));
            let mut map: BTreeMap<Uuid, Row> = first.iter().map(|(id, row)| (id, row.clone())).collect();
            for (id, stamp) in steps {
                let key = Uuid::from_u128(id);
                if stamp == 0 {
                    table.remove(&key);
                    map.remove(&key);
                } else {
                    suspect(&mut table, id, stamp);
                    let removal = Removal { stamp: Stamp::from_bits(stamp), reason: Reason::Failed };
                    map.entry(key).or_default().remove(removal);
                }
                let all: Vec<_> = map.iter().map(|(id, row)| (*id, row)).collect();
                prop_assert_eq!(table.iter().collect::<Vec<_>>(), all);
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.get(&key), map.get(&key));
                prop_assert_eq!(table.slot(&key).and_then(|slot| table.at(slot)), map.get(&key).map(|row| (key, row)));
                prop_assert_eq!(table.slot(&key).and_then(|slot| table.id_at(slot)), map.get(&key).map(|_| key));
                prop_assert_eq!(table.sums(), &table.sums_anew());
                let behind: Vec<_> = table.after(Some(key)).map(|(id, _)| id).collect();
                let wanted: Vec<_> = map.keys().copied().filter(|id| *id > key).collect();
                prop_assert_eq!(behind, wanted);
            }
        }
    }
}
