//! Replication: openraft over our log and our state. The only folder that names openraft.
//!
//! - [`types`]: what openraft is instantiated with.
//! - [`log_store`]: openraft's log storage over [`crate::storage::log`].
//! - [`state_machine`]: openraft's state machine over [`crate::storage::state`].

pub mod log_store;
pub mod state_machine;
pub mod types;

#[cfg(test)]
mod suite;
