//! Requests and responses of Muster's HTTP API, and the values that stand in them.
//!
//! These types are the border: servers and clients keep their own inside and convert. They need neither an HTTP library
//! nor a command line parser, so anything may depend on them.

pub mod cluster;
pub mod error;
pub mod header;
pub mod health;
pub mod key;
pub mod kv;
pub mod quantity;
pub mod registry;

pub use error::{ErrorBody, ErrorCode, ErrorDetail, Outcome};
pub use key::Key;
