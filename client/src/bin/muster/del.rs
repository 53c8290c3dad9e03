//! `muster del`

use clap::Args;
use muster_client::Client;

use crate::failure::{Failure, Status};
use crate::output::{self, Format};

/// Remove a key
///
/// Exits with 3 when there was no such key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster del greeting
  muster del config/mode --if-revision 41")]
pub(crate) struct Del {
    key: String,

    /// Remove only if the key was last written by this revision; else exit with 4
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

impl Del {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let mut delete = client.delete(self.key);
        if let Some(revision) = self.if_revision {
            delete = delete.if_revision(revision);
        }
        let done = delete.await?;
        let key = output::escaped(done.key.as_bytes());
        match format {
            Format::Json => output::json(&done)?,
            Format::Plain if done.existed => output::line(&done.revision.to_string())?,
            Format::Table if done.existed => output::line(&format!("removed {key} at revision {}", done.revision))?,
            Format::Table | Format::Plain => {}
        }
        if done.existed { Ok(()) } else { Err(Failure::new(Status::NotFound, format!("there is no key {key}"))) }
    }
}
