//! Under which address others reach this node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use log::warn;

use super::Joining;
use crate::route;
use crate::startup::StartError;

/// How long a node that knows its cluster waits for a registry to tell it its address.
const REGISTRY: Duration = Duration::from_secs(2);
/// An address that no host has (RFC 5737), to learn which of ours the default route uses. Nothing is sent there.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

impl Joining {
    /// Under which address others reach this host.
    pub(super) async fn host(&self, bound: IpAddr) -> Result<IpAddr, StartError> {
        if let Some(advertised) = &self.flags.advertise {
            return resolve(advertised).await;
        }
        if !bound.is_unspecified() {
            return Ok(bound);
        }
        let remembered = self.identity().advertised().and_then(|host| host.parse::<IpAddr>().ok());
        if let Some(remembered) = remembered
            && route::is_own(remembered)
        {
            return Ok(remembered);
        }
        if let Some(discovery) = &self.discovery {
            let mut picture = discovery.picture();
            let answered = picture.wait_for(|picture| picture.answering > 0);
            let answered = async { answered.await.map(|picture| picture.observed) };
            // Whoever has peers to go to needs no registry, not even after its address has changed.
            let known = !self.identity().peers().is_empty() || self.replication.cluster_id().is_some();
            let patience = if known { REGISTRY } else { Duration::MAX };
            match tokio::time::timeout(patience, answered).await {
                Ok(Ok(Some(observed))) => return Ok(observed),
                Ok(_) => warn!(
                    "the address that the registry saw is none of this host's; choose one with --advertise if peers cannot reach it"
                ),
                Err(_) => {
                    warn!("no registry answers to tell this node its address; it takes the one that leads to its peers")
                }
            }
        }
        let remembered = self.identity().peers().first().and_then(|peer| peer.parse::<SocketAddr>().ok());
        if let Some(peer) = remembered {
            return Ok(outward(peer));
        }
        for join in &self.flags.join {
            if let Ok(mut found) = tokio::net::lookup_host(join).await
                && let Some(target) = found.next()
            {
                return Ok(outward(target));
            }
        }
        Ok(outward(ELSEWHERE))
    }
}

/// The address that this host would use towards `target`; loopback when it would use none.
fn outward(target: SocketAddr) -> IpAddr {
    route::towards(target).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

async fn resolve(host: &str) -> Result<IpAddr, StartError> {
    let mut found = tokio::net::lookup_host((host, 0)).await.map_err(|error| {
        StartError::Flag(format!("--advertise {host} has no address: {error}; name one that others can reach"))
    })?;
    let first = found.next().map(|address| address.ip());
    first.ok_or_else(|| StartError::Flag(format!("--advertise {host} has no address; name one that others can reach")))
}
