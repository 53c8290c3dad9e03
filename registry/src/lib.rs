//! Discovery for Muster: who is there, where to start, and who founds the cluster. A hint, never an authority over data.
//!
//! Start reading at [`founding`] (the rules), then [`roll`] (leases and seeds over them), both pure. [`store`] is what is on disk,
//! [`registry`] puts the two under one lock, [`http`] is the door, [`startup`] wires it all.

pub mod address;
pub mod flags;
pub mod founding;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod member;
pub mod registry;
pub mod roll;
pub mod startup;
pub mod store;
