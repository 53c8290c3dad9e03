//! A world for whole programs: machines with their own clocks, a network between them, power that fails, and all chance from one seed. One
//! thread, virtual time, no sockets.
//!
//! ```text
//! Simulation ── step: 1 ms ──> network: what is due arrives ──> each machine runs until it has nothing left to do
//!     │                                                           (a tokio runtime of its own, its clock stands still between steps)
//!     ├── start, kill, power_off, fail_power_at_sync, pause, resume, move_clock
//!     ├── link(a, b): cut, delay, loss, doubling, each direction by itself
//!     └── met(a, b), sectors, slept, syncs: what came of it
//! ```
//!
//! A program runs in it when it takes its sockets from [`net`], the time of day from [`wall_clock`], chance from [`random`] and [`uuid()`], and time
//! otherwise from tokio. The same seed gives the same run, if tokio was built with `--cfg tokio_unstable`, without which its own chance (the order
//! in which `select!` looks at its branches) has another source.
//!
//! TCP is told as a program sees it: what is lost is sent again and comes later, in order; a dead process's machine refuses and resets, a dead machine
//! is silent, and gives up after [`net::LOST`].

mod chance;
pub mod disk;
mod link;
mod machine;
mod met;
pub mod net;
mod queue;
mod simulation;
mod world;

pub use chance::{random, uuid};
pub use link::Link;
pub use met::Met;
pub use simulation::Simulation;
pub use world::{Millis, now, wall_clock};
