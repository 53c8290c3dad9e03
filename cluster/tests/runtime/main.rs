//! The driver on real sockets, on loopback: every wait is for a condition, with a deadline.

#![allow(clippy::expect_used, reason = "a test's panic is its verdict")]

mod blocked;
mod election;
mod fixture;
mod keys;
mod membership;
mod streams;
