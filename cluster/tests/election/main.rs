//! The election core explored by simulation: thousands of seeds, each a small cluster in virtual time whose network delays, loses and
//! cuts, and whose nodes crash and come back. A failure prints its seed; `MUSTER_ELECTION_SEED=<seed>` runs that one alone, and
//! `MUSTER_ELECTION_SEEDS=<count>` runs more than the normal few thousand.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's panic is its verdict, and its figures are worth a look"
)]

mod checks;
mod scenarios;
mod vote;
mod world;
