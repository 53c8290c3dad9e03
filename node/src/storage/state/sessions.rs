//! The sessions of carrying nodes, in memory and as rows: so many outcomes a row, so that a batch of writes rewrites few of them and what is
//! settled goes by whole rows.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::generation::Generation;
use super::rows::{self, SESSION};
use super::{REPLACE, StateError};
use crate::kv::Outcome;
use crate::kv::session::{Carried, Past, Session};

/// Numbers of a row.
const NUMBERS: u64 = 32;

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: HashMap<u128, Kept>,
    /// Those to be written with the next batch.
    touched: BTreeSet<u128>,
    /// Rows of sessions that are forgotten.
    removed: Vec<Vec<u8>>,
}

/// A row, and what it is to be (`None`: nothing).
pub(super) type Change = (Vec<u8>, Option<Bytes>);

/// A session, and what is on disk of it.
#[derive(Debug, Default)]
struct Kept {
    session: Session,
    /// Its rows, by their numbers.
    stored: BTreeSet<u64>,
    /// Those that are not on disk as they are in memory.
    changed: BTreeSet<u64>,
}

impl Sessions {
    /// Those in an engine.
    pub(super) fn load(generation: &Generation) -> Result<Self, StateError> {
        let mut sessions = Self::default();
        for guard in generation.rows()?.prefix([SESSION]) {
            let (row, value) = guard.into_inner().map_err(|error| generation.error(&error))?;
            let unreadable =
                || StateError(format!("{}: a session cannot be read; {REPLACE}", generation.dir.display()));
            let (id, at) = rows::parse_session_row(&row).ok_or_else(unreadable)?;
            let (settled_below, stamp_ms, outcomes): (u64, u64, Vec<(u8, Outcome)>) =
                postcard::from_bytes(&value).map_err(|_| unreadable())?;
            let kept = sessions.by_id.entry(id).or_default();
            let numbered = outcomes.into_iter().map(|(offset, outcome)| (at * NUMBERS + u64::from(offset), outcome));
            kept.session.restore(settled_below, stamp_ms, numbered);
            kept.stored.insert(at);
        }
        Ok(sessions)
    }

    /// What is known of a write, before it is applied.
    pub(super) fn past(&self, write: Carried) -> Past {
        self.by_id.get(&write.session).map_or(Past::New, |kept| kept.session.past(write))
    }

    /// Remembers what came of a write. A session that begins has those forgotten whose nodes are gone.
    pub(super) fn remember(&mut self, write: Carried, outcome: Outcome, now_ms: u64) {
        if !self.by_id.contains_key(&write.session) {
            self.forget(now_ms);
        }
        let kept = self.by_id.entry(write.session).or_default();
        kept.session.remember(write, outcome, now_ms);
        kept.changed.insert(write.number / NUMBERS);
        self.touched.insert(write.session);
    }

    fn forget(&mut self, now_ms: u64) {
        let forgotten = |kept: &Kept| kept.session.is_forgotten(now_ms);
        for (id, kept) in self.by_id.extract_if(|_, kept| forgotten(kept)) {
            self.touched.remove(&id);
            self.removed.extend(kept.stored.into_iter().map(|at| rows::session_row(id, at)));
        }
    }

    /// What the next batch has to change for the engine to hold what is in memory.
    pub(super) fn rows(&mut self) -> Result<Vec<Change>, StateError> {
        let mut rows: Vec<_> = std::mem::take(&mut self.removed).into_iter().map(|row| (row, None)).collect();
        for id in std::mem::take(&mut self.touched) {
            let Some(Kept { session, stored, changed }) = self.by_id.get_mut(&id) else { continue };
            let lowest = session.settled_below() / NUMBERS;
            let open = stored.split_off(&lowest);
            let settled = std::mem::replace(stored, open);
            rows.extend(settled.into_iter().map(|at| (rows::session_row(id, at), None)));
            for at in std::mem::take(changed).split_off(&lowest) {
                let outcomes = session.outcomes(at * NUMBERS..=at * NUMBERS + (NUMBERS - 1));
                let outcomes: Vec<(u8, &Outcome)> =
                    outcomes.map(|(number, outcome)| ((number % NUMBERS) as u8, outcome)).collect();
                let value = postcard::to_stdvec(&(session.settled_below(), session.stamp_ms(), outcomes));
                let value = value.map_err(|error| StateError(error.to_string()))?;
                rows.push((rows::session_row(id, at), Some(value.into())));
                stored.insert(at);
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::tests::{crash, entry, open, put};
    use super::super::{Entry, State};
    use super::*;
    use crate::carrier::{Carrier, Ticket};
    use crate::kv::Write;
    use crate::kv::memory::REMEMBERED_MS;

    fn write(carried: Carried) -> Write {
        Write { operation: put("k", "v"), idempotency: Some(carried.idempotency()) }
    }

    fn apply(state: &State, index: u64, stamp_ms: u64, carried: Carried) -> Outcome {
        state.apply(&[entry(index, stamp_ms, vec![write(carried)])]).unwrap().remove(0).remove(0)
    }

    fn rows_on_disk(state: &State) -> usize {
        state.generation().rows().unwrap().prefix([SESSION]).count()
    }

    #[test]
    fn a_lone_carrier_leaves_one_row_and_one_that_is_gone_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(&dir);
        let carrier = Carrier::new();
        for index in 0..200 {
            apply(&state, index, 0, carrier.ticket().carried());
        }
        assert_eq!(rows_on_disk(&state), 1);
        let other = Carrier::new();
        apply(&state, 200, REMEMBERED_MS - 1, other.ticket().carried());
        assert_eq!(rows_on_disk(&state), 2, "it may only be quiet");
        apply(&state, 201, 3 * REMEMBERED_MS, Carrier::new().ticket().carried());
        assert_eq!(rows_on_disk(&state), 1);
    }

    #[test]
    fn a_retry_is_answered_by_whoever_received_a_snapshot() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (state, other) = (open(&here), open(&there));
        let carrier = Carrier::new();
        let tickets: Vec<Ticket<'_>> = (0..100).map(|_| carrier.ticket()).collect();
        let writes: Vec<Write> = tickets.iter().map(|ticket| write(ticket.carried())).collect();
        let outcomes = state.apply(&[entry(0, 0, writes.clone())]).unwrap();
        let mut reader = state.view().unwrap().reader().unwrap();
        let mut writer = other.receive_snapshot().unwrap();
        while let Some(frame) = reader.next_frame().unwrap() {
            writer.write_frame(&frame).unwrap();
        }
        other.install(writer.finish().unwrap()).unwrap();
        assert_eq!(other.apply(&[entry(1, 0, writes)]).unwrap(), outcomes);
        assert_eq!(other.progress().borrow().revision, 100);
    }

    #[derive(Debug, Clone)]
    enum Step {
        New,
        /// What nobody has answered is tried again.
        Retry(prop::sample::Index),
        /// Whoever waited has an answer, or gave up.
        Settle(prop::sample::Index),
        /// A try of long ago arrives.
        Late(prop::sample::Index),
        Cut,
        Restart,
        Crash,
    }

    fn step() -> impl Strategy<Value = Step> {
        let any = any::<prop::sample::Index>;
        prop_oneof![
            20 => Just(Step::New),
            8 => any().prop_map(Step::Retry),
            16 => any().prop_map(Step::Settle),
            4 => any().prop_map(Step::Late),
            6 => Just(Step::Cut),
            1 => Just(Step::Restart),
            1 => Just(Step::Crash),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_write_takes_two_revisions_and_a_retry_is_told_the_first(steps in prop::collection::vec(step(), 1..400)) {
            let carrier = Carrier::new();
            let mut dir: TempDir = tempfile::tempdir().unwrap();
            let mut state = open(&dir);
            let mut tickets: Vec<Ticket<'_>> = Vec::new();
            let mut proposed: Vec<Carried> = Vec::new();
            let mut log: Vec<Entry> = Vec::new();
            let mut batch: Vec<Carried> = Vec::new();
            let mut applied: BTreeMap<u64, Outcome> = BTreeMap::new();
            for step in steps.into_iter().chain([Step::Cut]) {
                match step {
                    Step::New => {
                        tickets.push(carrier.ticket());
                        batch.extend(tickets.last().map(Ticket::carried));
                    }
                    Step::Retry(at) if !tickets.is_empty() => batch.push(at.get(&tickets).carried()),
                    Step::Settle(at) if !tickets.is_empty() => drop(tickets.swap_remove(at.index(tickets.len()))),
                    Step::Late(at) if !proposed.is_empty() => batch.push(*at.get(&proposed)),
                    Step::Retry(_) | Step::Settle(_) | Step::Late(_) => {}
                    Step::Restart => {
                        drop(state);
                        state = open(&dir);
                    }
                    Step::Crash => crash(&mut dir, &mut state, &log),
                    Step::Cut => {
                        let writes = batch.iter().map(|carried| write(*carried)).collect();
                        let next = entry(log.len() as u64, log.len() as u64, writes);
                        log.push(next.clone());
                        let outcomes = state.apply(&[next]).unwrap().remove(0);
                        for (carried, outcome) in std::mem::take(&mut batch).into_iter().zip(outcomes) {
                            let waited_for = tickets.iter().any(|ticket| ticket.carried() == carried);
                            match applied.get(&carried.number) {
                                Some(first) if waited_for => prop_assert_eq!(first, &outcome),
                                Some(first) => prop_assert!(*first == outcome || outcome == Outcome::IdempotencyMismatch),
                                None if outcome == Outcome::IdempotencyMismatch => prop_assert!(!waited_for),
                                None => drop(applied.insert(carried.number, outcome)),
                            }
                            proposed.push(carried);
                        }
                        prop_assert_eq!(state.progress().borrow().revision, applied.len() as u64);
                    }
                }
            }
            let sessions = Sessions::load(&state.generation()).unwrap();
            let low = sessions.by_id.values().map(|kept| kept.session.settled_below()).max().unwrap_or(1);
            prop_assert!(rows_on_disk(&state) as u64 <= carrier.ticket().carried().number / NUMBERS - low / NUMBERS + 1);
        }
    }
}
