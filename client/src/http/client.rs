//! The [`Client`] and how it is built.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Error, Tried};
use super::transport::{Answer, Request, Transport};
use crate::api::Outcome;

/// 10 s for a call with all its attempts: twice the time that a node waits for a leader.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one Muster cluster. Cloning is cheap, and clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    endpoints: Vec<String>,
    /// The endpoint that answered last: asked first.
    current: AtomicUsize,
    timeout: Duration,
}

/// Collects what a [`Client`] needs to know.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    endpoints: Vec<String>,
    timeout: Option<Duration>,
}

impl Builder {
    /// Adds a node's client port, `http://host:port` (`host:port` will do).
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(url.into());
        self
    }

    /// Adds several at once.
    pub fn endpoints<T: Into<String>>(mut self, urls: impl IntoIterator<Item = T>) -> Self {
        self.endpoints.extend(urls.into_iter().map(Into::into));
        self
    }

    /// How long a call may take with all its attempts; 10 s when not given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Checks the addresses. Nothing is sent yet.
    pub fn build(self) -> Result<Client, Error> {
        let endpoints = self.endpoints.iter().map(|url| endpoint(url)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::Invalid("no endpoint is given; name a node's client port".to_owned()));
        }
        let shared = Shared {
            transport: Transport::new()?,
            endpoints,
            current: AtomicUsize::new(0),
            timeout: self.timeout.unwrap_or(TIMEOUT),
        };
        Ok(Client { shared: Arc::new(shared) })
    }
}

/// `http://host:port` without anything behind it.
fn endpoint(url: &str) -> Result<String, Error> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let refuse = |why: &str| Error::Invalid(format!("`{url}` is not an endpoint: {why}; write http://HOST:PORT"));
    let parsed = reqwest::Url::parse(&whole).map_err(|error| refuse(&error.to_string()))?;
    if parsed.scheme() != "http" {
        return Err(refuse("only http is spoken"));
    }
    if parsed.host_str().is_none_or(str::is_empty) || !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        return Err(refuse("it must be a host and a port"));
    }
    Ok(whole.trim_end_matches('/').to_owned())
}

impl Client {
    /// Starts to build a client.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Sends to the endpoint that answered last, and to the others when it cannot be reached. A write moves on only
    /// while it is certain that no node got it.
    pub(super) async fn call(&self, request: &Request, timeout: Option<Duration>) -> Result<Answer, Error> {
        let shared = &self.shared;
        let deadline = Instant::now() + timeout.unwrap_or(shared.timeout);
        let first = shared.current.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        for step in 0..shared.endpoints.len() {
            let index = (first + step) % shared.endpoints.len();
            let endpoint = &shared.endpoints[index];
            match shared.transport.send(endpoint, request, deadline.saturating_duration_since(Instant::now())).await {
                Ok(answer) => {
                    shared.current.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(lost) => {
                    tried.push(Tried { endpoint: endpoint.clone(), reason: lost.reason });
                    if request.writes && !lost.unsent {
                        return Err(Error::NoAnswer { outcome: Outcome::Unknown, tried });
                    }
                }
            }
        }
        Err(Error::NoAnswer { outcome: Outcome::NotApplied, tried })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        assert_eq!(endpoint("127.0.0.1:8050").unwrap(), "http://127.0.0.1:8050");
        assert_eq!(endpoint("http://[::1]:8050/").unwrap(), "http://[::1]:8050");
        for wrong in ["", "http://", "https://a:1", "http://a:1/kv", "http://a:1?x", "a b", "http://a:99999"] {
            assert!(matches!(endpoint(wrong), Err(Error::Invalid(_))), "{wrong}");
        }
        assert!(Client::builder().build().is_err());
    }
}
