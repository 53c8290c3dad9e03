//! Where the nodes are: the flags that every command takes.

use clap::Args;
use muster_client::api::quantity::Span;
use muster_client::http::Registry;
use muster_client::{Client, Error};

/// The client port of a node that runs with its defaults on this machine.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8050";
/// A registry that runs with its defaults on this machine.
const DEFAULT_REGISTRY: &str = "http://127.0.0.1:8080";

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// A node's client port; repeatable, any node will do [default: http://127.0.0.1:8050]
    #[arg(long, short, global = true, value_name = "URL", env = "MUSTER_ENDPOINT", value_delimiter = ',')]
    endpoint: Vec<String>,

    /// A registry to ask for nodes, instead of or beside --endpoint; repeatable
    #[arg(long, short, global = true, value_name = "URL", env = "MUSTER_REGISTRY_ADDRESS", value_delimiter = ',')]
    registry_address: Vec<String>,

    /// The cluster's name, to ask a registry for
    #[arg(long, global = true, value_name = "NAME", env = "MUSTER_CLUSTER", default_value = "muster")]
    cluster: String,

    /// How long the command may try, such as 500ms or 1m: two elections and a slow disk fit into the default
    #[arg(long, global = true, value_name = "DURATION", env = "MUSTER_TIMEOUT", default_value = "10s")]
    timeout: Span,
}

impl Connect {
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let mut builder = Client::builder()
            .cluster(&self.cluster)
            .timeout(self.timeout.0)
            .endpoints(&self.endpoint)
            .registries(&self.registry_address);
        if self.endpoint.is_empty() && self.registry_address.is_empty() {
            builder = builder.endpoint(DEFAULT_ENDPOINT);
        }
        builder.build()
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The registries that were named, or the one on this machine.
    pub(crate) fn registries(&self) -> Result<Vec<Registry>, Error> {
        if self.registry_address.is_empty() {
            return Ok(vec![Registry::new(DEFAULT_REGISTRY)?]);
        }
        self.registry_address.iter().map(|url| Registry::new(url)).collect()
    }

    /// The registries that were named.
    pub(crate) fn named_registries(&self) -> Result<Vec<Registry>, Error> {
        if self.registry_address.is_empty() { Ok(Vec::new()) } else { self.registries() }
    }
}
