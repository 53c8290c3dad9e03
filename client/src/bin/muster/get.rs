//! `muster get`

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use muster_client::Client;
use muster_client::api::quantity::Span;
use serde::Serialize;
use uuid::Uuid;

use crate::failure::{Failure, Status};
use crate::output::{self, Format};

/// Read a key
///
/// Writes the value as it was put and nothing else. Exits with 3 when the key is absent.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster get greeting
  muster get backup.tar > backup.tar
  muster get config/mode --linearizable
  muster get greeting -o json | jq .modify_revision

By default any node answers from its own copy, which may be a little behind.")]
pub(crate) struct Get {
    key: String,

    /// Have a majority confirm that nothing newer exists
    #[arg(long, conflicts_with = "max_staleness")]
    linearizable: bool,

    /// Accept a copy only if it is proved to be at most this old, such as 500ms
    #[arg(long, value_name = "DURATION")]
    max_staleness: Option<Span>,
}

/// The value twice: exact, and as text where it is text.
#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    create_revision: u64,
    modify_revision: u64,
    /// Where it was read, what that node had applied, and by how much that may be behind (`null`: unknown).
    node: Option<Uuid>,
    revision: u64,
    staleness_ms: Option<u128>,
}

impl Get {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let mut get = client.get(self.key.clone());
        if self.linearizable {
            get = get.linearizable();
        }
        if let Some(Span(age)) = self.max_staleness {
            get = get.max_staleness(age);
        }
        let Some(entry) = get.await? else {
            let key = output::escaped(self.key.as_bytes());
            return Err(Failure::new(Status::NotFound, format!("there is no key {key}")));
        };
        match format {
            Format::Json => output::json(&Shown {
                key: &entry.key,
                value: STANDARD.encode(&entry.value),
                text: std::str::from_utf8(&entry.value).ok(),
                content_type: entry.content_type.as_deref(),
                create_revision: entry.create_revision,
                modify_revision: entry.modify_revision,
                node: entry.read.node,
                revision: entry.read.revision,
                staleness_ms: entry.read.staleness.map(|behind| behind.as_millis()),
            })?,
            Format::Table | Format::Plain => output::bytes(&entry.value)?,
        }
        Ok(())
    }
}
