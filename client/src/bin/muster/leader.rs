//! `muster leader` and `muster leader transfer`

use clap::{Args, Subcommand};
use muster_client::Client;

use crate::failure::Failure;
use crate::node;
use crate::output::{self, Format};

/// Show who leads, or hand over
///
/// The leader orders writes. Exits with 5 while there is none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster leader
  muster leader transfer        to whoever is best placed
  muster leader transfer n2")]
pub(crate) struct Leader {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have another voter lead, before maintenance for example; no write fails
    Transfer {
        #[arg(help = node::HELP)]
        node: Option<String>,
    },
}

impl Leader {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        if let Some(Action::Transfer { node }) = self.action {
            let to = match node {
                Some(text) => Some(node::resolve(&text, &client.members().await?.members)?.id),
                None => None,
            };
            client.transfer_leader(to).await?;
        }
        let leader = client.leader().await?;
        match format {
            Format::Json => output::json(&leader)?,
            Format::Plain => {
                output::plain([leader.name, leader.id.to_string(), leader.http, leader.term.to_string()])?;
            }
            Format::Table => {
                let (name, id) = (output::escaped(leader.name.as_bytes()), node::short(leader.id));
                output::line(&format!("{name} ({id}) leads at {} in term {}", leader.http, leader.term))?;
            }
        }
        Ok(())
    }
}
