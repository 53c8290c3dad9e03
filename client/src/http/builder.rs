//! How a [`Client`] is made.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Client, Settings};
use super::error::Error;
use super::hedge::HEDGE_AFTER;
use super::routes::Endpoint;

/// 10 s for a call with all its attempts: an election takes half a second, two of them in a row and a slow disk still fit.
const TIMEOUT: Duration = Duration::from_secs(10);
/// 2 s for one attempt: six times the default election time-out. Who has not answered by then is stopped or cut off, and
/// another node may answer; a node that works and waits for a leader is told to say so before.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// 1 s to connect: three times a round trip around the world. A host that is down is left for another after that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The cluster's name when none is given, here as in the servers.
const CLUSTER: &str = "muster";

/// Collects what a [`Client`] needs to know: at least one endpoint or one registry.
#[derive(Debug, Clone)]
#[must_use = "it does nothing until `build`"]
pub struct Builder {
    endpoints: Vec<String>,
    registries: Vec<String>,
    cluster: String,
    timeout: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    hedge_after: Duration,
    discovery: bool,
    read_your_writes: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            registries: Vec::new(),
            cluster: CLUSTER.to_owned(),
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            hedge_after: HEDGE_AFTER,
            discovery: true,
            read_your_writes: true,
        }
    }
}

impl Builder {
    /// Adds a node's client port, `http://host:port` (`host:port` will do). Any node will do: it names the others.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(url.into());
        self
    }

    /// Adds several nodes at once.
    pub fn endpoints<T: Into<String>>(mut self, urls: impl IntoIterator<Item = T>) -> Self {
        self.endpoints.extend(urls.into_iter().map(Into::into));
        self
    }

    /// Adds a registry, `http://host:port`, that is asked for nodes. It is needed to start, not to go on.
    pub fn registry(mut self, url: impl Into<String>) -> Self {
        self.registries.push(url.into());
        self
    }

    /// Adds several registries at once. The first that knows a node is believed.
    pub fn registries<T: Into<String>>(mut self, urls: impl IntoIterator<Item = T>) -> Self {
        self.registries.extend(urls.into_iter().map(Into::into));
        self
    }

    /// The name of the cluster to ask registries for; `muster` when not given.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// How long a call may take with all its attempts; 10 s when not given: an election takes half a second, two of them in
    /// a row and a slow disk still fit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a node may take to begin an answer before another is asked; 2 s when not given, and a second more for every
    /// MiB that is sent. Six times the default election time-out: who has not answered by then is stopped or cut off.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How long a connection may take to come about; 1 s when not given.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a node may be silent before another is asked *beside* it; 300 ms when not given, the default election time-out, and a second
    /// more for every MiB that is sent. The first answer is taken. Only what may be repeated is asked twice: reads, and writes, which
    /// the cluster applies once under their idempotency key. Three nodes are asked at once at most, and in the long run one request in
    /// ten. [`Duration::MAX`] switches it off.
    pub fn hedge_after(mut self, silence: Duration) -> Self {
        self.hedge_after = silence;
        self
    }

    /// Whether to learn of further nodes from those that are given (yes, when not given). Switch it off where the addresses
    /// that nodes know of each other do not lead anywhere from here: behind port mappings, for example.
    pub fn discovery(mut self, on: bool) -> Self {
        self.discovery = on;
        self
    }

    /// Whether local reads wait until the node has applied whatever this client and its clones have seen before (yes, when
    /// not given). Without it, a read from another node may miss one's own last write.
    pub fn read_your_writes(mut self, on: bool) -> Self {
        self.read_your_writes = on;
        self
    }

    /// Checks the addresses. Nothing is sent yet.
    pub fn build(self) -> Result<Client, Error> {
        let checked = |urls: &[String]| urls.iter().map(|url| endpoint(url)).collect::<Result<Vec<_>, _>>();
        let (endpoints, registries) = (checked(&self.endpoints)?, checked(&self.registries)?);
        if endpoints.is_empty() && registries.is_empty() {
            let nothing = "no endpoint and no registry is given; name a node's client port or a registry";
            return Err(Error::Invalid(nothing.to_owned()));
        }
        crate::api::registry::check_name(&self.cluster)
            .map_err(|error| Error::Invalid(format!("`{}` is no cluster's name: {error}", self.cluster)))?;
        let settings = Settings {
            registries,
            cluster: self.cluster,
            timeout: self.timeout,
            attempt_timeout: self.attempt_timeout,
            connect_timeout: self.connect_timeout,
            hedge_after: self.hedge_after,
            discovery: self.discovery,
            read_your_writes: self.read_your_writes,
        };
        Client::new(settings, endpoints)
    }
}

/// `http://host:port` without anything behind it.
pub(super) fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let refuse = |why: &str| Error::Invalid(format!("`{url}` is not an address: {why}; write http://HOST:PORT"));
    let parsed = reqwest::Url::parse(&whole).map_err(|error| refuse(&error.to_string()))?;
    if parsed.scheme() != "http" {
        return Err(refuse("only http is spoken"));
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || !parsed.username().is_empty() {
        return Err(refuse("it must be a host and a port"));
    }
    match (parsed.host_str(), parsed.port_or_known_default()) {
        (Some(host), Some(port)) if !host.is_empty() && port != 0 => Ok(Arc::from(format!("http://{host}:{port}"))),
        _ => Err(refuse("it must be a host and a port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        assert_eq!(&*endpoint("127.0.0.1:8050").unwrap(), "http://127.0.0.1:8050");
        assert_eq!(&*endpoint("http://[::1]:8050/").unwrap(), "http://[::1]:8050");
        assert_eq!(&*endpoint("http://node").unwrap(), "http://node:80");
        let wrong =
            ["", "http://", "https://a:1", "http://a:1/kv", "http://a:1?x", "a b", "http://a:99999", "u@a:1", "a:0"];
        for wrong in wrong {
            assert!(matches!(endpoint(wrong), Err(Error::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn a_client_needs_somebody_to_ask_and_a_sound_cluster_name() {
        assert!(matches!(Builder::default().build(), Err(Error::Invalid(_))));
        assert!(Builder::default().registry("127.0.0.1:8080").build().is_ok());
        assert!(Builder::default().registry("127.0.0.1:8080").cluster("a/b").build().is_err());
    }
}
