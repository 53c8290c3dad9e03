//! `muster registry`

use std::time::Duration;

use clap::Args;
use muster_client::Error;
use muster_client::api::registry::{Cluster, Node};
use muster_client::http::Registry as Remote;
use serde::Serialize;

use crate::failure::{Failure, Status};
use crate::node;
use crate::output::{self, Cell, Format, Tone};

/// Show what the registry knows: the nodes that registered, the clusters that were founded
///
/// The registry only helps nodes to find each other. A cluster that runs goes on without it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster registry
  muster registry --registry-address http://10.0.0.1:8080 --cluster prod

Without --registry-address it asks http://127.0.0.1:8080.")]
pub(crate) struct Registry {}

/// What one registry says.
#[derive(Serialize)]
struct View {
    registry: String,
    nodes: Vec<Node>,
    cluster: Option<Cluster>,
}

impl Registry {
    pub(crate) async fn run(self, registries: &[Remote], cluster: &str, format: Format) -> Result<(), Failure> {
        let mut failed = Vec::new();
        for registry in registries {
            match look(registry, cluster).await {
                Ok(view) => show(&view, cluster, format)?,
                Err(Error::NoAnswer { tried, .. }) => {
                    failed.extend(tried.iter().map(|tried| format!("the registry does not answer: {tried}")));
                }
                Err(error) => failed.push(error.to_string()),
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => {
                let hint = "Is a registry running there? Name another with --registry-address.";
                Err(Failure::new(Status::NoNode, format!("{}\n{hint}", failed.join("\n"))))
            }
        }
    }
}

async fn look(registry: &Remote, name: &str) -> Result<View, Error> {
    let nodes = registry.nodes(name).await?;
    let cluster = registry.clusters().await?.clusters.into_iter().find(|cluster| cluster.name == name);
    Ok(View { registry: registry.endpoint().to_owned(), nodes, cluster })
}

fn show(view: &View, name: &str, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(view)?,
        Format::Plain => {
            for node in &view.nodes {
                let cluster = node.cluster_id.map(|id| id.to_string()).unwrap_or_default();
                let (name, id) = (node.name.clone(), node.id.to_string());
                output::plain([name, id, node.http.clone(), node.peer.clone(), cluster, node.age_ms.to_string()])?;
            }
        }
        Format::Table => {
            output::line(&format!("{}: {}", view.registry, founded(view, name)))?;
            let row = |seen: &Node| {
                let cluster = match seen.cluster_id {
                    Some(id) => Cell::from(node::short(id)),
                    None => Cell::new("none yet", Tone::Warning),
                };
                let age = format!("{} ago", output::ago(Duration::from_millis(seen.age_ms)));
                let name = output::escaped(seen.name.as_bytes());
                [
                    name.into(),
                    node::short(seen.id).into(),
                    seen.http.as_str().into(),
                    seen.peer.as_str().into(),
                    cluster,
                    age.into(),
                ]
            };
            let rows: Vec<_> = view.nodes.iter().map(row).collect();
            if !rows.is_empty() {
                output::table(["NAME", "ID", "CLIENT PORT", "PEER PORT", "CLUSTER", "RENEWED"], &rows, true)?;
            }
        }
    }
    Ok(())
}

fn founded(view: &View, name: &str) -> String {
    let nodes = match view.nodes.len() {
        0 => "no node is registered".to_owned(),
        some => output::count(some, "node is registered", "nodes are registered"),
    };
    match view.cluster.as_ref() {
        Some(Cluster { founding: Some(founding), .. }) => {
            let (id, founder) = (founding.cluster_id, node::short(founding.founder));
            format!("cluster `{name}` has the id {id}, founded by {founder}; {nodes}")
        }
        Some(Cluster { seen, .. }) if seen.len() > 1 => {
            let ids = seen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("cluster `{name}` is carried under several ids ({ids}): run `muster doctor`; {nodes}")
        }
        Some(Cluster { seen, .. }) if seen.len() == 1 => format!("cluster `{name}` has the id {}; {nodes}", seen[0]),
        _ => format!("cluster `{name}` is not founded yet; {nodes}"),
    }
}
