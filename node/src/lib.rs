//! The Muster server.
//!
//! - [`kv`]: what can be done to the log keyspace, as plain values.
//! - [`keyspace`]: the door that HTTP knocks at.

pub mod keyspace;
pub mod kv;
