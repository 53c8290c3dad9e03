//! `muster members`

use std::time::Duration;

use clap::Args;
use muster_client::Client;
use muster_client::api::cluster::{Member, MemberState, Role};

use crate::failure::Failure;
use crate::node;
use crate::output::{self, Cell, Format, Tone};

/// Show who is in the cluster, as the node that answers sees it
///
/// STATE is what gossip says (and of a suspect, who suspects it), ROLE what replication says, ROUND TRIP the last one of a probe.
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
                    let trip = member.round_trip_ms.map_or("-".to_owned(), |ms| format!("{ms:.3}"));
                    let by: Vec<_> = member.suspected_by.iter().map(ToString::to_string).collect();
                    let by = if by.is_empty() { "-".to_owned() } else { by.join(",") };
                    output::plain([member.name.clone(), member.id.to_string(), state, role, http, peer, trip, by])?;
                }
            }
            Format::Table => {
                let row = |member: &Member| {
                    let leads = member.role == Some(Role::Leader);
                    let role = Cell::new(node::role(member.role), if leads { Tone::Strong } else { Tone::Plain });
                    let seen = match member.last_seen_ms {
                        _ if member.id == members.local => "answers here".to_owned(),
                        Some(ms) => format!("{} ago", output::ago(Duration::from_millis(ms))),
                        None => "never".to_owned(),
                    };
                    let trip = member.round_trip_ms.map_or("-".to_owned(), |ms| format!("{ms:.2} ms"));
                    let name = output::escaped(member.name.as_bytes());
                    let id = node::short(member.id);
                    let (http, peer) = (member.http.as_str(), member.peer.as_str());
                    let state = suspicion(member, &members.members);
                    [name.into(), id.into(), state, role, http.into(), peer.into(), trip.into(), seen.into()]
                };
                let rows: Vec<_> = members.members.iter().map(row).collect();
                let heads = ["NAME", "ID", "STATE", "ROLE", "CLIENT PORT", "PEER PORT", "ROUND TRIP", "SEEN"];
                output::table(heads, &rows, true)?;
            }
        }
        Ok(())
    }
}

/// The state; of a suspect with the names of those who accuse it.
fn suspicion(member: &Member, all: &[Member]) -> Cell {
    if member.state != MemberState::Suspect || member.suspected_by.is_empty() {
        return node::state(member.state);
    }
    let by: Vec<_> = member.suspected_by.iter().map(|id| output::escaped(node::called(*id, all).as_bytes())).collect();
    Cell::new(format!("{} by {}", node::state_text(member.state), by.join(", ")), Tone::Warning)
}
