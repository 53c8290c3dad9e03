//! `muster members`

use std::time::Duration;

use clap::Args;
use muster_client::Client;

use crate::failure::Failure;
use crate::node;
use crate::output::{self, Cell, Format, Tone};

/// Show who is in the cluster, as the node that answers sees it
///
/// STATE is what gossip says, ROLE what replication says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster members
  muster members -o json | jq -r '.members[] | select(.state == \"failed\") | .name'

`muster doctor` compares what all nodes see.")]
pub(crate) struct Members {}

impl Members {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let members = client.members().await?;
        match format {
            Format::Json => output::json(&members)?,
            Format::Plain => {
                for member in &members.members {
                    let (state, role) = (node::state_text(member.state).to_owned(), node::role(member.role).to_owned());
                    let (http, peer) = (member.http.clone(), member.peer.clone());
                    output::plain([member.name.clone(), member.id.to_string(), state, role, http, peer])?;
                }
            }
            Format::Table => {
                let row = |member: &muster_client::api::cluster::Member| {
                    let leads = member.role == Some(muster_client::api::cluster::Role::Leader);
                    let role = Cell::new(node::role(member.role), if leads { Tone::Strong } else { Tone::Plain });
                    let seen = match member.last_seen_ms {
                        _ if member.id == members.local => "answers here".to_owned(),
                        Some(ms) => format!("{} ago", output::ago(Duration::from_millis(ms))),
                        None => "never".to_owned(),
                    };
                    let name = output::escaped(member.name.as_bytes());
                    let id = node::short(member.id);
                    let (http, peer) = (member.http.as_str(), member.peer.as_str());
                    [name.into(), id.into(), node::state(member.state), role, http.into(), peer.into(), seen.into()]
                };
                let rows: Vec<_> = members.members.iter().map(row).collect();
                output::table(["NAME", "ID", "STATE", "ROLE", "CLIENT PORT", "PEER PORT", "SEEN"], &rows, true)?;
            }
        }
        Ok(())
    }
}
