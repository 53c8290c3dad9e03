//! `muster status`

use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use muster_client::api::cluster::{Link, Member, MemberState, Members, Replica, Status as Remote};
use muster_client::{Client, Error};

use crate::failure::{Failure, Status as Exit};
use crate::node;
use crate::output::{self, Cell, Format, Tone};

/// Show how the nodes are: roles, revisions, lag, disks, and how many failures are tolerated
///
/// Without NODE all nodes are asked, and shown one a line; with it, one in full.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster status
  muster status n2
  muster status -o json | jq '.[].revision'")]
pub(crate) struct Status {
    #[arg(help = node::HELP)]
    node: Option<String>,
}

impl Status {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let members = client.members().await?;
        if let Some(text) = self.node {
            let member = node::resolve(&text, &members.members)?;
            let status = client.at(&member.http)?.status().await?;
            return match format {
                Format::Json => Ok(output::json(&status)?),
                Format::Plain | Format::Table => detail(&status, &members.members, format),
            };
        }
        let there: Vec<&Member> =
            members.members.iter().filter(|m| m.state != MemberState::Left || m.role.is_some()).collect();
        let asked = join_all(there.iter().map(|member| ask(client, member))).await;
        if asked.iter().all(Result::is_err) {
            return Err(asked.into_iter().find_map(Result::err).map_or_else(
                || {
                    Failure::new(
                        Exit::NoNode,
                        "the cluster has no members yet; is it being founded? See `muster doctor`",
                    )
                },
                Failure::from,
            ));
        }
        overview(&members, &there, &asked, format)
    }
}

async fn ask(client: &Client, member: &Member) -> Result<Remote, Error> {
    client.at(&member.http)?.status().await
}

fn overview(
    members: &Members,
    there: &[&Member],
    asked: &[Result<Remote, Error>],
    format: Format,
) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let answers: Vec<_> = asked.iter().flatten().collect();
            output::json(&answers)?;
        }
        Format::Plain => {
            for status in asked.iter().flatten() {
                let (term, revision) = (status.term.to_string(), status.revision.to_string());
                let (role, id) = (node::role(status.role).to_owned(), status.id.to_string());
                output::plain([status.name.clone(), id, role, term, revision, status.applied_index.to_string()])?;
            }
        }
        Format::Table => {
            output::line(&summary(members, asked))?;
            let most = asked.iter().flatten().map(|status| status.last_log_index).max().unwrap_or_default();
            let rows: Vec<_> = there.iter().zip(asked).map(|(member, status)| row(member, status, most)).collect();
            let heading = ["NAME", "ROLE", "TERM", "REVISION", "BEHIND", "DATA", "DISK FREE", "SYNC P99", "VERSION"];
            output::table(heading, &rows, true)?;
        }
    }
    Ok(())
}

fn summary(members: &Members, asked: &[Result<Remote, Error>]) -> String {
    // Whoever leads knows best; else whoever answered.
    let best = asked.iter().flatten().max_by_key(|status| (status.leader == Some(status.id), status.term));
    let Some(best) = best else { return "no node says how it is".to_owned() };
    let leader = match (best.leader, &best.no_leader_reason) {
        (Some(id), _) => {
            let since = best.leader_since_ms.map(|ms| format!(" for {}", output::ago(Duration::from_millis(ms))));
            format!("{} leads{} in term {}", node::called(id, &members.members), since.unwrap_or_default(), best.term)
        }
        (None, Some(reason)) => format!("nobody leads: {reason}"),
        (None, None) => "nobody leads".to_owned(),
    };
    let (voters, tolerated) = (best.voters.len(), best.failures_tolerated);
    format!("{leader}; {}, {} tolerated now", output::count(voters, "voter", "voters"), failures(tolerated))
}

fn failures(tolerated: u32) -> String {
    output::count(tolerated as usize, "failure", "failures")
}

fn row(member: &Member, status: &Result<Remote, Error>, most: u64) -> [Cell; 9] {
    let name = output::escaped(member.name.as_bytes());
    match status {
        Ok(status) => {
            let leads = status.leader == Some(status.id);
            let role = Cell::new(node::role(status.role), if leads { Tone::Strong } else { Tone::Plain });
            let behind = most.saturating_sub(status.applied_index);
            let free =
                Cell::new(output::size(status.disk.free_bytes), if status.disk.full { Tone::Bad } else { Tone::Plain });
            [
                name.into(),
                role,
                status.term.to_string().into(),
                status.revision.to_string().into(),
                behind.to_string().into(),
                output::size(status.disk.log_bytes.saturating_add(status.disk.state_bytes)).into(),
                free,
                format!("{:.1} ms", status.disk.sync_ms_p99).into(),
                status.version.as_str().into(),
            ]
        }
        Err(_) => {
            let dash = || Cell::from("-");
            let silent = Cell::new("no answer", Tone::Bad);
            [name.into(), silent, dash(), dash(), dash(), dash(), dash(), dash(), dash()]
        }
    }
}

fn detail(status: &Remote, members: &[Member], format: Format) -> Result<(), Failure> {
    let ms = |ms: Option<u64>| ms.map(|ms| output::ago(Duration::from_millis(ms)));
    let leader = match (status.leader, &status.no_leader_reason) {
        (Some(id), _) => format!("{} ({})", node::called(id, members), node::short(id)),
        (None, reason) => format!("none: {}", reason.as_deref().unwrap_or("it does not say why")),
    };
    let disk = &status.disk;
    let facts = [
        ("name", status.name.clone()),
        ("id", status.id.to_string()),
        ("version", status.version.clone()),
        ("cluster", status.cluster_id.map_or("none yet".to_owned(), |id| id.to_string())),
        ("role", node::role(status.role).to_owned()),
        ("term", status.term.to_string()),
        ("leader", leader),
        ("leads for", ms(status.leader_since_ms).unwrap_or("-".to_owned())),
        ("revision", status.revision.to_string()),
        (
            "log",
            format!(
                "last {}, committed {}, applied {}",
                status.last_log_index, status.committed_index, status.applied_index
            ),
        ),
        ("tolerated", failures(status.failures_tolerated)),
        (
            "disk",
            format!(
                "log {}, state {}, free {}",
                output::size(disk.log_bytes),
                output::size(disk.state_bytes),
                output::size(disk.free_bytes)
            ),
        ),
        (
            "log sync",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms{}",
                disk.sync_ms_p50,
                disk.sync_ms_p99,
                match (disk.stalled_ms, disk.full) {
                    (Some(ms), _) => format!(", no answer for {} s", ms / 1_000),
                    (None, true) => ", full".to_owned(),
                    (None, false) => String::new(),
                }
            ),
        ),
    ];
    if format == Format::Plain {
        return Ok(facts.into_iter().try_for_each(|(name, value)| output::plain([name.to_owned(), value]))?);
    }
    for (name, value) in facts {
        output::line(&format!("{name:<10}  {value}"))?;
    }
    let replica = |kind: &str, replica: &Replica| -> [Cell; 5] {
        let matched = replica.matched_index.map_or("-".to_owned(), |index| index.to_string());
        let lag = match (replica.snapshot_percent, replica.lag) {
            (Some(percent), _) => format!("snapshot {percent} %"),
            (None, lag) => lag.map_or("-".to_owned(), |lag| lag.to_string()),
        };
        let state = replica.state.map_or("-".into(), node::state);
        [output::escaped(replica.name.as_bytes()).into(), kind.into(), state, matched.into(), lag.into()]
    };
    let voters = status.voters.iter().map(|one| replica("voter", one));
    let rows: Vec<_> = voters.chain(status.learners.iter().map(|one| replica("learner", one))).collect();
    if !rows.is_empty() {
        output::line("")?;
        output::table(["REPLICA", "KIND", "STATE", "HOLDS", "BEHIND"], &rows, true)?;
    }
    let link = |link: &Link| -> [Cell; 4] {
        let state = if link.connected { Cell::new("connected", Tone::Good) } else { Cell::new("cut", Tone::Bad) };
        let trip = link.round_trip_ms.map_or("-".to_owned(), |ms| format!("{ms:.2} ms"));
        [node::called(link.id, members).into(), state, trip.into(), link.last_error.as_deref().unwrap_or("").into()]
    };
    let rows: Vec<_> = status.network.iter().map(link).collect();
    if !rows.is_empty() {
        output::line("")?;
        output::table(["STREAM TO", "STATE", "ROUND TRIP", "WHY"], &rows, true)?;
    }
    Ok(())
}
