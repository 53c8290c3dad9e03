//! `muster keys`: the cluster's keys, made, shown and changed on all members while they run.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use muster_cluster::keyring::{Change, Entry, EntryName, Key, Keyring, encode_key};
use muster_cluster::runtime::{AskError, KeyFile, KeyReport, KeyRequest, ask};
use uuid::Uuid;

use crate::connect::Connect;
use crate::failure::{Failure, Status};
use crate::output::{self, Format};

/// Make, show and change the keys that seal everything between members
///
/// Requests go to a member's peer port, sealed with a key of --keys-file: only who holds one of the ring may ask.
#[derive(Debug, Args)]
#[command(after_help = "To change the key of a running cluster:
  muster keys generate > new
  muster keys add new           every member opens what is sealed with it
  muster keys use NAME          every member seals with it
  muster keys remove OLDNAME    no member opens what is sealed with the old one

`plain` stands for what is not sealed: `muster keys use NAME` and `muster keys remove plain` seal an open cluster
whose members were started with a file of the two lines `plain` and a key.")]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,

    /// A file with at least one key of the ring, as nodes have it
    #[arg(long, global = true, value_name = "FILE", env = "MUSTER_KEYS_FILE")]
    keys_file: Option<PathBuf>,

    /// The peer port of the member to ask first, instead of that of the node at --endpoint
    #[arg(long, global = true, value_name = "HOST:PORT", env = "MUSTER_PEER")]
    peer: Option<String>,

    /// Change keys though a member does not answer or would not understand the others afterwards
    #[arg(long, global = true)]
    force: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new key
    Generate,
    /// Show which member has which keys; the first of each seals
    List,
    /// Let all members open what is sealed with a further key
    Add {
        /// The file with the key, `plain` for what is not sealed, or nothing: from standard input
        key: Option<String>,
    },
    /// Let all members seal with this key
    Use {
        /// Its name, as `list` shows it, or `plain`
        name: String,
    },
    /// Let all members forget a key
    Remove {
        /// Its name, as `list` shows it, or `plain`
        name: String,
    },
}

impl Keys {
    pub(crate) async fn run(self, connect: &Connect, format: Format) -> Result<(), Failure> {
        let change = match &self.command {
            Command::Generate => return Ok(output::line(&encode_key(&Key::new(rand::random())))?),
            Command::List => None,
            Command::Add { key } => Some(Change::Add(entry(key.as_deref())?)),
            Command::Use { name } => Some(Change::Use(named(name)?)),
            Command::Remove { name } => Some(Change::Remove(named(name)?)),
        };
        let path =
            self.keys_file.as_ref().ok_or_else(|| usage("name a file with a key of the ring with --keys-file"))?;
        let ring = KeyFile::new(path).read().map_err(|error| usage(error.to_string()))?;
        let members = match (&self.peer, connect.client()?.members().await) {
            (_, Ok(members)) => Some(members),
            (Some(_), Err(_)) => None,
            (None, Err(error)) => return Err(error.into()),
        };
        let names: BTreeMap<Uuid, String> =
            members.iter().flat_map(|all| &all.members).map(|member| (member.id, member.name.clone())).collect();
        let local = members.as_ref().and_then(|all| all.members.iter().find(|member| member.id == all.local));
        let peer = self.peer.clone().or_else(|| local.map(|member| member.peer.clone()));
        let peer = peer.ok_or_else(|| usage("the node does not say where its peer port is; name it with --peer"))?;
        let found = tokio::net::lookup_host(&peer).await?.next();
        let address = found.ok_or_else(|| usage(format!("{peer} has no address")))?;
        let ask = async |request| asked(address, connect, &ring, &request).await;
        let before = ask(KeyRequest::List).await?;
        let reports = match change {
            None => before,
            Some(change) => {
                if !self.force {
                    check(&change, &before, &names)?;
                }
                ask(KeyRequest::Change(change)).await?
            }
        };
        show(&reports, &names, format)?;
        match reports.iter().filter(|report| report.failure.is_some()).count() {
            0 => Ok(()),
            failed => Err(Failure::new(
                Status::Failed,
                format!("{failed} of {} members did not do it; do it again when they can", reports.len()),
            )),
        }
    }
}

async fn asked(
    address: SocketAddr,
    connect: &Connect,
    ring: &Keyring,
    request: &KeyRequest,
) -> Result<Vec<KeyReport>, Failure> {
    ask(address, connect.cluster(), ring, request, connect.timeout()).await.map_err(|error| match error {
        AskError::NoKey => usage("there is no key in --keys-file, and such a request must be sealed"),
        AskError::Open(_) => Failure::new(
            Status::NoNode,
            format!("{error}\nNothing was changed. Is one of the keys in --keys-file in that member's ring?"),
        ),
        error => Failure::new(Status::Unknown, error.to_string()),
    })
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(Status::Usage, text)
}

fn named(name: &str) -> Result<EntryName, Failure> {
    EntryName::parse(name).ok_or_else(|| usage("a key is called by 16 hex digits, as `muster keys list` shows them"))
}

/// What is to be added. Never from the command line itself: others on the machine can read that.
fn entry(from: Option<&str>) -> Result<Entry, Failure> {
    let ring = match from {
        Some("plain") => return Ok(Entry::Plain),
        Some(path) => KeyFile::new(path).read().map_err(|error| usage(error.to_string()))?,
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            Keyring::parse(&text).map_err(|error| usage(format!("standard input: {error}")))?
        }
    };
    match ring.entries() {
        [entry] => Ok(entry.clone()),
        _ => Err(usage("more than one key; add them one by one")),
    }
}

/// Whether all members would still understand each other.
fn check(change: &Change, before: &[KeyReport], names: &BTreeMap<Uuid, String>) -> Result<(), Failure> {
    let refuse = |who: Uuid, why: &str| {
        let who = names.get(&who).cloned().unwrap_or_else(|| who.to_string());
        Failure::new(
            Status::ConditionNotMet,
            format!("{who} {why}; nothing was changed (--force does it all the same)"),
        )
    };
    for report in before {
        if report.failure.is_some() {
            return Err(refuse(report.member, "does not answer and would be left behind"));
        }
        match change {
            Change::Add(_) => {}
            Change::Use(name) if report.ring.contains(name) => {}
            Change::Use(_) => return Err(refuse(report.member, "does not have this key yet: add it first")),
            Change::Remove(name) => {
                let first = report.ring.first();
                if first == Some(name) {
                    return Err(refuse(report.member, "still seals with it: use another first"));
                }
                if let Some(other) = before.iter().find(|other| first.is_some_and(|first| !other.ring.contains(first)))
                {
                    return Err(refuse(other.member, "does not have the key that another seals with: add it first"));
                }
            }
        }
    }
    Ok(())
}

fn show(reports: &[KeyReport], names: &BTreeMap<Uuid, String>, format: Format) -> Result<(), Failure> {
    let name = |report: &KeyReport| names.get(&report.member).cloned().unwrap_or_else(|| report.member.to_string());
    let ring = |report: &KeyReport| report.ring.iter().map(EntryName::to_string).collect::<Vec<_>>();
    match format {
        Format::Json => {
            let rows = reports.iter().map(|report| {
                serde_json::json!({ "id": report.member, "name": name(report), "keys": ring(report), "failure": report.failure })
            });
            output::json(&rows.collect::<Vec<_>>())?;
        }
        Format::Plain | Format::Table => {
            for report in reports {
                let failure = report.failure.clone().unwrap_or_default();
                output::plain([name(report), ring(report).join(" "), failure])?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(member: u128, keys: &[&Key]) -> KeyReport {
        let ring = keys.iter().map(|key| EntryName::Key(key.name())).collect();
        KeyReport { member: Uuid::from_u128(member), ring, failure: None }
    }

    #[test]
    fn a_change_that_would_part_the_members_is_refused() {
        let (a, b) = (Key::new([1; 32]), Key::new([2; 32]));
        let name = |key: &Key| EntryName::Key(key.name());
        let names = BTreeMap::new();
        let allowed = |change: Change, before: &[KeyReport]| check(&change, before, &names).is_ok();
        let both = [report(1, &[&a, &b]), report(2, &[&b, &a])];
        let one = [report(1, &[&a, &b]), report(2, &[&a])];
        assert!(allowed(Change::Use(name(&b)), &both));
        assert!(!allowed(Change::Use(name(&b)), &one));
        assert!(!allowed(Change::Remove(name(&a)), &both), "the first still seals with it");
        assert!(allowed(Change::Remove(name(&b)), &one));
        assert!(!allowed(Change::Remove(name(&a)), &[report(1, &[&b, &a]), report(2, &[&a])]));
        let silent = KeyReport { failure: Some("no answer".to_owned()), ..report(2, &[]) };
        assert!(!allowed(Change::Add(Entry::Plain), &[report(1, &[&a]), silent]));
    }
}
