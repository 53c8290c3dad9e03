//! The client library: a [`Client`] for programs that keep data in Muster.
//!
//! It speaks the HTTP API and hides from its caller that there are several nodes. It does not cache values, and it does
//! not watch them.
//!
//! ```no_run
//! # async fn example() -> Result<(), muster_client::Error> {
//! let client = muster_client::Client::builder().endpoint("http://127.0.0.1:8050").build()?;
//! client.put("greeting", "hello").await?;
//! if let Some(entry) = client.get("greeting").await? {
//!     client.put("greeting", "hello again").if_revision(entry.modify_revision).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `reqwest` is named nowhere else in this crate; nothing of it stands in a public signature.

mod client;
mod error;
mod kv;
mod transport;

pub use client::{Builder, Client};
pub use error::{Error, Tried};
pub use kv::{Delete, Entry, Get, List, Put};
