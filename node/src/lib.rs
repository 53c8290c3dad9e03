//! The Muster server.
//!
//! - [`startup`]: names every concrete part, wires them, and stops them in good order. Start reading here.
//! - [`http`]: the client port. Its routing table fits one screen.
//! - [`kv`]: what can be done to the log keyspace, as plain values.
//! - [`keyspace`]: the door that HTTP knocks at to read and write; [`carrier`] numbers what it carries to the leader.
//! - [`admin`]: what HTTP asks and tells the cluster.
//! - [`replication`]: openraft over the storage, and the policy around it.
//! - [`storage`]: what is on disk: the log, the state, snapshots of it.
//! - [`gossip`]: this node's membership, and [`roster`]: the members as gossip sees them.
//! - [`discovery`]: registries, and [`joining`]: how this node comes to its address, its members and its cluster.
//! - [`parts`]: a node without its client port.
//! - [`identity`]: who this node is, across restarts, and [`set_aside`]: what becomes of the data of one that must become another.
//! - [`recovery`]: what a person may do when the disks of a majority are gone for good.
//! - [`metrics`]: the text format that `/metrics` answers in.
//! - [`flags`]: what a user may set.

pub mod admin;
mod arrivals;
pub mod carrier;
pub mod discovery;
pub mod flags;
#[cfg(test)]
mod fuzz;
pub mod gossip;
pub mod http;
pub mod identity;
pub mod joining;
pub mod keyspace;
pub mod kv;
pub mod metrics;
pub mod parts;
pub mod recovery;
pub mod replication;
pub mod roster;
mod route;
pub mod set_aside;
pub mod startup;
pub mod storage;
