//! Where the nodes are: the flags that every command takes.

use clap::Args;
use muster_client::api::quantity::Span;
use muster_client::{Client, Error};

/// The client port of a node that runs with its defaults on this machine.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8050";

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// A node's client port; repeatable, any node will do [default: http://127.0.0.1:8050]
    #[arg(long, short, global = true, value_name = "URL", env = "MUSTER_ENDPOINT", value_delimiter = ',')]
    endpoint: Vec<String>,

    /// How long the command may try, such as 500ms or 1m [default: 10s, twice what a node waits for a leader]
    #[arg(long, global = true, value_name = "DURATION", env = "MUSTER_TIMEOUT")]
    timeout: Option<Span>,
}

impl Connect {
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let mut builder = Client::builder();
        if let Some(Span(timeout)) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if self.endpoint.is_empty() {
            return builder.endpoint(DEFAULT_ENDPOINT).build();
        }
        builder.endpoints(&self.endpoint).build()
    }
}
