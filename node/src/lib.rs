//! The Muster server.
//!
//! - [`kv`]: what can be done to the log keyspace, as plain values.
//! - [`keyspace`]: the door that HTTP knocks at.
//! - [`admin`]: what HTTP asks and tells the cluster.
//! - [`http`]: the client port. Its routing table is the place to start reading.
//! - [`metrics`]: the text format that `/metrics` answers in.
//! - [`discovery`]: finding the others through registries.
//! - [`joining`]: how a started node comes to its address and its members.
//! - [`gossip`], [`roster`], [`identity`]: the membership, what members tell of themselves, and who this node is.
//! - [`election`]: who leads.
//! - [`flags`]: what a user may set.
//! - [`startup`]: names every concrete part, wires them, and stops them in good order.

pub mod admin;
pub mod discovery;
pub mod election;
pub mod flags;
pub mod gossip;
pub mod http;
pub mod identity;
pub mod joining;
pub mod keyspace;
pub mod kv;
pub mod metrics;
pub mod roster;
pub mod startup;
