//! Membership and election.

pub mod election;
