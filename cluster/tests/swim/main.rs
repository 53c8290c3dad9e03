//! The membership core in virtual time: scripts with their transcripts, and random faults over many seeds.

#![expect(clippy::expect_used, reason = "a test's panic is its verdict, in its helpers too")]

mod blocked;
mod heals;
mod identity;
mod random;
mod script;
mod sealed;
mod seeds;
