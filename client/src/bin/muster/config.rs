//! `muster config`

use clap::Args;
use muster_client::Client;

use crate::failure::Failure;
use crate::output::{self, Format};

/// Show or change the replicated configuration
///
/// It holds for all nodes at once; the flags of a node only seed it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster config
  muster config voters 3
  muster config replace-after 10m

Values:
  voters         how many members vote; 5 at first: two of five may fail, and every write waits for three
  replace-after  how long a voter is dead before a learner takes its place, at least 1s; 5m at first: longer than a restart")]
pub(crate) struct Config {
    /// Which value to change
    #[arg(requires = "value")]
    key: Option<String>,

    /// What to change it to
    value: Option<String>,
}

impl Config {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        if let (Some(key), Some(value)) = (self.key, self.value) {
            // The flag's spelling will do as well as the field's.
            client.set_config(&key.replace('-', "_"), value).await?;
        }
        let config = client.config().await?;
        match format {
            Format::Json => output::json(&config)?,
            Format::Plain => {
                output::plain(["voters".to_owned(), config.voters.to_string()])?;
                output::plain(["replace-after".to_owned(), config.replace_after])?;
            }
            Format::Table => {
                let rows = [
                    ["voters".into(), config.voters.to_string().into()],
                    ["replace-after".into(), config.replace_after.into()],
                ];
                output::table(["NAME", "VALUE"], &rows, true)?;
            }
        }
        Ok(())
    }
}
