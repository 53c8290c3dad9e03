//! What the log costs above the floor: the same bytes, written to one zero-filled file and synced, in the same run, in alternating rounds.
//!
//! `cargo bench -p muster-node --bench log`, with `TMPDIR` on the disk in question.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and its panic is its verdict")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_node::storage::Position;
use muster_node::storage::log::{Log, LogOptions, Record};

/// As the trial measured: a write of 256 bytes with its key and encoding.
const PAYLOAD: usize = 300;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);

fn main() {
    // `cargo test --benches` runs this too; it measures nothing then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("durable batches of entries of {PAYLOAD} bytes; medians of {ROUNDS} alternating rounds");
    println!(
        "{:>8} {:>9} {:>12} {:>12} {:>7} {:>14}",
        "entries", "in flight", "floor /s", "log /s", "ratio", "log entries/s"
    );
    for (entries, in_flight) in [(1, 1), (8, 1), (64, 1), (1, 64), (8, 8)] {
        let dir = tempfile::tempdir().unwrap();
        let mut floor = Floor::new(&dir.path().join("floor"));
        let mut ours = Ours::new(&dir.path().join("log"));
        let mut rates: Vec<(f64, f64)> = Vec::new();
        for _ in 0..ROUNDS {
            rates.push((rate(|| floor.batch(entries)), rate(|| ours.batches(entries, in_flight)) * in_flight as f64));
        }
        let median = |of: fn(&(f64, f64)) -> f64| {
            let mut sorted: Vec<f64> = rates.iter().map(of).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[ROUNDS / 2]
        };
        let (floor, log) = (median(|rate| rate.0), median(|rate| rate.1));
        println!(
            "{entries:>8} {in_flight:>9} {floor:>12.0} {log:>12.0} {:>7.2} {:>14.0}",
            log / floor,
            log * entries as f64
        );
    }
}

/// Calls a second.
fn rate(mut call: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut calls = 0;
    while started.elapsed() < ROUND {
        call();
        calls += 1;
    }
    f64::from(calls) / started.elapsed().as_secs_f64()
}

/// A bare file: zeros once, then write and fdatasync.
struct Floor {
    file: File,
    at: u64,
}

impl Floor {
    const SIZE: u64 = 16 << 20;

    fn new(path: &std::path::Path) -> Self {
        let file = File::create(path).unwrap();
        file.write_all_at(&vec![0; Self::SIZE as usize], 0).unwrap();
        file.sync_all().unwrap();
        Self { file, at: 0 }
    }

    fn batch(&mut self, entries: usize) {
        let bytes = vec![7; entries * PAYLOAD];
        if self.at + bytes.len() as u64 > Self::SIZE {
            self.at = 0;
        }
        self.file.write_all_at(&bytes, self.at).unwrap();
        self.file.sync_data().unwrap();
        self.at += bytes.len() as u64;
    }
}

struct Ours {
    log: Log,
    next: u64,
}

impl Ours {
    fn new(dir: &std::path::Path) -> Self {
        let options = LogOptions { segment_bytes: 16 << 20, reserve_bytes: 0 };
        Self { log: Log::open(dir, &options).unwrap(), next: 0 }
    }

    /// So many batches at once, each answered by itself; then all have been.
    fn batches(&mut self, entries: usize, in_flight: usize) {
        let (sender, answers) = mpsc::channel();
        for _ in 0..in_flight {
            let records = (0..entries as u64)
                .map(|at| Record {
                    position: Position { term: 1, index: self.next + at },
                    payload: Bytes::from(vec![7; PAYLOAD]),
                })
                .collect();
            self.next += entries as u64;
            let sender = sender.clone();
            self.log.append(records, Box::new(move |result| sender.send(result).unwrap())).unwrap();
        }
        for _ in 0..in_flight {
            answers.recv().unwrap().unwrap();
        }
        if self.next.is_multiple_of(4096) {
            // As a node does: segments come back.
            self.log.purge(Position { term: 1, index: self.next - 2048 }, Box::new(|_| ()));
        }
    }
}
