//! What the fuzzers found interesting, again; and a long shake of it without a fuzzer.
//!
//! The inputs in `fuzz/corpus` were found by libFuzzer (`fuzz/README.md` says how) and minimised (of the two
//! cores' doors they are a selection). Here they run through their doors on every test run. The shake mutates them blindly, which finds less than a fuzzer that
//! sees the branches, and is many times as fast:
//!
//! ```sh
//! MUSTER_FUZZ=100000000 cargo test --release -p muster-cluster --test fuzzing -- --nocapture shaken
//! ```

#![expect(clippy::expect_used, reason = "a test's panic is its verdict, in its helpers too")]

mod seeds;
mod shake;

use std::path::{Path, PathBuf};

use muster_cluster::fuzz::DOORS;

/// Where the inputs of all doors are.
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_door_takes_what_was_found() {
    shake::replay(DOORS, &corpus());
}

#[test]
fn every_door_takes_what_was_found_shaken() {
    // A second or two of a debug build.
    shake::shake_all(DOORS, |door| shake::kept(&corpus(), door), |door| if door == "core" { 200 } else { 3_000 });
}
