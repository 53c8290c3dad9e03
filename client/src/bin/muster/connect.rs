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
        let (endpoints, registries) = (given(&self.endpoint), given(&self.registry_address));
        let mut builder = Client::builder()
            .cluster(&self.cluster)
            .timeout(self.timeout.0)
            .endpoints(endpoints.iter().copied())
            .registries(registries.iter().copied());
        if endpoints.is_empty() && registries.is_empty() {
            builder = builder.endpoint(DEFAULT_ENDPOINT);
        }
        builder.build()
    }

    pub(crate) const fn timeout(&self) -> std::time::Duration {
        self.timeout.0
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The registries that were named, or the one on this machine.
    pub(crate) fn registries(&self) -> Result<Vec<Registry>, Error> {
        let named = self.named_registries()?;
        if named.is_empty() { Ok(vec![Registry::new(DEFAULT_REGISTRY)?]) } else { Ok(named) }
    }

    /// The registries that were named.
    pub(crate) fn named_registries(&self) -> Result<Vec<Registry>, Error> {
        given(&self.registry_address).into_iter().map(Registry::new).collect()
    }
}

/// An empty variable in the environment names nothing.
fn given(urls: &[String]) -> Vec<&str> {
    urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty()).collect()
}
