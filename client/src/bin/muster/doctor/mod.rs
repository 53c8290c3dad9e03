//! `muster doctor`: asks everyone it can find, and says what is wrong and what to do.
//!
//! This file gathers; [`findings`] judges, without a network.

mod evidence;
mod findings;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use muster_client::Client;
use muster_client::api::cluster::{Member, MemberState};
use muster_client::http::Registry;

use crate::failure::{Failure, Status as Exit};
use crate::output::{self, Format, Tone};
use evidence::{Evidence, NodeView, Registered, RegistryView};
use findings::{Finding, Level, diagnose};

/// 2 s for each node: who takes longer to answer from memory is in trouble, and that is a finding.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rounds of asking whom those that answered know: members know all members, so the second finds nobody new as a rule.
const ROUNDS: usize = 3;
/// 256 nodes are asked at most; more are counted, not asked.
const MOST: usize = 256;

/// Find out what is wrong with the cluster, and what to do about it
///
/// Asks every node and registry it can find: why is there no leader, who cannot reach whom, whose disk is slow or full,
/// which versions run, do all belong to one cluster, how many failures are tolerated. Exits with 0 when all is well, with 1
/// when something needs attention, with 5 when nobody answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster doctor
  muster doctor --registry-address http://10.0.0.1:8080
  muster doctor -o json | jq -r '.findings[] | select(.level == \"critical\") | .what'

It changes nothing. The most important finding comes first.")]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) async fn run(
        self,
        client: &Client,
        registries: &[Registry],
        cluster: &str,
        format: Format,
    ) -> Result<(), Failure> {
        let evidence = gather(client, registries, cluster).await;
        let findings = diagnose(&evidence);
        show(&evidence, &findings, format)?;
        let worst = findings.iter().map(|finding| finding.level).max();
        let answered = evidence.nodes.iter().any(|node| node.status.is_ok());
        match worst {
            // What was found is on standard output already.
            Some(Level::Critical | Level::Warning) if answered => Err(Failure::new(Exit::Failed, "")),
            Some(Level::Critical | Level::Warning) => Err(Failure::new(Exit::NoNode, "")),
            Some(Level::Note) | None => Ok(()),
        }
    }
}

async fn gather(client: &Client, registries: &[Registry], cluster: &str) -> Evidence {
    let registries = join_all(registries.iter().map(|registry| look_at_registry(registry, cluster))).await;
    let mut addresses: BTreeSet<String> = client.endpoints().iter().map(|url| address(url)).collect();
    for view in registries.iter().filter_map(|view| view.answer.as_ref().ok()) {
        addresses.extend(view.nodes.iter().map(|node| node.http.clone()));
    }
    let mut asked: BTreeMap<String, NodeView> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let new: Vec<String> = addresses
            .iter()
            .filter(|one| !asked.contains_key(*one))
            .take(MOST - asked.len().min(MOST))
            .cloned()
            .collect();
        if new.is_empty() {
            break;
        }
        for view in join_all(new.iter().map(|address| look_at_node(client, address))).await {
            if let Ok(members) = &view.members {
                // One that said goodbye may still be a voter, and then it counts whether it answers.
                let matters = |m: &&Member| m.state != MemberState::Left || m.role.is_some();
                let others = members.members.iter().filter(matters).filter(|member| !member.http.is_empty());
                addresses.extend(others.map(|member| member.http.clone()));
            }
            asked.insert(view.address.clone(), view);
        }
    }
    Evidence { cluster: cluster.to_owned(), nodes: one_view_each(asked.into_values()), registries }
}

/// A node may be known by two addresses (`localhost` and `127.0.0.1`): it is looked at once.
fn one_view_each(views: impl Iterator<Item = NodeView>) -> Vec<NodeView> {
    let mut seen = BTreeSet::new();
    views.filter(|view| view.status.as_ref().map_or(true, |status| seen.insert(status.id))).collect()
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

async fn look_at_registry(registry: &Registry, cluster: &str) -> RegistryView {
    let answer = async {
        let nodes = registry.nodes(cluster).await?;
        let known = registry.clusters().await?.clusters.into_iter().find(|known| known.name == cluster);
        Ok(Registered { nodes, cluster: known })
    };
    let answer: Result<_, muster_client::Error> = answer.await;
    RegistryView { address: registry.endpoint().to_owned(), answer: answer.map_err(|error| reason(&error)) }
}

async fn look_at_node(client: &Client, address: &str) -> NodeView {
    let silent = |why: String| NodeView {
        address: address.to_owned(),
        status: Err(why.clone()),
        members: Err(why),
        health: None,
    };
    let node = match client.at(address) {
        Ok(node) => node,
        Err(error) => return silent(reason(&error)),
    };
    let look = async { tokio::join!(node.status(), node.members(), node.readiness()) };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok((status, members, health)) => NodeView {
            address: address.to_owned(),
            status: status.map_err(|error| reason(&error)),
            members: members.map_err(|error| reason(&error)),
            health: health.ok(),
        },
        Err(_) => silent(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Without the address, which stands beside it already.
fn reason(error: &muster_client::Error) -> String {
    match error {
        muster_client::Error::NoAnswer { tried, .. } if !tried.is_empty() => tried[tried.len() - 1].reason.clone(),
        other => other.to_string(),
    }
}

fn show(evidence: &Evidence, findings: &[Finding], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let answered: Vec<_> = evidence.nodes.iter().map(|node| (&node.address, node.status.is_ok())).collect();
            let healthy = findings.iter().all(|finding| finding.level == Level::Note);
            output::json(&serde_json::json!({ "healthy": healthy, "findings": findings, "asked": answered }))?;
        }
        Format::Plain => {
            for finding in findings {
                output::plain([finding.level.name().to_owned(), finding.what.clone(), finding.advice.clone()])?;
            }
        }
        Format::Table => {
            let colour = output::coloured(&std::io::stdout());
            for finding in findings {
                let tone = match finding.level {
                    Level::Critical => Tone::Bad,
                    Level::Warning => Tone::Warning,
                    Level::Note => Tone::Strong,
                };
                let level = output::paint(&format!("{:<8}", finding.level.name()), tone, colour);
                output::line(&format!("{level}  {}", finding.what))?;
                if !finding.advice.is_empty() {
                    output::line(&format!("          {}", finding.advice))?;
                }
            }
            let answered = evidence.nodes.iter().filter(|node| node.status.is_ok()).count();
            let asked = format!("asked {} ({answered} answered)", output::count(evidence.nodes.len(), "node", "nodes"));
            let registries = evidence.registries.iter().filter(|view| view.answer.is_ok()).count();
            let registries = match evidence.registries.len() {
                0 => "no registry (name one with --registry-address)".to_owned(),
                named => format!("{} ({registries} answered)", output::count(named, "registry", "registries")),
            };
            if findings.iter().all(|finding| finding.level == Level::Note) {
                output::line(&output::paint("All is well.", Tone::Good, colour))?;
            }
            output::line(&format!("I {asked} and {registries}."))?;
        }
    }
    Ok(())
}
