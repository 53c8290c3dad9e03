//! The doors of the state's rows, and of what is read of the engine's files before it reads them; see `crate::fuzz`.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::generation::Generation;
use super::intact;
use super::rows::{self, Applied, Part};
use super::tests::{entry, open, put};
use crate::fuzz::same_again;
use crate::kv::{Outcome, Versioned, Write};
use crate::storage::Position;

/// A row of any family: its key's part or its value, whatever it is taken for.
pub(crate) fn row(bytes: &[u8]) {
    let _ = (rows::parse_revisions(bytes), rows::parse_expiry_row(bytes), rows::parse_session_row(bytes));
    if let Some(applied) = rows::parse_applied(bytes) {
        let again = postcard::to_stdvec(&applied).expect("it is written");
        assert_eq!(rows::parse_applied(&again), Some(applied));
    }
    if let Some(found) = rows::parse_row(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(rows::parse_value(bytes, false).as_ref(), Some(&found));
        assert_eq!(rows::encode_value(&found), bytes);
    }
    same_again::<Vec<Outcome>>(bytes);
}

pub(crate) fn row_samples() -> Vec<Vec<u8>> {
    let versioned = |content_type: Option<&str>| Versioned {
        value: Bytes::from_static(b"value"),
        content_type: content_type.map(str::to_owned),
        create_revision: 3,
        modify_revision: 500,
    };
    let part = Part { index: 8, writes: 1, deleted: 300, prefix: "a/".into() };
    let position = Some(Position { term: 2, index: 9 });
    let applied = Applied { position, revision: 7, stamp_ms: 1_000, part: Some(part) };
    let outcomes = vec![Outcome::Put { revision: 7, created: true }, Outcome::IdempotencyMismatch];
    vec![
        rows::encode_value(&versioned(None)),
        rows::encode_value(&versioned(Some("text/plain"))),
        postcard::to_stdvec(&applied).unwrap(),
        postcard::to_stdvec(&outcomes).unwrap(),
        rows::expiry_row(77, "key"),
        rows::session_row(5, 6),
    ]
}

/// The file `current` in the state's folder, with an engine beside it that cannot be opened: whatever stands there, nothing is removed.
pub(crate) fn current(dir: &Path, bytes: &[u8]) {
    let engine = dir.join("17");
    if !engine.exists() {
        fs::create_dir(&engine).unwrap();
        fs::write(engine.join("version"), "of no engine").unwrap();
    }
    fs::write(dir.join("current"), bytes).unwrap();
    let refused = Generation::open_current(dir, 0).expect_err("there is none that can be opened").to_string();
    assert!(refused.contains(&dir.display().to_string()), "{refused}");
    assert_eq!(fs::read_dir(dir).unwrap().count(), 2, "nothing is made and nothing removed: {refused}");
    assert_eq!(fs::read(engine.join("version")).unwrap(), b"of no engine");
}

pub(crate) fn current_samples() -> Vec<Vec<u8>> {
    ["1\n", "17\n", "17", "18446744073709551615\n", " 3 ", ""].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// A journal of the engine.
pub(crate) fn journal(bytes: &[u8]) {
    intact::take_any_journal(bytes);
}

/// The engine's other files: `current` and the list that it names, one behind the other, and the same as a table and as a journal.
pub(crate) fn engine(dir: &Path, bytes: &[u8]) {
    intact::take_any_engine(dir, bytes);
}

/// Files of an engine with tables: its journal, its tables, and its lists, each behind its `current`.
fn engine_files() -> (Vec<u8>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    for index in 1..=6 {
        let write = Write { operation: put(&format!("key{index}"), "value"), idempotency: None };
        state.apply(&[entry(index, index, vec![write])]).unwrap();
        if index == 3 {
            state.generation().flush().unwrap();
        }
    }
    drop(state);
    let mut journal = fs::read(dir.path().join("1/0.jnl")).unwrap();
    journal.truncate(*intact::ends(&journal).last().unwrap());
    let mut files = Vec::new();
    for keyspace in ["0", "1"] {
        let keyspace = dir.path().join("1/keyspaces").join(keyspace);
        files.push(fs::read(keyspace.join("tables/0")).unwrap());
        let current = fs::read(keyspace.join("current")).unwrap();
        let list = format!("v{}", u64::from_le_bytes(*current.first_chunk().unwrap()));
        files.push([current, fs::read(keyspace.join(list)).unwrap()].concat());
    }
    (journal, files)
}

pub(crate) fn journal_samples() -> Vec<Vec<u8>> {
    let journal = engine_files().0;
    let ends = intact::ends(&journal);
    // One that clears a keyspace, which this program never writes.
    let clear =
        [&[1, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 3][..], &[0; 8], b"FJL\x03"].concat();
    vec![journal[..ends[1]].to_vec(), journal[ends[2]..ends[4]].to_vec(), clear, journal]
}

pub(crate) fn engine_samples() -> Vec<Vec<u8>> {
    let (journal, mut files) = engine_files();
    files.push(journal);
    files
}
