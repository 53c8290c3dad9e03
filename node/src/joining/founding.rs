//! How the node comes to its cluster: it knows it, founds it, or is let into it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use muster_cluster::world;
use tokio::sync::watch;
use uuid::Uuid;

use super::Joining;
use crate::discovery::{Claims, Settled};
use crate::kv::{Operation, Write};
use crate::replication::settings;
use crate::roster::Roster;
use crate::startup::StartError;

/// How long one try to write the founder's flags into the new cluster may take.
const SEEDING: Duration = Duration::from_secs(5);
/// How often a disk without room is tried again: soon enough for a person who makes room.
const ROOM: Duration = Duration::from_millis(500);

impl Joining {
    /// Comes to a cluster, and goes on for ever.
    pub(super) async fn settle(&self, roster: watch::Receiver<Arc<Roster>>) -> Result<Infallible, StartError> {
        if let Some(id) = self.to_found(roster).await? {
            self.found(id).await?;
        }
        std::future::pending().await
    }

    /// The cluster that this node is to found, if it is. Returns as well when it was let into one.
    async fn to_found(&self, mut roster: watch::Receiver<Arc<Roster>>) -> Result<Option<Uuid>, StartError> {
        let claimed = self.unconfirmed().await;
        if let Some(id) = self.replication.cluster_id() {
            // A founder that stopped between its first step and its last takes the rest now.
            return Ok(claimed.filter(|claimed| *claimed == id));
        }
        let Some(discovery) = &self.discovery else {
            if !self.flags.join.is_empty() {
                info!("waiting for a peer of {} that has a cluster", self.flags.join.join(", "));
                return Ok(None);
            }
            let id = match claimed {
                Some(claimed) => claimed,
                None => self.write().await?,
            };
            info!("founding cluster {id}: neither a registry nor a peer was named");
            return Ok(Some(id));
        };
        // A leader may let this node in while the registries still think.
        let mut joined = self.replication.joined();
        let founder = async {
            loop {
                match discovery.settle(self).await? {
                    Settled::Founder { cluster_id } => return Ok(Some(cluster_id)),
                    Settled::Join { cluster_id, .. } => {
                        info!("waiting for cluster {cluster_id} to let this node in");
                        // Its founder's disk may be lost before anybody was let in, and its record be taken away by a person.
                        discovery.gone(cluster_id).await;
                        // It may as well be the registries that lost their memory, while its members cannot reach them.
                        deserted(&mut roster, cluster_id).await;
                        info!(
                            "the registries know cluster {cluster_id} no more; this node looks again for one to found or to join"
                        );
                    }
                }
            }
        };
        tokio::select! {
            _ = joined.wait_for(Option::is_some) => Ok(None),
            founder = founder => founder,
        }
    }

    /// Begins a cluster of this one node. Its id is on this disk, and with the registries if there are any.
    async fn found(&self, id: Uuid) -> Result<(), StartError> {
        self.admin.set_founding(true);
        self.replication.found(id).await?;
        self.seed_configuration().await;
        self.admin.set_founding(false);
        // Last: a crash before this repeats what is missing, and finds it done. The cluster is of use meanwhile.
        self.note(None).await
    }

    /// Writes the founder's flags into the new cluster.
    async fn seed_configuration(&self) {
        let values = [
            (settings::VOTERS, self.flags.voters.to_string()),
            (settings::REPLACE_AFTER, self.flags.replace_after.to_string()),
        ];
        for (name, value) in values {
            // Written before a crash, and perhaps changed since.
            if self.replication.is_configured(name) {
                continue;
            }
            let operation = Operation::Configure { name: name.to_owned(), value };
            let write = Write { operation, idempotency: None };
            while let Err(error) = self.keyspace.write(write.clone(), SEEDING).await {
                warn!("the new cluster's configuration is not written yet: {error}");
            }
        }
    }
}

/// Waits until gossip shows nobody alive who is part of this cluster.
async fn deserted(roster: &mut watch::Receiver<Arc<Roster>>, cluster: Uuid) {
    let lives = |roster: &Arc<Roster>| {
        let mut members = roster.members.values();
        members.any(|member| member.state.is_live() && member.card.cluster_id == Some(cluster))
    };
    // Gossip that has ended shows nobody.
    let _: Result<_, _> = roster.wait_for(|roster| !lives(roster)).await;
}

impl Claims for Joining {
    type Error = StartError;

    async fn unconfirmed(&self) -> Option<Uuid> {
        self.with_identity(|identity| identity.founding()).await
    }

    async fn write(&self) -> Result<Uuid, StartError> {
        let id = world::uuid();
        self.note(Some(id)).await?;
        Ok(id)
    }

    /// The claim stays noted until the cluster of one stands, so that a crash before that repeats what is missing.
    async fn confirm(&self, _cluster_id: Uuid) -> Result<(), StartError> {
        Ok(())
    }

    async fn drop_claim(&self, _cluster_id: Uuid) -> Result<(), StartError> {
        self.note(None).await
    }
}

impl Joining {
    /// On the disk when it returns. A full disk is waited for: a founder that gave up would only be started again to meet the same disk, and what was
    /// not noted was not done.
    async fn note(&self, founding: Option<Uuid>) -> Result<(), StartError> {
        let mut said = false;
        loop {
            match self.with_identity(move |identity| identity.set_founding(founding)).await {
                Err(error) if error.is_for_want_of_room() => {
                    if !said {
                        warn!("the founding cannot be noted yet, and waits: {error}");
                        said = true;
                    }
                    tokio::time::sleep(ROOM).await;
                }
                noted => return Ok(noted?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use muster_cluster::swim::MemberState;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::roster::{Card, Entry};

    fn roster(of: Uuid, state: MemberState) -> Arc<Roster> {
        let entry = Entry {
            card: Card { cluster_id: Some(of), ..Card::default() },
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            state,
            incarnation: 1,
            last_heard: None,
            round_trip: None,
            suspected_by: Vec::new(),
            duplicate: false,
        };
        Arc::new(Roster { members: BTreeMap::from([(Uuid::from_u128(1), entry)]) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_deserted_when_nobody_of_it_lives() {
        let (one, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let (says, mut seen) = watch::channel(roster(one, MemberState::Alive));
        let waited = timeout(Duration::from_secs(60), deserted(&mut seen, one)).await;
        assert!(waited.is_err(), "somebody of it lives");
        let changes = async {
            sleep(Duration::from_secs(60)).await;
            says.send_replace(roster(one, MemberState::Failed));
        };
        let since = tokio::time::Instant::now();
        tokio::join!(deserted(&mut seen, one), changes);
        assert_eq!(since.elapsed().as_secs(), 60);
        says.send_replace(roster(other, MemberState::Alive));
        deserted(&mut seen, one).await;
    }
}
