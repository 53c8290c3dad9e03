//! Finding nodes: through registries to begin with, through the nodes themselves from then on.
//!
//! A call waits for this only while no address is known at all. Otherwise it happens beside the calls, one search at a
//! time, and a search that fails changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::builder::endpoint;
use super::client::Client;
use super::error::{Error, Tried};
use super::registry::Registry;
use super::routes::Endpoint;
use super::transport::{Limits, Request};
use crate::api::Outcome;
use crate::api::cluster::{MemberState, Members};
use crate::api::registry::Node;

/// 30 s between looks at the members while all is well: new nodes are a convenience, not a need.
const REFRESH: Duration = Duration::from_secs(30);
/// 1 s between looks while the leader's address is missing or nobody answers.
const REFRESH_IN_NEED: Duration = Duration::from_secs(1);
/// 1 s for a node to list its members: it does so from memory.
const LOOK: Duration = Duration::from_secs(1);

/// When nodes were last looked for.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    busy: AtomicBool,
    last: Mutex<Option<Instant>>,
    /// Held by the one call that searches while no address is known.
    first: tokio::sync::Mutex<()>,
}

impl Discovery {
    /// Whether it is time, after `interval`; if so, the caller searches, nobody else does, and `done` ends it.
    fn begin(&self, interval: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_some_and(|last| now.duration_since(last) < interval) || self.busy.swap(true, Ordering::Acquire) {
            return false;
        }
        *last = Some(now);
        true
    }

    fn done(&self) {
        self.busy.store(false, Ordering::Release);
    }
}

impl Client {
    /// Asks the registries for nodes and waits for the answer.
    pub(super) async fn discover(&self, deadline: Instant) -> Result<(), Error> {
        // Waiting for another's search counts as well: that one may have more time than this call.
        let search = async {
            let _searching = self.shared.discovery.first.lock().await;
            if !self.routes().is_empty() {
                return Ok(());
            }
            self.ask_registries().await
        };
        match timeout_at(deadline, search).await {
            Ok(found) => found,
            Err(_) => Err(Error::NoAnswer { outcome: Outcome::NotApplied, tried: Vec::new() }),
        }
    }

    /// The first registry that knows nodes is believed.
    async fn ask_registries(&self) -> Result<(), Error> {
        let mut tried = Vec::new();
        for url in &self.shared.settings.registries {
            let registry = Registry::over(url.clone(), self.shared.transport.clone());
            let reason = match registry.nodes(&self.shared.settings.cluster).await {
                Ok(nodes) => {
                    let listed: Vec<_> = nodes.iter().filter_map(reachable).collect();
                    if !listed.is_empty() {
                        self.routes().replace(&listed, None);
                        return Ok(());
                    }
                    format!("the registry knows no node of the cluster `{}`", self.shared.settings.cluster)
                }
                Err(Error::NoAnswer { tried: mut reasons, .. }) => {
                    let reason = reasons.pop().map(|tried| tried.reason).unwrap_or_default();
                    format!("the registry cannot be reached: {reason}")
                }
                Err(error) => error.to_string(),
            };
            tried.push(Tried { endpoint: url.to_string(), reason });
        }
        Err(Error::NoAnswer { outcome: Outcome::NotApplied, tried })
    }

    /// Looks at the members, beside the calls, if it is time; `node` has just answered.
    pub(super) fn refresh_when_due(&self, node: &Endpoint) {
        if !self.shared.settings.discovery {
            return;
        }
        let interval = if self.routes().misses_leader() { REFRESH_IN_NEED } else { REFRESH };
        if self.shared.discovery.begin(interval) {
            let (client, node) = (self.clone(), node.clone());
            tokio::spawn(async move {
                client.look_at_members(&node).await;
                client.shared.discovery.done();
            });
        }
    }

    /// Asks the registries again, beside the calls: things are going badly.
    pub(super) fn rediscover_soon(&self) {
        if !self.shared.settings.registries.is_empty() && self.shared.discovery.begin(REFRESH_IN_NEED) {
            let client = self.clone();
            tokio::spawn(async move {
                if let Err(error) = client.ask_registries().await {
                    log::debug!("no nodes from the registries: {error}");
                }
                client.shared.discovery.done();
            });
        }
    }

    async fn look_at_members(&self, node: &Endpoint) {
        let request = Request::get("/cluster/members".to_owned());
        let answer = self.shared.transport.send(node, &request, Limits { begin: LOOK, end: LOOK }).await;
        // A server without a cluster has no members to tell, and that is no trouble.
        let Some(answer) = answer.ok().filter(|answer| answer.status.is_success()) else { return };
        let Ok(members) = answer.json::<Members>(false) else { return };
        let here = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
        let listed: Vec<(Uuid, Endpoint)> = members
            .members
            .iter()
            .filter(|member| here(member.state) && !unspecified(&member.http))
            .filter_map(|member| Some((member.id, endpoint(&member.http).ok()?)))
            .collect();
        self.routes().replace(&listed, members.leader);
    }
}

/// Where a registered node is reached: a host that stands for "any address" is where the registry saw it.
fn reachable(node: &Node) -> Option<(Uuid, Endpoint)> {
    let address = match node.http.rsplit_once(':') {
        Some((_, port)) if unspecified(&node.http) => {
            std::net::SocketAddr::new(node.observed_ip, port.parse().ok()?).to_string()
        }
        _ => node.http.clone(),
    };
    Some((node.id, endpoint(&address).ok()?))
}

fn unspecified(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_any_address_is_where_the_registry_saw_it() {
        let node = |http: &str| Node {
            id: Uuid::nil(),
            name: "n1".to_owned(),
            cluster: "muster".to_owned(),
            http: http.to_owned(),
            peer: String::new(),
            cluster_id: None,
            observed_ip: "10.0.0.7".parse().unwrap(),
            age_ms: 0,
        };
        let address = |http| reachable(&node(http)).map(|(_, endpoint)| endpoint.to_string());
        assert_eq!(address("0.0.0.0:8050").unwrap(), "http://10.0.0.7:8050");
        assert_eq!(address("[::]:8050").unwrap(), "http://10.0.0.7:8050");
        assert_eq!(address("db1:8050").unwrap(), "http://db1:8050");
        assert_eq!(address("no sense"), None);
    }

    #[tokio::test]
    async fn a_call_waits_for_the_search_of_another_no_longer_than_it_has() {
        let client = Client::builder().registry("127.0.0.1:1").build().unwrap();
        let _searching = client.shared.discovery.first.lock().await;
        let call = client.discover(Instant::now() + Duration::from_millis(20));
        let ended = tokio::time::timeout(Duration::from_secs(10), call).await;
        let nobody = Error::NoAnswer { outcome: Outcome::NotApplied, tried: Vec::new() };
        assert_eq!(ended.expect("its own deadline ends it"), Err(nobody));
    }

    #[test]
    fn one_search_at_a_time_and_not_too_often() {
        let discovery = Discovery::default();
        assert!(discovery.begin(REFRESH));
        assert!(!discovery.begin(Duration::ZERO), "one is under way");
        discovery.done();
        assert!(!discovery.begin(REFRESH), "too early");
        assert!(discovery.begin(Duration::ZERO));
    }
}
