//! The Muster server.
//!
//! - [`kv`]: what can be done to the log keyspace, as plain values.
//! - [`keyspace`]: the door that HTTP knocks at.
//! - [`storage`]: what is on disk: the log, the state, snapshots of it.
//! - [`replication`]: openraft over the storage.
//! - [`admin`]: what HTTP asks and tells the cluster.
//! - [`http`]: the client port. Its routing table is the place to start reading.
//! - [`flags`]: what a user may set.
//! - [`startup`]: names every concrete part, wires them, and stops them in good order.

pub mod admin;
pub mod flags;
pub mod http;
pub mod keyspace;
pub mod kv;
pub mod replication;
pub mod startup;
pub mod storage;
