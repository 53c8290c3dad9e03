//! The state against a model, through restarts and crashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::rows::Part;
use super::*;
use crate::kv::memory::REMEMBERED_MS;
use crate::kv::{Condition, Idempotency, Operation};

const CACHE: u64 = 1 << 20;

pub(super) fn open(dir: &TempDir) -> State {
    State::open(dir.path(), CACHE).unwrap()
}

pub(super) fn put(key: &str, value: &str) -> Operation {
    let (key, value) = (key.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    Operation::Put { key, value, content_type: Some("text/plain".into()), condition: Condition::Always }
}

fn delete_prefix(prefix: &str) -> Operation {
    Operation::DeletePrefix { prefix: prefix.into() }
}

fn plain(operation: Operation) -> Write {
    Write { operation, idempotency: None }
}

fn keyed(operation: Operation, key: &str, digest: u64) -> Write {
    Write { operation, idempotency: Some(Idempotency { key: key.into(), digest }) }
}

pub(super) fn entry(index: u64, stamp_ms: u64, writes: Vec<Write>) -> Entry {
    Entry { position: Position { term: 1, index }, change: Change::Writes { stamp_ms, writes: writes.into() } }
}

/// Applies one entry of one write.
fn apply(state: &State, index: u64, stamp_ms: u64, write: Write) -> Outcome {
    state.apply(&[entry(index, stamp_ms, vec![write])]).unwrap().remove(0).remove(0)
}

fn keys(state: &State, query: &PageQuery) -> Vec<String> {
    state.page(query).unwrap().0.items.into_iter().map(|(key, _)| key).collect()
}

fn everything() -> PageQuery {
    PageQuery { prefix: String::new(), start_after: None, limit: usize::MAX, keys_only: false }
}

#[test]
fn writes_in_one_entry_see_those_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let absent = |key: &str| match put(key, "x") {
        Operation::Put { key, value, content_type, .. } => {
            Operation::Put { key, value, content_type, condition: Condition::Absent }
        }
        other => other,
    };
    let writes = vec![
        plain(absent("a")),
        plain(absent("a")),
        plain(put("ab", "y")),
        plain(delete_prefix("a")),
        plain(absent("a")),
        plain(Operation::Delete { key: "b".into(), condition: Condition::Always }),
    ];
    let outcomes = state.apply(&[entry(0, 0, writes)]).unwrap().remove(0);
    let expected = [
        Outcome::Put { revision: 1, created: true },
        Outcome::ConditionFailed { current: Some(1) },
        Outcome::Put { revision: 2, created: true },
        Outcome::PrefixDeleted { revision: 3, deleted: 2 },
        Outcome::Put { revision: 4, created: true },
        Outcome::Deleted { revision: 5, existed: false },
    ];
    assert_eq!(outcomes, expected);
    let (found, revision) = state.get("a").unwrap();
    assert_eq!((found.unwrap().create_revision, revision), (4, 5));
    assert_eq!(state.get("ab").unwrap(), (None, 5));
}

#[test]
fn a_retry_is_answered_from_memory_until_the_stamps_say_ten_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let first = Outcome::Put { revision: 1, created: true };
    {
        let state = open(&dir);
        assert_eq!(apply(&state, 0, 1_000, keyed(put("k", "v"), "retry", 7)), first);
        assert_eq!(apply(&state, 1, 1_000, keyed(put("k", "v"), "retry", 7)), first);
    }
    let state = open(&dir);
    assert_eq!(apply(&state, 2, 2_000, keyed(put("k", "other"), "retry", 8)), Outcome::IdempotencyMismatch);
    assert_eq!(state.progress().borrow().revision, 1, "neither took a revision");
    // A leader whose clock was set back does not turn time back.
    assert_eq!(apply(&state, 3, 0, keyed(put("k", "v"), "retry", 7)), first);
    assert_eq!(apply(&state, 4, 1_000 + REMEMBERED_MS - 1, keyed(put("k", "v"), "retry", 7)), first);
    let again = apply(&state, 5, 1_000 + REMEMBERED_MS, keyed(put("k", "v"), "retry", 7));
    assert_eq!(again, Outcome::Put { revision: 2, created: false });
}

#[test]
fn what_is_forgotten_is_removed_little_by_little() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    for index in 0..200 {
        apply(&state, index, index, keyed(put("k", "v"), &format!("old {index}"), 0));
    }
    for index in 200..400 {
        apply(&state, index, REMEMBERED_MS + 1_000, keyed(put("k", "v"), &format!("new {index}"), 0));
    }
    let generation = state.generation();
    for family in [rows::IDEMPOTENCY, rows::EXPIRY] {
        let left = generation.rows().unwrap().prefix([family]).count();
        assert_eq!(left, 200, "family {family}");
    }
}

#[test]
fn a_large_prefix_is_deleted_whole_and_counted_right() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let many = 3 * apply::DELETED_AT_ONCE + 10;
    let writes = (0..many).map(|at| plain(put(&format!("p/{at:06}"), "v"))).collect();
    state.apply(&[entry(0, 0, writes)]).unwrap();
    let writes =
        vec![plain(put("q", "v")), plain(put("p/zz", "v")), plain(delete_prefix("p/")), plain(put("p/new", "v"))];
    let outcomes = state.apply(&[entry(1, 0, writes)]).unwrap().remove(0);
    let revision = many as u64 + 3;
    assert_eq!(outcomes[2], Outcome::PrefixDeleted { revision, deleted: many as u64 + 1 });
    assert_eq!(keys(&state, &everything()), ["p/new", "q"]);
}

#[test]
fn a_large_prefix_delete_goes_on_after_a_crash_in_its_middle() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let writes = (0..100).map(|at| plain(put(&format!("p/{at:06}"), "v"))).collect();
    state.apply(&[entry(0, 0, writes)]).unwrap();
    let delete = entry(1, 0, vec![plain(put("first", "v")), plain(delete_prefix("p/")), plain(put("last", "v"))]);
    {
        // What stands on disk when the process dies behind the first of several batches: the first write, 40 keys gone.
        let generation = state.generation();
        let mut progress = state.applier();
        let mut applier = Applier::new(&generation, &state.cache, &state.deletion, &mut progress);
        applier.apply(&entry(1, 0, vec![plain(put("first", "v"))])).unwrap();
        applier.commit().unwrap();
        progress.applied.position = Some(Position { term: 1, index: 0 });
        progress.applied.part = Some(Part { index: 1, writes: 1, deleted: 40, prefix: "p/".to_owned() });
        let mut batch = generation.database().unwrap().batch();
        for at in 0..40 {
            batch.remove(generation.rows().unwrap(), rows::row(rows::KEY, &format!("p/{at:06}")));
        }
        batch.insert(generation.rows().unwrap(), APPLIED, postcard::to_stdvec(&progress.applied).unwrap());
        batch.commit().unwrap();
    }
    drop(state);
    let state = open(&dir);
    assert_eq!(state.progress().borrow().applied, Some(Position { term: 1, index: 0 }));
    assert_eq!(keys(&state, &everything()), ["first"], "nobody sees the half of it");
    assert_eq!(state.get("p/000099").unwrap().0, None);
    let outcomes = state.apply(&[delete]).unwrap().remove(0);
    assert_eq!(
        outcomes[1..],
        [Outcome::PrefixDeleted { revision: 102, deleted: 100 }, Outcome::Put { revision: 103, created: true }]
    );
    assert_eq!(keys(&state, &everything()), ["first", "last"]);
    assert_eq!(state.get("first").unwrap().0.unwrap().modify_revision, 101, "not applied twice");
}

#[test]
fn a_reader_beside_a_large_prefix_delete_sees_all_of_its_keys_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let state = Arc::new(open(&dir));
    let many = 8 * apply::DELETED_AT_ONCE;
    let writes = (0..many).map(|at| plain(put(&format!("p/{at:06}"), "v"))).chain([plain(put("q", "v"))]).collect();
    state.apply(&[entry(0, 0, writes)]).unwrap();
    let reading = std::thread::spawn({
        let state = state.clone();
        move || {
            let (first, last) = (String::from("p/000000"), format!("p/{:06}", many - 1));
            let mut seen = std::collections::BTreeSet::new();
            loop {
                let mut query = everything();
                query.keys_only = true;
                // A page is bounded by bytes as well: this many keys fit.
                let listed = keys(&state, &query).len();
                seen.insert(listed);
                if state.get(&first).unwrap().0.is_none() {
                    assert_eq!(state.get(&last).unwrap().0, None, "the first is gone and the last is there");
                }
                if listed == 1 {
                    return seen;
                }
            }
        }
    });
    while state.get("p/000000").unwrap().0.is_none() {
        std::thread::yield_now();
    }
    state.apply(&[entry(1, 0, vec![plain(delete_prefix("p/"))])]).unwrap();
    let seen = reading.join().unwrap();
    assert!(seen.iter().all(|count| [1, many + 1].contains(count)), "parts were seen: {seen:?}");
    assert_eq!(keys(&state, &everything()), ["q"]);
}

#[test]
fn how_far_an_older_release_had_come_is_read() {
    // Position, revision, stamp, and a part without its prefix.
    let old =
        postcard::to_stdvec(&(Some(Position { term: 1, index: 2 }), 3u64, 4u64, Some((5u64, 6u64, 7u64)))).unwrap();
    let part = Part { index: 5, writes: 6, deleted: 7, prefix: String::new() };
    let expected =
        Applied { position: Some(Position { term: 1, index: 2 }), revision: 3, stamp_ms: 4, part: Some(part) };
    assert_eq!(rows::parse_applied(&old), Some(expected.clone()));
    assert_eq!(rows::parse_applied(&postcard::to_stdvec(&expected).unwrap()), Some(expected));
    assert_eq!(rows::parse_applied(&[0xff; 3]), None);
}

#[test]
fn pages_are_bounded_in_keys_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    for (index, key) in (0..).zip(["a", "b/1", "b/2", "b/3", "c"]) {
        apply(&state, index, 0, plain(put(key, "value")));
    }
    let query = |prefix: &str, start_after: Option<&str>, limit| PageQuery {
        prefix: prefix.into(),
        start_after: start_after.map(str::to_owned),
        limit,
        keys_only: true,
    };
    assert_eq!(keys(&state, &query("b/", None, 10)), ["b/1", "b/2", "b/3"]);
    assert_eq!(keys(&state, &query("b/", Some("a"), 10)), ["b/1", "b/2", "b/3"]);
    assert_eq!(keys(&state, &query("b/", Some("b/1"), 10)), ["b/2", "b/3"]);
    assert_eq!(keys(&state, &query("b/", Some("c"), 10)), Vec::<String>::new());
    let (page, revision) = state.page(&query("b/", None, 2)).unwrap();
    assert!(page.more && page.items.len() == 2 && page.items[0].1.value.is_empty() && revision == 5);
    assert!(!state.page(&query("b/", None, 3)).unwrap().0.more);
    let large = "x".repeat(3 << 20);
    for (index, key) in (5..).zip(["l/1", "l/2", "l/3"]) {
        apply(&state, index, 0, plain(put(key, &large)));
    }
    let page = state.page(&PageQuery { prefix: "l/".into(), keys_only: false, ..everything() }).unwrap().0;
    assert!(page.more && page.items.len() == 1, "two of 3 MiB are more than a page");
}

#[test]
fn skipped_revisions_are_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let put =
        || Operation::Put { key: "k".into(), value: "v".into(), content_type: None, condition: Condition::Always };
    {
        let state = open(&dir);
        assert_eq!(apply(&state, 0, 0, plain(put())), Outcome::Put { revision: 1, created: true });
        assert_eq!(apply(&state, 1, 0, plain(Operation::SkipRevisions { count: 1_000 })), Outcome::Configured);
        assert_eq!(state.progress().borrow().revision, 1_001);
    }
    // What the engine lost is applied again from the log, as the same.
    let state = open(&dir);
    let at = state.progress().borrow().applied.map_or(0, |applied| applied.index + 1);
    for index in at..2 {
        let operation = if index == 0 { put() } else { Operation::SkipRevisions { count: 1_000 } };
        apply(&state, index, 0, plain(operation));
    }
    assert_eq!(apply(&state, 2, 0, plain(put())), Outcome::Put { revision: 1_002, created: false });
}

#[test]
fn configuration_and_membership_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    {
        let state = open(&dir);
        let configuration = state.configuration();
        let configure = Operation::Configure { name: "voters".into(), value: "3".into() };
        assert_eq!(apply(&state, 0, 0, plain(configure)), Outcome::Configured);
        assert!(configuration.has_changed().unwrap());
        let membership = Change::Membership(Bytes::from_static(b"who"));
        state.apply(&[Entry { position: Position { term: 1, index: 1 }, change: membership }]).unwrap();
    }
    let state = open(&dir);
    assert_eq!(state.configuration().borrow().get("voters").map(String::as_str), Some("3"));
    assert_eq!(state.membership().unwrap().unwrap(), "who");
    let progress = Progress { applied: Some(Position { term: 1, index: 1 }), ..Progress::default() };
    assert_eq!(*state.progress().borrow(), progress);
}

#[test]
fn at_rest_the_memory_goes_to_disk_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let writes: Vec<_> = (0..2000).map(|at| plain(put(&format!("{at:06}"), &"v".repeat(200)))).collect();
    state.apply(&[entry(0, 0, writes.clone())]).unwrap();
    let tables = || state.generation().rows().unwrap().disk_space();
    state.rest().unwrap();
    assert_eq!(tables(), 0, "it may go on any moment");
    state.rest().unwrap();
    assert!(tables() > 2000, "nothing came since");
    let resting = tables();
    state.rest().unwrap();
    assert_eq!(tables(), resting, "nothing to do");
    let before = state.page(&everything()).unwrap();
    drop(state);
    let state = open(&dir);
    assert_eq!(state.page(&everything()).unwrap(), before);
    assert_eq!(before.0.items.len(), 2000);
}

#[test]
fn leftovers_of_other_engines_are_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    apply(&open(&dir), 0, 0, plain(put("k", "v")));
    fs::create_dir_all(dir.path().join("7/keyspaces")).unwrap();
    let state = open(&dir);
    assert!(state.get("k").unwrap().0.is_some());
    assert!(!dir.path().join("7").exists());
}

#[test]
fn a_key_that_is_being_deleted_is_absent_at_a_revision_at_which_it_is() {
    const TIMES: u64 = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for revision in 1..=TIMES {
                let write = match revision % 2 {
                    1 => plain(put("key", "value")),
                    _ => plain(Operation::Delete { key: "key".to_owned(), condition: Condition::Always }),
                };
                state.apply(&[entry(revision - 1, 0, vec![write])]).unwrap();
            }
        });
        while !writer.is_finished() {
            let (found, revision) = state.get("key").unwrap();
            assert_eq!(found.is_some(), revision % 2 == 1, "{found:?} at {revision}");
        }
    });
}

/// The process is killed and started over what that left, and hears again what of the log it has lost.
pub(super) fn crash(dir: &mut TempDir, state: &mut State, log: &[Entry]) {
    let copy = crashed_copy(dir);
    *state = open(&copy);
    *dir = copy;
    let from = state.progress().borrow().applied.map_or(0, |applied| applied.index as usize + 1);
    state.apply(&log[from..]).unwrap();
}

/// What a kill leaves: the files as the system has them, without what the process still held.
pub(super) fn crashed_copy(dir: &TempDir) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target)
            } else {
                drop(fs::copy(entry.path(), target))
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(dir.path(), to.path());
    to
}

#[derive(Debug, Clone)]
enum Step {
    Write { key: u8, kind: u8, retry: Option<u8> },
    Cut,
    Restart,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let write =
        (0u8..6, 0u8..7, prop::option::of(0u8..5)).prop_map(|(key, kind, retry)| Step::Write { key, kind, retry });
    prop_oneof![30 => write, 4 => Just(Step::Cut), 1 => Just(Step::Restart), 1 => Just(Step::Crash)]
}

/// The state as one would write it down on paper.
#[derive(Default)]
struct Model {
    keys: BTreeMap<String, (Bytes, u64, u64)>,
    remembered: BTreeMap<String, (u64, Outcome, u64)>,
    revision: u64,
}

impl Model {
    fn apply(&mut self, write: &Write, now: u64) -> Outcome {
        if let Some(idempotency) = &write.idempotency
            && let Some((digest, outcome, stamp)) = self.remembered.get(&idempotency.key)
            && now < stamp + REMEMBERED_MS
        {
            return if *digest == idempotency.digest { outcome.clone() } else { Outcome::IdempotencyMismatch };
        }
        let outcome = self.operate(&write.operation);
        if let Some(idempotency) = &write.idempotency {
            self.remembered.insert(idempotency.key.clone(), (idempotency.digest, outcome.clone(), now));
        }
        outcome
    }

    fn operate(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Put { key, value, condition, .. } => {
                let old = self.keys.get(key).cloned();
                let current = old.as_ref().map(|old| old.2);
                if !condition.holds(current) {
                    return Outcome::ConditionFailed { current };
                }
                self.revision += 1;
                let created = old.map_or(self.revision, |old| old.1);
                self.keys.insert(key.clone(), (value.clone(), created, self.revision));
                Outcome::Put { revision: self.revision, created: current.is_none() }
            }
            Operation::Delete { key, condition } => {
                let current = self.keys.get(key).map(|old| old.2);
                if !condition.holds(current) {
                    return Outcome::ConditionFailed { current };
                }
                self.revision += 1;
                Outcome::Deleted { revision: self.revision, existed: self.keys.remove(key).is_some() }
            }
            Operation::DeletePrefix { prefix } => {
                self.revision += 1;
                let before = self.keys.len();
                self.keys.retain(|key, _| !key.starts_with(prefix));
                Outcome::PrefixDeleted { revision: self.revision, deleted: (before - self.keys.len()) as u64 }
            }
            Operation::Configure { .. } => Outcome::Configured,
            Operation::SkipRevisions { count } => {
                self.revision += count;
                Outcome::Configured
            }
        }
    }
}

fn write_of(key: u8, kind: u8, retry: Option<u8>, revision: u64) -> Write {
    let key = format!("{}/{key}", key % 2);
    let value = Bytes::from(format!("value at {revision}"));
    let condition = match kind {
        0 | 1 => Condition::Always,
        2 => Condition::Absent,
        3 => Condition::ModifiedAt(vec![revision, revision.saturating_sub(1)]),
        _ => Condition::Exists,
    };
    let operation = match kind {
        5 => Operation::Delete { key, condition: Condition::Always },
        6 => delete_prefix(&key[..2]),
        _ => Operation::Put { key, value, content_type: None, condition },
    };
    let idempotency =
        retry.map(|retry| Idempotency { key: format!("retry {}", retry / 2), digest: u64::from(retry % 2) });
    Write { operation, idempotency }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_applied_the_state_says_what_the_model_says(steps in prop::collection::vec(step(), 1..120)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut state = open(&dir);
        let mut model = Model::default();
        let mut log: Vec<Entry> = Vec::new();
        let mut open_entry: Vec<Write> = Vec::new();
        let mut expected = Vec::new();
        for step in steps.into_iter().chain([Step::Cut]) {
            // Each entry two and a half minutes behind the last, so that much is forgotten.
            let now = log.len() as u64 * REMEMBERED_MS / 4;
            match step {
                Step::Write { key, kind, retry } => {
                    let write = write_of(key, kind, retry, model.revision);
                    expected.push(model.apply(&write, now));
                    open_entry.push(write);
                    continue;
                }
                Step::Cut => {}
                Step::Restart => {
                    drop(state);
                    state = open(&dir);
                }
                Step::Crash => crash(&mut dir, &mut state, &log),
            }
            let next = entry(log.len() as u64, now, std::mem::take(&mut open_entry));
            log.push(next.clone());
            prop_assert_eq!(state.apply(&[next]).unwrap().remove(0), std::mem::take(&mut expected));
            let (page, revision) = state.page(&everything()).unwrap();
            let found: Vec<_> = page.items.into_iter()
                .map(|(key, found)| (key, (found.value, found.create_revision, found.modify_revision))).collect();
            prop_assert_eq!(found, model.keys.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(revision, model.revision);
        }
    }
}

#[test]
fn small_batches_are_applied_at_once_but_not_beside_a_sync_and_not_while_the_engine_has_to_flush() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let one = |index| entry(index, 0, vec![plain(put("k", "x"))]);
    assert!(state.apply_at_once(&[one(1)]).is_some());
    {
        let _syncing = state.syncing();
        assert!(state.apply_at_once(&[one(2)]).is_none());
    }
    assert_eq!(state.progress().borrow().applied.map(|applied| applied.index), Some(1), "nothing was done");

    let large = "x".repeat(256 << 10);
    let (mut refused, mut index) = (0, 1);
    for _ in 0..64 {
        index += 1;
        state.apply(&[entry(index, 0, vec![plain(put(&index.to_string(), &large))])]).unwrap();
        refused += usize::from(!state.generation().is_calm());
    }
    assert!(refused > 0, "sixteen megabytes and never a full memtable?");
    // It is calm again when all is flushed, however often that was.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !state.generation().is_calm() {
        assert!(std::time::Instant::now() < deadline, "the engine never came to rest");
        state.rest().unwrap();
        std::thread::yield_now();
    }
    assert!(state.apply_at_once(&[one(index + 1)]).is_some());
}

#[test]
fn a_damaged_or_missing_current_is_refused_and_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    apply(&state, 1, 1, plain(put("k", "v")));
    state.persist().unwrap();
    drop(state);
    let current = dir.path().join("current");
    fs::write(&current, "3\n").unwrap();
    assert!(State::open(dir.path(), CACHE).unwrap_err().to_string().contains("missing"));
    fs::remove_file(&current).unwrap();
    assert!(State::open(dir.path(), CACHE).unwrap_err().to_string().contains("current"));
    fs::write(&current, "1\n").unwrap();
    assert_eq!(keys(&open(&dir), &everything()), ["k"]);
}

#[test]
fn a_first_start_that_ended_while_the_engine_was_made_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    // What the engine makes, the last first.
    let made = ["keyspaces/1", "keyspaces/0/current", "keyspaces/0", "version", "0.jnl", "keyspaces", "lock"];
    for (taken, path) in made.iter().enumerate() {
        let (cut, engine) = (tempfile::tempdir().unwrap(), dir.path().join("1"));
        copy(&engine, &cut.path().join("1"));
        for path in &made[..=taken] {
            let path = cut.path().join("1").join(path);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap_or_default() }
        }
        let again = State::open(cut.path(), CACHE).unwrap_or_else(|error| panic!("without {path}: {error}"));
        apply(&again, 1, 1, plain(put("k", "v")));
    }
    // No room for the four bytes of it, or no time.
    let cut = tempfile::tempdir().unwrap();
    copy(&dir.path().join("1"), &cut.path().join("1"));
    fs::remove_dir_all(cut.path().join("1/keyspaces/0")).unwrap();
    fs::write(cut.path().join("1/version"), "").unwrap();
    apply(&open(&cut), 1, 1, plain(put("k", "v")));
}

#[test]
fn what_the_engine_read_from_its_journal_is_written_again_before_it_is_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    for index in 1..=20 {
        apply(&state, index, index, plain(put(&format!("k{index:02}"), "v")));
    }
    let expected = keys(&state, &everything());
    drop(state);
    let state = open(&dir);
    assert_eq!(state.persisted_position(), None, "nothing is known of a journal that was only read");
    state.persist().unwrap();
    // The journal never came to the disk, and was read from the system's memory.
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path());
    let mut journals = 0;
    for path in files(&copied.path().join("1")).into_iter().filter(|path| path.ends_with(".jnl")) {
        let file = fs::File::options().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(0).unwrap();
        file.set_len(length).unwrap();
        journals += 1;
    }
    assert!(journals > 0);
    assert_eq!(keys(&open(&copied), &everything()), expected);
}

fn files(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path().display().to_string()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).map(drop).unwrap()
        }
    }
}

#[test]
fn who_meets_damage_that_a_restart_does_not_mend_is_told_what_does() {
    let state = open(&tempfile::tempdir().unwrap());
    let said = |error: fjall::Error| state.generation().error(&error).to_string();
    assert!(said(fjall::Error::Poisoned).contains("when that ends the same way"));
    assert!(said(fjall::Error::Poisoned).contains("an empty one"));
    assert!(said(fjall::Error::Io(std::io::Error::other("EIO"))).ends_with("check the disk and restart the node"));
}
