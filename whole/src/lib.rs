//! Whole nodes in a simulated world: storage, replication, election, gossip and joining as they are, three to five of them in one thread and
//! virtual time. Faults and clients are drawn from a seed, what clients saw is judged by the judges of the torture, and a failure comes again.
//!
//! ```text
//! run ── cluster ── machine 0..n: process (parts of the node) ── door <── requests ── clients (a machine of their own)
//!    │       └──── faults: kill, power, pause, cut, loss, delay, clocks
//!    └── record ── judges (those of muster-e2e)
//! ```
//!
//! Built with `--cfg simulated --cfg tokio_unstable`; without these there is nothing in here.
#![cfg(simulated)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic of the harness is the verdict of the run")]

pub mod client;
pub mod cluster;
pub mod door;
pub mod evidence;
pub mod faults;
pub mod recorder;
pub mod run;
pub mod watchdog;
