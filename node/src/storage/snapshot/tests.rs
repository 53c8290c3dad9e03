//! Snapshots sent and received.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::kv::{Condition, Operation, PageQuery, Write};
use crate::storage::state::{Change, Entry, State};

const CACHE: u64 = 1 << 20;

fn open(dir: &TempDir) -> State {
    State::open(dir.path(), CACHE).unwrap()
}

fn put(key: String, value: Vec<u8>) -> Write {
    let operation = Operation::Put { key, value: value.into(), content_type: None, condition: Condition::Always };
    Write { operation, idempotency: None }
}

/// Applies one entry that puts `count` keys.
fn fill(state: &State, index: u64, count: usize) {
    let writes: Vec<_> =
        (0..count).map(|at| put(format!("{at:06}"), format!("{index} {at}").repeat(20).into_bytes())).collect();
    let change = Change::Writes { stamp_ms: 0, writes: writes.into() };
    state.apply(&[Entry { position: Position { term: 1, index }, change }]).unwrap();
}

fn frames(state: &State) -> Vec<Bytes> {
    let mut reader = state.view().unwrap().reader().unwrap();
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

fn receive(state: &State, frames: &[Bytes]) -> Result<StagedSnapshot, StateError> {
    let mut writer = state.receive_snapshot()?;
    for frame in frames {
        writer.write_frame(frame)?;
    }
    writer.finish()
}

fn contents(state: &State) -> (Vec<(String, Bytes)>, u64) {
    let query = PageQuery { prefix: String::new(), start_after: None, limit: usize::MAX, keys_only: false };
    let (page, revision) = state.page(&query).unwrap();
    assert!(!page.more);
    (page.items.into_iter().map(|(key, found)| (key, found.value)).collect(), revision)
}

fn engines(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> =
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits for what happens on a thread of its own.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_sent_replaces_all_that_was_there_and_survives_a_restart() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sender, receiver) = (open(&from), open(&to));
    fill(&sender, 7, 5000);
    fill(&receiver, 1, 10);
    let sent = frames(&sender);
    assert!(sent.len() > 4, "{} frames", sent.len());
    let staged = receive(&receiver, &sent).unwrap();
    assert_eq!(staged.applied(), Some(Position { term: 1, index: 7 }));
    assert_eq!(contents(&receiver).0.len(), 10, "nothing shows before it is installed");
    receiver.install(staged).unwrap();
    assert_eq!(contents(&receiver), contents(&sender));
    assert_eq!(*receiver.progress().borrow(), *sender.progress().borrow());
    eventually("the old engine is removed", || engines(to.path()) == ["2"]);
    fill(&receiver, 8, 20);
    drop(receiver);
    let receiver = open(&to);
    fill(&sender, 8, 20);
    assert_eq!(contents(&receiver), contents(&sender));
}

#[test]
fn a_view_does_not_change_while_it_is_sent() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sender, receiver) = (open(&from), open(&to));
    fill(&sender, 0, 3000);
    let before = contents(&sender);
    let mut reader = sender.view().unwrap().reader().unwrap();
    let mut writer = receiver.receive_snapshot().unwrap();
    let mut index = 1;
    while let Some(frame) = reader.next_frame().unwrap() {
        writer.write_frame(&frame).unwrap();
        fill(&sender, index, 3000);
        index += 1;
    }
    assert_eq!(reader.percent(), 100);
    receiver.install(writer.finish().unwrap()).unwrap();
    assert_eq!(contents(&receiver), before);
    assert_ne!(contents(&sender), before);
}

#[test]
fn readers_of_the_old_state_finish_on_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sender, receiver) = (open(&from), open(&to));
    fill(&sender, 5, 10);
    fill(&receiver, 1, 2000);
    let mut old = receiver.view().unwrap().reader().unwrap();
    old.next_frame().unwrap();
    receiver.install(receive(&receiver, &frames(&sender)).unwrap()).unwrap();
    let mut rest = 0;
    while old.next_frame().unwrap().is_some() {
        rest += 1;
    }
    assert!(rest > 1);
    drop(old);
    eventually("the old engine is removed", || engines(to.path()) == ["2"]);
}

#[test]
fn what_is_damaged_missing_or_out_of_order_is_refused_and_changes_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sender, receiver) = (open(&from), open(&to));
    fill(&sender, 7, 3000);
    fill(&receiver, 1, 10);
    let (good, before) = (frames(&sender), contents(&receiver));
    let last = good.len() - 1;
    let mut flipped = good.clone();
    let mut bytes = flipped[1].to_vec();
    bytes[1000] ^= 1;
    flipped[1] = bytes.into();
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    let mut doubled = good.clone();
    doubled.push(good[last].clone());
    let missing = [&good[..1], &good[2..]].concat();
    let headless = good[1..].to_vec();
    let empty = vec![good[0].clone(), frame::end(1, 0).into()];
    for bad in [flipped, swapped, doubled, missing, headless, good[..last].to_vec(), empty, Vec::new()] {
        let refusal = receive(&receiver, &bad).unwrap_err().to_string();
        assert!(refusal.contains("refused, and the state is as it was"), "{refusal}");
        assert_eq!(contents(&receiver), before);
    }
    eventually("what came is discarded", || engines(to.path()) == ["1"]);
    receiver.install(receive(&receiver, &good).unwrap()).unwrap();
    assert_eq!(contents(&receiver), contents(&sender));
}

#[test]
fn a_start_behind_a_crash_while_receiving_finds_the_old_state_alone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sender = open(&from);
    fill(&sender, 7, 3000);
    let before = {
        let receiver = open(&to);
        fill(&receiver, 1, 10);
        // All came, nothing was installed, and the process ends without a word.
        std::mem::forget(receive(&receiver, &frames(&sender)).unwrap());
        contents(&receiver)
    };
    assert_eq!(engines(to.path()), ["1", "2"]);
    let receiver = open(&to);
    assert_eq!(contents(&receiver), before);
    assert_eq!(engines(to.path()), ["1"]);
}
