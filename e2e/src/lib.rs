//! The harness of the end-to-end tests: real binaries as child processes, and what a client saw of them.
//!
//! ```text
//! Cluster ── RegistryServer ─┐
//!    └────── Node ───────────┴─ Process (signals, log, ready line)
//! History ── what became of each write     Load ── writers that fill a History
//! drive ── the load of the benchmark     Tap ── what went over the wire
//! torture ── faults drawn from a seed, clients that record, judges     wire ── delay, reordering and flipped bits
//! gossip ── members without a store       strangers ── thousands of connections that mean no good
//! ```
//!
//! It knows the servers only from outside: flags, signals, exit statuses, the `ready` line and HTTP. Whatever waits
//! here waits for a condition with a deadline. A harness's panic is the test's verdict, so it panics where a program
//! would return an error, with what it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic of the harness is the verdict of the test")]

pub mod binaries;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod drive;
pub mod faults;
pub mod figures;
pub mod firewall;
pub mod folder;
pub mod gossip;
pub mod history;
pub mod http;
pub mod judges;
pub mod load;
pub mod netns;
pub mod node;
pub mod process;
pub mod ready;
pub mod registry;
pub mod skip;
pub mod strangers;
pub mod tap;
pub mod torture;
pub mod wait;
pub mod wire;

pub use cluster::{Cluster, Plan};
pub use history::History;
pub use http::Http;
pub use load::Load;
pub use node::Node;
pub use process::Process;
pub use registry::RegistryServer;
pub use tap::Tap;
pub use wait::{eventually, until};
