//! Rates of the state, and the memory that it takes: at rest after a load, and while a snapshot is sent and received.
//!
//! `cargo bench -p muster-node --bench storage`; `SNAPSHOT_MIB` (256 by default) sets how much is sent. Memory is what Linux says of this process,
//! with the sender and the receiver of the snapshot both in it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and its panic is its verdict")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_node::kv::{Condition, Operation, PageQuery, Write};
use muster_node::storage::state::{Change, Entry, State};
use muster_node::storage::{Position, Storage, StorageOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 10_000;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = StorageOptions { reserve_bytes: 0, ..StorageOptions::default() };
    let storage = Storage::open(&dir.path().join("a"), &options).unwrap();
    println!("empty: {}", memory());
    load(storage.state());
    reads(storage.state());
    drop(storage);
    let storage = Storage::open(&dir.path().join("a"), &options).unwrap();
    println!("{KEYS} keys, opened again: {}", memory());
    snapshot(&storage, dir.path(), &options);
}

/// `VmRSS` and its peak, which is reset by the reading.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let text = format!("{} MiB resident, {} MiB at most", of("VmRSS"), of("VmHWM"));
    // 5: reset the peak.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    text
}

/// Processor time of all threads so far: a clock tick is 10 ms on every Linux.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn entry(index: u64, keys: impl Iterator<Item = u64>, size: usize) -> Entry {
    let put = |key: u64| Write {
        operation: Operation::Put {
            key: format!("bench/{key:012}"),
            // Not one value is like another, so that nothing compresses.
            value: (0..size as u64 / 8)
                .flat_map(|at| (key ^ at ^ index).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
                .collect::<Vec<_>>()
                .into(),
            content_type: None,
            condition: Condition::Always,
        },
        idempotency: None,
    };
    let change = Change::Writes { stamp_ms: index, writes: keys.map(put).collect() };
    Entry { position: Position { term: 1, index }, change }
}

fn next_index(state: &State) -> u64 {
    state.progress().borrow().applied.map_or(0, |applied| applied.index + 1)
}

fn load(state: &State) {
    for (writes, entries) in [(1, 20_000), (16, 4_000), (64, 4_000)] {
        let (mut took, processor) = (Duration::ZERO, processor());
        for at in 0..entries {
            let one = entry(next_index(state), (0..writes).map(|w| (at * writes + w) * 7919 % KEYS), 256);
            let started = Instant::now();
            state.apply(&[one]).unwrap();
            took += started.elapsed();
        }
        let processor = self::processor() - processor;
        println!(
            "apply, entries of {writes:>2} writes: {:>8.0} writes/s, {:.1} us an entry, {:.1} us of processor time a write",
            (writes * entries) as f64 / took.as_secs_f64(),
            took.as_secs_f64() * 1e6 / entries as f64,
            processor.as_secs_f64() * 1e6 / (writes * entries) as f64,
        );
    }
    println!("{KEYS} keys after the load: {}", memory());
    std::thread::sleep(Duration::from_secs(6));
    println!("{KEYS} keys six seconds later: {}", memory());
}

fn reads(state: &Arc<State>) {
    let stop = Arc::new(AtomicBool::new(false));
    for busy in [false, true] {
        let writer = busy.then(|| {
            let (state, stop) = (state.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next_index(&state);
                    state.apply(&[entry(index, (0..16).map(|w| (index * 16 + w) % KEYS), 256)]).unwrap();
                    // About 10,000 writes a second.
                    std::thread::sleep(Duration::from_micros(1500));
                }
            })
        });
        let readers: Vec<_> = (0..2u64)
            .map(|reader| {
                let state = state.clone();
                std::thread::spawn(move || {
                    let started = Instant::now();
                    let mut reads = 0u64;
                    while started.elapsed() < Duration::from_secs(2) {
                        for _ in 0..100 {
                            let key = (reads * 7919 + reader) % KEYS;
                            assert!(state.get(&format!("bench/{key:012}")).unwrap().0.is_some());
                            reads += 1;
                        }
                    }
                    reads as f64 / started.elapsed().as_secs_f64()
                })
            })
            .collect();
        let rate: f64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        println!("get, 2 threads{}: {rate:>8.0}/s", if busy { ", beside 10,000 writes/s" } else { "" });
        stop.store(true, Ordering::Relaxed);
        if let Some(writer) = writer {
            writer.join().unwrap();
        }
        stop.store(false, Ordering::Relaxed);
    }
    let query = PageQuery { prefix: "bench/".into(), start_after: None, limit: 100, keys_only: false };
    let started = Instant::now();
    for _ in 0..1000 {
        assert_eq!(state.page(&query).unwrap().0.items.len(), 100);
    }
    println!("pages of 100: {:>8.0}/s", 1000.0 / started.elapsed().as_secs_f64());
}

fn snapshot(storage: &Storage, dir: &Path, options: &StorageOptions) {
    let mib: u64 = std::env::var("SNAPSHOT_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(256);
    const VALUE: usize = 4096;
    let state = storage.state();
    for at in 0..mib * 4 {
        let keys = at * 64..(at + 1) * 64;
        state.apply(&[entry(next_index(state), keys.map(|key| 1_000_000 + key), VALUE)]).unwrap();
    }
    std::thread::sleep(Duration::from_secs(3));
    println!("{mib} MiB loaded: {}", memory());
    let other = Storage::open(&dir.join("b"), options).unwrap();
    println!("before the snapshot, with the receiver open: {}", memory());
    let started = Instant::now();
    let mut reader = state.view().unwrap().reader().unwrap();
    let mut writer = other.state().receive_snapshot().unwrap();
    let mut sent = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        let frame: Bytes = frame;
        sent += frame.len();
        writer.write_frame(&frame).unwrap();
    }
    other.state().install(writer.finish().unwrap()).unwrap();
    let took = started.elapsed().as_secs_f64();
    println!("sent and installed {} MiB in {took:.1} s: {}", sent >> 20, memory());
    drop(reader);
    assert_eq!(other.state().progress().borrow().revision, state.progress().borrow().revision);
}
