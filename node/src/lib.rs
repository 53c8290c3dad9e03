//! The Muster server.
//!
//! - [`kv`]: what can be done to the log keyspace, as plain values.
//! - [`keyspace`]: the door that HTTP knocks at.
//! - [`storage`]: what is on disk: the log, the state, snapshots of it.
//! - [`replication`]: openraft over the storage.

pub mod keyspace;
pub mod kv;
pub mod replication;
pub mod storage;
