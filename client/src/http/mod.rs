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
//! **Finding nodes.** Name endpoints, registries, or both ([`Builder`]). Any node names the others; writes go straight to the
//! leader once it is known; a node that does not answer is left alone for a while, twice as long each time.
//!
//! **Retries.** A call goes on until it has an answer that counts or its deadline passes. Reads may always be repeated; writes
//! may because each carries an idempotency key, the same on every retry. A cluster that never answered is not waited for: a
//! wrong address is an error at once.
//!
//! **Silence.** A node that was lost without a word cannot be told from a slow one. What has no answer after 300 ms
//! ([`Builder::hedge_after`]) is sent to another node as well, under the same idempotency key, and the first answer counts.
//!
//! **What became of a write.** `Ok`: a majority has it on disk. [`Error::outcome`] tells the rest apart: certainly not applied,
//! or unknown. Unknown is sticky: after one attempt that may have been applied, only an answer to a later one settles it.
//!
//! **What a read sees.** At least everything that this client and its clones wrote or read before, whichever node answers
//! (`min_revision` is sent by itself). [`Get::linearizable`] sees everything that anyone had acknowledged before;
//! [`Get::max_staleness`] lies between.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use muster_client::{Client, Error, api::Outcome};
//! # async fn example() -> Result<(), Error> {
//! let client = Client::builder().registry("http://10.0.0.1:8080").timeout(Duration::from_secs(3)).build()?;
//! match client.put("lock", "me").if_absent().await {
//!     Ok(done) => println!("mine since revision {}", done.revision),
//!     Err(Error::ConditionFailed { current }) => println!("taken since revision {current:?}"),
//!     Err(error) if error.outcome() == Outcome::Unknown => println!("read it to find out: {error}"),
//!     Err(error) => return Err(error),
//! }
//! let mut sessions = client.list("session/").keys_only();
//! while let Some(entry) = sessions.next().await? {
//!     println!("{}", entry.key);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Where to start reading: [`Client`] and the loop in `client.rs`; whom to ask is decided in `routes.rs`, whether to ask again
//! in `retry.rs`, both without a network.
//!
//! `reqwest` is named nowhere else in this crate; nothing of it stands in a public signature.

mod builder;
mod client;
mod cluster;
mod discovery;
mod error;
mod hedge;
mod list;
mod outgoing;
mod read;
mod registry;
mod retry;
mod routes;
mod target;
mod transport;
mod write;

pub use builder::Builder;
pub use client::Client;
pub use error::{Error, Retry, Tried};
pub use list::List;
pub use read::{Entry, Get, ReadInfo};
pub use registry::{Recorded, Registry};
pub use write::{Delete, DeletePrefix, Put};
