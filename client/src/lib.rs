//! The Muster client library, its command line, and the types of its HTTP API.
//!
//! - [`api`]: requests and responses as they go over the wire, shared by clients and servers.
#![cfg_attr(feature = "http", doc = "- [`Client`]: reads and writes a cluster's data.")]
#![cfg_attr(feature = "flags", doc = "- [`flags`]: flags from the command line, the environment and a TOML file.")]

pub mod api;
#[cfg(feature = "flags")]
pub mod flags;
#[cfg(feature = "http")]
pub mod http;

#[cfg(feature = "http")]
pub use http::{Client, Error};
