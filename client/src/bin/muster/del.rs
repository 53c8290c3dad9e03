//! `muster del`

use clap::Args;
use muster_client::Client;

use crate::failure::{Failure, Status};
use crate::output::{self, Format};

/// Remove a key, or all keys that start with a prefix
///
/// Exits with 3 when there was no such key. A prefix is removed at once: readers see all of it or nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster del greeting
  muster del config/mode --if-revision 41
  muster del --prefix sessions/
  muster del --prefix '' --all          every key there is")]
pub(crate) struct Del {
    #[arg(required_unless_present = "prefix", conflicts_with = "prefix")]
    key: Option<String>,

    /// Remove only if the key was last written by this revision; else exit with 4
    #[arg(long, value_name = "REVISION", conflicts_with = "prefix")]
    if_revision: Option<u64>,

    /// Remove all keys that start with this
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,

    /// Confirm that an empty prefix, which stands for every key, is meant
    #[arg(long, requires = "prefix")]
    all: bool,
}

impl Del {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        if let Some(prefix) = self.prefix {
            return many(client, prefix, self.all, format).await;
        }
        let mut delete = client.delete(self.key.unwrap_or_default());
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

async fn many(client: &Client, prefix: String, all: bool, format: Format) -> Result<(), Failure> {
    let delete = match (prefix.is_empty(), all) {
        (true, false) => {
            let what = "an empty prefix stands for every key; nothing was removed";
            return Err(Failure::new(Status::Usage, format!("{what}\nAdd --all if every key is to go.")));
        }
        (true, true) => client.delete_prefix(prefix).everything(),
        (false, _) => client.delete_prefix(prefix),
    };
    let done = delete.await?;
    match format {
        Format::Json => output::json(&done)?,
        Format::Plain => output::line(&done.deleted.to_string())?,
        Format::Table => {
            let keys = usize::try_from(done.deleted).unwrap_or(usize::MAX);
            output::line(&format!("removed {} at revision {}", output::count(keys, "key", "keys"), done.revision))?;
        }
    }
    Ok(())
}
