//! Finding the others through registries, and settling who founds the cluster.
//!
//! ```text
//!  one task per registry: register, renew, back off      (agent)
//!        |  the latest word of each registry
//!        v
//!  weigh(words) -> Standing: a cluster, an offer, a conflict, nothing yet   (standing, pure)
//!        |
//!        v
//!  settle(): write a claim to the own disk, have it recorded by a majority   (settle; the rules in round, pure)
//! ```
//!
//! A registry is a hint. Nothing here decides who votes or what is committed, and a node that has a cluster needs none of
//! this to go on: when every registry is gone, that is said once and tried again.

mod agent;
mod pace;
mod round;
mod settle;
mod standing;

pub use agent::{Discovery, Picture};
pub use settle::{Claims, Settled};
pub use standing::Standing;

#[cfg(test)]
mod tests;
