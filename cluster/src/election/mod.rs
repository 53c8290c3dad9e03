//! The bully election, made safe: who should lead, and in which term.
//!
//! A core without sockets, clocks or threads, for any program whose nodes have ids and can send each other small messages. It
//! works on its own; the membership of this crate is one source of suspicions for it, not a condition.
//!
//! Classic bully lets the highest live node declare itself the leader, and takes a time-out for a death. Under a partition that
//! makes two leaders. So this core knows two ways to decide, see [`Mode`]: `Plain` is bully as it is known, for programs to which a
//! *hint with a term* is enough; `Voted` uses bully only to settle who campaigns and when, and leaves the victory to a majority
//! vote that the caller runs. In both, rank is (how fresh the log is, priority, id), and a node that outranks a healthy leader
//! leaves it in peace.
//!
//! ```text
//! election.handle(now, Input::LeaderHeard { leader, term });
//! while let Some(output) = election.poll() {
//!     match output {
//!         Output::Send { to, message } => transport.send(to, message.encode()),
//!         Output::Campaign => vote.campaign(),                 // then Input::Won or Input::CampaignFailed
//!         Output::LeaderChanged { leader, term } => ..,
//!         ..
//!     }
//! }
//! timer.reset(election.next_deadline());                        // then Input::Tick
//! ```
//!
//! What it does not do: find the members, notice deaths, keep terms on disk (with a vote, the vote does), or promise in plain mode
//! that there is one leader at a time.

mod bully;
mod config;
mod core;
mod electorate;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod io;
mod message;
mod rank;
#[cfg(test)]
mod tests;
mod waits;

pub use config::{Config, ConfigError, Mode};
pub use core::Election;
pub use io::{Activity, Input, Output, TransferRefused};
pub use message::{DecodeError, MAX_TERM, Message, Stance};
pub use rank::{Freshness, Rank};
