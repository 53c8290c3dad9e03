//! Doors, the inputs that are kept for them, and a long shake of those without a fuzzer.
//!
//! `MUSTER_FUZZ` is how many executions each door gets, `MUSTER_FUZZ_DOOR` the only door that does, `MUSTER_FUZZ_SEED` what chance begins with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// A door and what is behind it.
pub(crate) type Door = (&'static str, fn(&[u8]));

/// The inputs that are kept for a door.
pub(crate) fn kept(corpus: &Path, door: &str) -> Vec<Vec<u8>> {
    inputs(corpus, door).into_iter().map(|(_, bytes)| bytes).collect()
}

fn inputs(corpus: &Path, door: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(corpus.join(door))
        .expect("a folder for every door")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("it can be read"))).collect()
}

/// Passes every input that was kept through its door.
pub(crate) fn replay(doors: &[Door], corpus: &Path) {
    for (door, behind) in doors {
        let inputs = inputs(corpus, door);
        assert!(inputs.len() >= 3, "{door} has {} inputs: nothing is replayed", inputs.len());
        for (path, bytes) in inputs {
            eprintln!("{}", path.display()); // Shown when it panics.
            behind(&bytes);
        }
    }
}

/// Shakes the inputs of every door: as often as the environment says, or else as often as `few` says.
pub(crate) fn shake_all(doors: &[Door], inputs: impl Fn(&str) -> Vec<Vec<u8>>, few: impl Fn(&str) -> u64) {
    let wanted = std::env::var("MUSTER_FUZZ").ok().map(|value| value.parse().expect("a number"));
    let only = std::env::var("MUSTER_FUZZ_DOOR").ok();
    for (door, behind) in doors {
        if only.as_ref().is_some_and(|only| only != door) {
            continue;
        }
        let runs = wanted.unwrap_or_else(|| few(door));
        let began = Instant::now();
        shake(door, *behind, &inputs(door), runs);
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{door}: {runs} executions in {seconds:.1} s");
    }
}

/// Mutates the inputs of a door: bytes, cuts, repetitions, parts of others.
fn shake(door: &str, behind: fn(&[u8]), inputs: &[Vec<u8>], runs: u64) {
    let seed = std::env::var("MUSTER_FUZZ_SEED").map_or(1, |value| value.parse().expect("a number"));
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut bytes: Vec<u8> = Vec::new();
    for run in 0..runs {
        bytes.clear();
        bytes.extend_from_slice(&inputs[chance.random_range(0..inputs.len())]);
        for _ in 0..chance.random_range(1..6) {
            mutate(&mut bytes, inputs, &mut chance);
        }
        let caught = std::panic::catch_unwind(|| behind(&bytes));
        assert!(caught.is_ok(), "{door}, seed {seed}, run {run}: {bytes:?}");
    }
}

fn mutate(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], chance: &mut Xoshiro256PlusPlus) {
    /// Where lengths, counts and signs turn over.
    const EDGES: [u8; 8] = [0, 1, 2, 127, 128, 254, 255, 16];
    if bytes.is_empty() {
        bytes.push(chance.random());
        return;
    }
    let at = chance.random_range(0..bytes.len());
    match chance.random_range(0..8) {
        0 | 1 => bytes[at] ^= 1 << chance.random_range(0..8),
        2 => bytes[at] = chance.random(),
        3 => bytes[at] = EDGES[chance.random_range(0..EDGES.len())],
        4 => bytes[at] = bytes[at].wrapping_add(chance.random_range(0..5)).wrapping_sub(2),
        5 => bytes.truncate(at),
        6 => bytes.insert(at, chance.random()),
        _ => {
            let other = &inputs[chance.random_range(0..inputs.len())];
            let from = chance.random_range(0..=other.len());
            let to = chance.random_range(from..=other.len());
            if bytes.len() + to - from < 8_192 {
                let tail = bytes.split_off(at);
                bytes.extend_from_slice(&other[from..to]);
                bytes.extend_from_slice(&tail);
            }
        }
    }
}
