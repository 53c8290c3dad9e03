//! `muster put`

use std::io::{self, IsTerminal, Read, Write};

use clap::Args;
use muster_client::Client;

use crate::failure::Failure;
use crate::output::{self, Format};

/// Write a key
///
/// The answer comes when the write is safe. Its revision is the number that --if-revision compares.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster put greeting 'hello world'
  muster put backup.tar < backup.tar
  muster put config/mode green --if-revision 41
  muster put lock me --if-absent")]
pub(crate) struct Put {
    /// 1 to 1,024 bytes of UTF-8; slashes have no meaning of their own
    key: String,

    /// The value; read from standard input when absent, to its end and as it is
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,

    /// Write only if the key was last written by this revision; else exit with 4
    #[arg(long, value_name = "REVISION", conflicts_with = "if_absent")]
    if_revision: Option<u64>,

    /// Write only if the key is absent; else exit with 4
    #[arg(long)]
    if_absent: bool,

    /// What the value is, such as application/json: browsers and other readers are told
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

impl Put {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let value = match self.value {
            Some(text) => text.into_bytes(),
            None => standard_input()?,
        };
        let mut put = client.put(self.key, value);
        if let Some(revision) = self.if_revision {
            put = put.if_revision(revision);
        }
        if self.if_absent {
            put = put.if_absent();
        }
        if let Some(content_type) = self.content_type {
            put = put.content_type(content_type);
        }
        let done = put.await?;
        match format {
            Format::Json => output::json(&done)?,
            Format::Plain => output::line(&done.revision.to_string())?,
            Format::Table => {
                let verb = if done.created { "created" } else { "updated" };
                output::line(&format!(
                    "{verb} {} at revision {}",
                    output::escaped(done.key.as_bytes()),
                    done.revision
                ))?;
            }
        }
        Ok(())
    }
}

fn standard_input() -> io::Result<Vec<u8>> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        writeln!(io::stderr(), "muster: type the value, then ctrl-D")?;
    }
    let mut value = Vec::new();
    input.read_to_end(&mut value)?;
    Ok(value)
}
