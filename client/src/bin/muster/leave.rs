//! `muster leave` and `muster remove`: taking a node out for good.

use clap::Args;
use muster_client::Client;

use crate::failure::Failure;
use crate::node;
use crate::output::{self, Format};

/// Take a live node out of the cluster for good
///
/// It hands over if it leads, gives up its vote, and stays out even when it is started again. Stopping a node (SIGTERM)
/// is not leaving: it comes back with its vote.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster leave n3

Refused (exit 1) when the voters that remain would be no majority.")]
pub(crate) struct Leave {
    #[arg(help = node::HELP)]
    node: String,
}

/// Take a dead node out of the cluster for good
///
/// For a node that will not come back. A live one is taken out with `leave`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster remove n3

Refused (exit 1) unless the live voters are a majority before and after.")]
pub(crate) struct Remove {
    #[arg(help = node::HELP)]
    node: String,
}

impl Leave {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let members = client.members().await?.members;
        let member = node::resolve(&self.node, &members)?;
        client.leave(member.id).await?;
        gone(&member.name, member.id, "left", format)
    }
}

impl Remove {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let members = client.members().await?.members;
        let member = node::resolve(&self.node, &members)?;
        client.remove(member.id).await?;
        gone(&member.name, member.id, "was removed from", format)
    }
}

fn gone(name: &str, id: uuid::Uuid, how: &str, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(&serde_json::json!({ "id": id, "name": name }))?,
        Format::Plain => output::line(&id.to_string())?,
        Format::Table => {
            let name = output::escaped(name.as_bytes());
            output::line(&format!("{name} ({}) {how} the cluster", node::short(id)))?;
        }
    }
    Ok(())
}
