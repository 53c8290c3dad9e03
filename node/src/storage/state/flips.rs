//! A bit that turns over in any file of the state is found, named and refused, or makes no difference: never a wrong value, never a missing key.
//!
//! Which bits is drawn from a seed; how many of each file, and where chance begins, can be told:
//!
//! ```sh
//! MUSTER_FLIPS=100000 MUSTER_FLIPS_SEED=7 cargo test -p muster-node --lib flips -- --nocapture
//! ```
//!
//! A flipped bit in a journal may take what stands behind it: the log has that still, or else the start is refused as one whose log begins behind its
//! state. So what is there must be the state as it was at the position that it names.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};

use super::tests::{entry, open, put};
use super::*;
use crate::kv::{Condition, Idempotency, Operation};
use crate::storage::snapshot::SnapshotReader;

/// Bits of each file in a run that nobody told how many.
const FEW: usize = 20;
/// Entries of all states here.
const ENTRIES: u64 = 48;

fn told(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A value that does not get much shorter when it is compressed, so that a few fill a block of a table.
fn long(index: u64) -> String {
    let mut chance = StdRng::seed_from_u64(index);
    (0..200 + 40 * (index % 16)).map(|_| char::from(chance.random_range(b' '..=b'~'))).collect()
}

/// What the entry at `index` says: keys set, overwritten and deleted, a retry remembered, a member, a setting.
fn nth(index: u64) -> Entry {
    let plain = |operation| Write { operation, idempotency: None };
    let key = |n: u64| format!("{}/{n:02}", n % 3);
    let text = long(index);
    let first = match index % 7 {
        3 => plain(Operation::Delete { key: key(index / 2), condition: Condition::Always }),
        4 => plain(Operation::Configure { name: format!("setting/{index}"), value: text.clone() }),
        5 => Write {
            operation: put(&key(index), &text),
            idempotency: Some(Idempotency { key: format!("retry {index}"), digest: index }),
        },
        _ => plain(put(&key(index), &text)),
    };
    if index.is_multiple_of(11) {
        let position = Position { term: 1, index };
        return Entry { position, change: Change::Membership(Bytes::from(format!("members {index}"))) };
    }
    entry(index, index, vec![first, plain(put("always", &text))])
}

/// All that a state says when it is asked, and all its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    progress: Progress,
    page: Vec<(String, Versioned)>,
    revision: u64,
    configuration: BTreeMap<String, String>,
    membership: Option<Bytes>,
    rows: Vec<u8>,
}

fn ask(state: &State) -> Result<Said, StateError> {
    let progress = *state.progress().borrow();
    let query = PageQuery { prefix: String::new(), start_after: None, limit: usize::MAX, keys_only: false };
    let (page, revision) = state.page(&query)?;
    // Each by itself as well: that way goes by filters and another index. What is not there is asked for, too.
    for n in 0..=ENTRIES {
        let key = format!("{}/{n:02}", n % 3);
        let listed = page.items.iter().find(|(listed, _)| *listed == key).map(|(_, found)| found);
        let (found, _) = state.get(&key)?;
        assert_eq!(found.as_ref(), listed, "{key}: alone and in the list");
    }
    let mut rows = Vec::new();
    let mut reader: SnapshotReader = state.view()?.reader()?;
    while let Some(frame) = reader.next_frame()? {
        rows.extend_from_slice(&frame);
    }
    let configuration = (**state.configuration().borrow()).clone();
    Ok(Said { progress, page: page.items, revision, configuration, membership: state.membership()?, rows })
}

/// What is to be said after each number of entries.
fn model() -> Vec<Said> {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let mut said = vec![ask(&state).unwrap()];
    for index in 1..=ENTRIES {
        state.apply(&[nth(index)]).unwrap();
        said.push(ask(&state).unwrap());
    }
    said
}

fn flush(state: &State) {
    state.generation().flush().unwrap();
}

/// Three tables, what is newer in the journal, and a bit behind all.
fn grown(dir: &Path) {
    let state = State::open(dir, 0).unwrap();
    for index in 1..=ENTRIES {
        state.apply(&[nth(index)]).unwrap();
        if matches!(index, 12 | 24 | 36) {
            flush(&state);
        }
    }
}

/// The same after a compaction, all in tables.
fn compacted(dir: &Path) {
    let state = State::open(dir, 0).unwrap();
    for index in 1..=ENTRIES {
        state.apply(&[nth(index)]).unwrap();
        if index.is_multiple_of(12) {
            flush(&state);
        }
    }
    state.generation().rows().unwrap().major_compact().unwrap();
}

/// One that began with a snapshot, and went on in its journal.
fn received(dir: &Path) {
    let from = tempfile::tempdir().unwrap();
    let sender = open(&from);
    for index in 1..=ENTRIES / 2 {
        sender.apply(&[nth(index)]).unwrap();
    }
    let state = State::open(dir, 0).unwrap();
    state.apply(&[nth(1)]).unwrap();
    let mut writer = state.receive_snapshot().unwrap();
    let mut reader = sender.view().unwrap().reader().unwrap();
    while let Some(frame) = reader.next_frame().unwrap() {
        writer.write_frame(&frame).unwrap();
    }
    state.install(writer.finish().unwrap()).unwrap();
    for index in ENTRIES / 2 + 1..=ENTRIES {
        state.apply(&[nth(index)]).unwrap();
    }
    // The engine before is removed on a thread of its own.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while dir.join("1").exists() {
        assert!(std::time::Instant::now() < deadline, "the old engine stays");
        std::thread::yield_now();
    }
}

/// As `grown`, with two journals.
fn two_journals(dir: &Path) {
    grown(dir);
    let whole = dir.join("1/0.jnl");
    let bytes = fs::read(&whole).unwrap();
    let ends = intact::ends(&bytes);
    let middle = ends[ends.len() * 7 / 8];
    fs::write(&whole, &bytes[..middle]).unwrap();
    fs::write(dir.join("1/1.jnl"), &bytes[middle..]).unwrap();
}

/// A file: what is in it up to the last byte that is not zero, and its length. The engine makes its journals of 64 MiB ahead.
type Content = (Vec<u8>, u64);

fn content(path: &Path) -> Content {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len() as u64;
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    (bytes, length)
}

fn put_content(path: &Path, bytes: &[u8], length: u64) {
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// All files under a folder, by their paths in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Content> {
    fn into(base: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Content>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                into(base, &path, found);
            } else {
                found.insert(path.strip_prefix(base).unwrap().to_owned(), content(&path));
            }
        }
    }
    let mut found = BTreeMap::new();
    into(dir, dir, &mut found);
    found
}

fn write_all(dir: &Path, files: &BTreeMap<PathBuf, Content>) {
    for (path, (bytes, length)) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put_content(&path, bytes, *length);
    }
}

fn turned(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut turned = bytes.to_vec();
    turned.resize(turned.len().max(bit / 8 + 1), 0);
    turned[bit / 8] ^= 1 << (bit % 8);
    turned
}

/// What became of a state with a flipped bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Refused when it was opened.
    Refused,
    /// Opened, and an error when it was read.
    Unread,
    /// As it was.
    Same,
    /// What stood last in a journal is gone.
    Shorter,
}

/// Opens what is there, asks it everything, goes on, and asks again. A wrong answer panics.
fn judge(dir: &Path, model: &[Said], in_journal: bool) -> Fate {
    let named = |error: &str| assert!(error.contains(&dir.display().to_string()) && !error.contains('\n'), "{error}");
    let state = match State::open(dir, 0) {
        Ok(state) => state,
        Err(error) => {
            named(&error.to_string());
            return Fate::Refused;
        }
    };
    let said = match ask(&state) {
        Ok(said) => said,
        Err(error) => {
            named(&error.0);
            return Fate::Unread;
        }
    };
    let at = said.progress.applied.map_or(0, |applied| applied.index);
    assert_eq!(said, model[at as usize], "after {at} entries");
    assert!(at == ENTRIES || in_journal, "only {at} entries are left");
    // What is missing comes from the log, what is there is put into tables, and those are put together.
    let goes_on = || -> Result<Said, StateError> {
        for index in at + 1..=ENTRIES {
            state.apply(&[nth(index)])?;
        }
        let generation = state.generation();
        generation.flush()?;
        generation.rows()?.major_compact().map_err(|error| generation.error(&error))?;
        ask(&state)
    };
    match goes_on() {
        Ok(said) => assert_eq!(said, model[ENTRIES as usize], "after {at} entries and the others once more"),
        Err(error) => {
            named(&error.0);
            return Fate::Unread;
        }
    }
    if at == ENTRIES { Fate::Same } else { Fate::Shorter }
}

/// Flips bits of every file, one at a time.
fn flip_all(name: &str, build: impl Fn(&Path)) -> BTreeMap<Fate, usize> {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let good = files(dir.path());
    let seed = told("MUSTER_FLIPS_SEED", rand::random());
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut fates, mut wrong) = (BTreeMap::new(), Vec::new());
    for (path, (bytes, length)) in &good {
        // Of the zeros behind it the first few.
        let bits = usize::try_from(*length).unwrap().min(bytes.len() + 16) * 8;
        let many = usize::try_from(told("MUSTER_FLIPS", FEW as u64)).unwrap().min(bits);
        let mut of_file: BTreeMap<Fate, usize> = BTreeMap::new();
        for bit in sample(&mut chance, bits, many) {
            let dir = tempfile::tempdir().unwrap();
            write_all(dir.path(), &good);
            put_content(&dir.path().join(path), &turned(bytes, bit), *length);
            let in_journal = path.extension().is_some_and(|end| end == "jnl");
            let fate = catch_unwind(AssertUnwindSafe(|| judge(dir.path(), &model, in_journal)));
            let Ok(fate) = fate else {
                wrong.push(format!("bit {bit} of {}", path.display()));
                continue;
            };
            *of_file.entry(fate).or_default() += 1;
            *fates.entry(fate).or_default() += 1;
        }
        eprintln!("{name}, {} ({bits} bits): {of_file:?}", path.display());
    }
    eprintln!("{name}, seed {seed}: {fates:?}");
    assert_eq!(wrong, [""; 0], "{name}, seed {seed}");
    fates
}

#[test]
fn a_flipped_bit_of_a_state_with_tables_and_a_journal() {
    let fates = flip_all("grown", grown);
    assert!(fates.contains_key(&Fate::Refused) && fates.contains_key(&Fate::Same), "{fates:?}");
}

#[test]
fn a_flipped_bit_of_a_state_that_was_compacted() {
    let fates = flip_all("compacted", compacted);
    assert!(fates.contains_key(&Fate::Refused) && fates.contains_key(&Fate::Same), "{fates:?}");
}

#[test]
fn a_flipped_bit_of_a_state_that_was_received() {
    let fates = flip_all("received", received);
    assert!(fates.contains_key(&Fate::Refused) && fates.contains_key(&Fate::Same), "{fates:?}");
}

#[test]
fn a_flipped_bit_of_a_state_with_two_journals() {
    let fates = flip_all("two journals", two_journals);
    assert!(fates.contains_key(&Fate::Refused) && fates.contains_key(&Fate::Same), "{fates:?}");
}

#[test]
fn a_bit_that_flips_while_the_state_is_open_is_an_error_or_makes_no_difference() {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    grown(dir.path());
    let good = files(dir.path());
    let seed = told("MUSTER_FLIPS_SEED", rand::random());
    let mut chance = StdRng::seed_from_u64(seed);
    let tables: Vec<_> = good.iter().filter(|(path, _)| path.iter().any(|part| part == "tables")).collect();
    let (mut refused, mut same) = (0, 0);
    for round in 0..told("MUSTER_FLIPS", 8 * FEW as u64) {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), &good);
        let state = State::open(dir.path(), 0).unwrap();
        let (path, (bytes, length)) = tables[chance.random_range(0..tables.len())];
        let bit = chance.random_range(0..bytes.len() * 8);
        // In its place: the state has the file open.
        put_content(&dir.path().join(path), &turned(bytes, bit), *length);
        let asked = catch_unwind(AssertUnwindSafe(|| ask(&state)));
        match asked.unwrap_or_else(|_| panic!("seed {seed}, round {round}: bit {bit} of {}", path.display())) {
            Ok(said) => {
                assert_eq!(said, model[ENTRIES as usize], "seed {seed}: bit {bit} of {}", path.display());
                same += 1;
            }
            Err(error) => {
                assert!(error.0.contains(&dir.path().display().to_string()), "{error}");
                refused += 1;
            }
        }
    }
    eprintln!("seed {seed}: {refused} refused, {same} made no difference");
    assert!(refused > 0 && same > 0, "{refused} refused, {same} made no difference");
}

#[test]
fn a_bit_in_the_number_of_a_batch_wherever_it_stands() {
    let model = model();
    let (mut fates, mut wrong) = (BTreeMap::<Fate, usize>::new(), Vec::new());
    for (name, build) in [("grown", grown as fn(&Path)), ("received", received), ("two journals", two_journals)] {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let good = files(dir.path());
        for (path, (bytes, length)) in good.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "jnl"))
        {
            let starts = intact::ends(bytes);
            let batches = starts.len() - 1;
            // The first two, the last two, and one between them.
            let picked = [0, 1, batches / 2, batches - 2, batches - 1].map(|at| starts[at]);
            // Its highest bytes all mean the same: very far ahead.
            for (start, bit) in picked
                .iter()
                .flat_map(|start| (40..40 + 16).chain([40 + 40, 40 + 62, 40 + 63]).map(move |bit| (start, bit)))
            {
                let dir = tempfile::tempdir().unwrap();
                write_all(dir.path(), &good);
                put_content(&dir.path().join(path), &turned(bytes, start * 8 + bit), *length);
                let fate = catch_unwind(AssertUnwindSafe(|| judge(dir.path(), &model, true)));
                match fate {
                    Ok(fate) => *fates.entry(fate).or_default() += 1,
                    Err(_) => {
                        wrong.push(format!("{name}: bit {} of the batch at {start} of {}", bit - 40, path.display()))
                    }
                }
            }
        }
    }
    eprintln!("{fates:?}");
    assert_eq!(wrong, [""; 0]);
    assert!(fates.contains_key(&Fate::Refused) && fates.contains_key(&Fate::Same), "{fates:?}");
}
