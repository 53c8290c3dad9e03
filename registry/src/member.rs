//! A registered node, checked once at the edge; nothing behind it checks again.

use std::net::{IpAddr, SocketAddr};

use muster_client::api::registry::{NameError, Registration, Seed, check_name};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::address::{Address, AddressError, Host};

/// A registered node as the roll and the store keep it: names fit, addresses are complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Its client port as offered to others.
    pub http: Address,
    /// Its peer port as offered to others.
    pub peer: Address,
    /// The cluster that it is part of.
    pub cluster_id: Option<Uuid>,
    /// How many nodes without a cluster a founding waits for, as this node was told; at least 1.
    pub expect: u32,
    /// Clusters whose place its own took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Uuid>,
    /// Where its last request came from.
    pub observed_ip: IpAddr,
}

/// More recoveries than one cluster goes through; what a member takes in memory is bounded.
const MOST_REPLACED: usize = 16;

/// Why a registration is refused. State unchanged; the same request will be refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The node's or the cluster's name.
    #[error("`{field}`: {source}")]
    Name {
        /// Which one.
        field: &'static str,
        /// What names are.
        source: NameError,
    },
    /// One of the addresses.
    #[error("`{field}`: {source}")]
    Address {
        /// Which one.
        field: &'static str,
        /// What addresses are.
        source: AddressError,
    },
    /// `advertise` is `0.0.0.0` or `::`, which nobody can connect to.
    #[error("`advertise`: an unspecified address reaches nobody; leave it out to be offered as observed")]
    Advertise,
    /// `bootstrap_expect` is 0.
    #[error("`bootstrap_expect` is at least 1")]
    Expect,
    /// The nil id, which every careless program has.
    #[error("the nil UUID is nobody's id")]
    Nil,
}

impl Member {
    /// Checks what node `id` said from `observed_ip`, and completes its addresses.
    pub fn new(id: Uuid, said: Registration, observed_ip: IpAddr) -> Result<Self, Malformed> {
        let observed_ip = observed_ip.to_canonical();
        if id.is_nil() || said.cluster_id.is_some_and(|id| id.is_nil()) {
            return Err(Malformed::Nil);
        }
        if said.bootstrap_expect == 0 {
            return Err(Malformed::Expect);
        }
        check_name(&said.name).map_err(|source| Malformed::Name { field: "name", source })?;
        check_name(&said.cluster).map_err(|source| Malformed::Name { field: "cluster", source })?;
        let host = match &said.advertise {
            None => Host::Ip(observed_ip),
            Some(text) => text.parse().map_err(|source| Malformed::Address { field: "advertise", source })?,
        };
        if host.is_unspecified() {
            return Err(Malformed::Advertise);
        }
        let complete = |field, text: &str| match text.parse::<Address>() {
            Ok(address) => Ok(address.completed(&host)),
            Err(source) => Err(Malformed::Address { field, source }),
        };
        Ok(Self {
            http: complete("http", &said.http)?,
            peer: complete("peer", &said.peer)?,
            id,
            name: said.name,
            cluster: said.cluster,
            cluster_id: said.cluster_id,
            expect: said.bootstrap_expect,
            replaces: said.replaces.into_iter().take(MOST_REPLACED).collect(),
            observed_ip,
        })
    }

    /// Where it was seen: the observed address with the client port, for people who read the log.
    pub fn seen_at(&self) -> SocketAddr {
        SocketAddr::new(self.observed_ip, self.http.port)
    }
}

impl From<&Member> for Seed {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id,
            http: member.http.to_string(),
            peer: member.peer.to_string(),
            cluster_id: member.cluster_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Registration {
        Registration {
            name: "n1".to_owned(),
            cluster: "muster".to_owned(),
            http: "0.0.0.0:8050".to_owned(),
            peer: "[::]:8051".to_owned(),
            cluster_id: None,
            advertise: None,
            bootstrap_expect: 1,
            replaces: Vec::new(),
        }
    }

    fn admit(said: Registration) -> Result<Member, Malformed> {
        Member::new(Uuid::from_u128(1), said, "::ffff:172.17.0.3".parse().unwrap())
    }

    #[test]
    fn the_observed_address_is_unmapped_and_completes_what_was_left_open() {
        let member = admit(said()).unwrap();
        assert_eq!(member.observed_ip, "172.17.0.3".parse::<IpAddr>().unwrap());
        assert_eq!(
            (member.http.to_string(), member.peer.to_string()),
            ("172.17.0.3:8050".into(), "172.17.0.3:8051".into())
        );
    }

    #[test]
    fn advertise_goes_before_the_observed_address_and_after_a_stated_one() {
        let member =
            admit(Registration { advertise: Some("n1.lan".into()), peer: "10.1.1.1:9".into(), ..said() }).unwrap();
        assert_eq!((member.http.to_string(), member.peer.to_string()), ("n1.lan:8050".into(), "10.1.1.1:9".into()));
        assert_eq!(member.seen_at().to_string(), "172.17.0.3:8050");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |said| admit(said).unwrap_err().to_string();
        assert!(refused(Registration { name: String::new(), ..said() }).contains("`name`"));
        assert!(refused(Registration { cluster: "a/b".into(), ..said() }).contains("`cluster`"));
        assert!(refused(Registration { http: "8050".into(), ..said() }).contains("`http`"));
        assert!(refused(Registration { peer: "0.0.0.0:0".into(), ..said() }).contains("`peer`"));
        assert!(refused(Registration { advertise: Some("h:1".into()), ..said() }).contains("`advertise`"));
        assert!(refused(Registration { advertise: Some("::".into()), ..said() }).contains("`advertise`"));
        assert!(refused(Registration { bootstrap_expect: 0, ..said() }).contains("`bootstrap_expect`"));
        assert!(refused(Registration { cluster_id: Some(Uuid::nil()), ..said() }).contains("nil"));
    }
}
