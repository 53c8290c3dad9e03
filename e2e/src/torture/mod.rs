//! The machine that tries to break the promise: nothing acknowledged is ever lost.
//!
//! ```text
//! Plan ──> World: machines on a switch, a node on each       Worker: clients, drawn from the seed by Script ──> Recorder
//!            └─ faults/, drawn from the seed, one after another      watch: who says that it leads ────────────────┘
//!                                                                                            Record ──> judges/
//! ```

pub(crate) mod ballast;
pub mod client;
pub mod operation;
pub mod record;
mod replay;
mod run;
pub mod script;
mod standing;
mod watch;
pub mod world;

pub use client::Control;
pub use run::{Plan, Report, run};
pub use world::World;
