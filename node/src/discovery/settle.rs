//! Settling which cluster this node belongs to: it founds one, or joins.
//!
//! A claim is on this node's own disk before any registry hears of it, and is used for nothing until a majority of the
//! registries named has confirmed it. A claim that loses is dropped from the disk first and then taken back from the
//! registries, so a crash between the two leaves a record that the next round takes back or that a majority outweighs.

use std::time::Duration;

use log::{info, warn};
use muster_client::Error;
use muster_client::api::Outcome;
use muster_client::api::registry::{Founding, Seed};
use muster_client::http::Recorded;
use uuid::Uuid;

use super::agent::{Discovery, Picture};
use super::round::{Claim, Next, Reply};
use super::standing::Standing;

/// 200 ms between rounds of one claim: a registry that came back is heard soon, and nobody is flooded.
const ROUND: Duration = Duration::from_millis(200);
/// 2 s for the picture to show what a registry already answered: a newcomer asks each several times in that time.
const CATCH_UP: Duration = Duration::from_secs(2);

/// The node's own disk, as far as founding needs it. Every change is synced before the future resolves.
pub trait Claims {
    /// What the disk fails with; ends [`Discovery::settle`].
    type Error: Send;

    /// The cluster id of a claim that was written and neither confirmed nor dropped, in this life or an earlier one.
    fn unconfirmed(&self) -> impl Future<Output = Option<Uuid>> + Send;

    /// Writes a fresh cluster id as an unconfirmed claim, and returns it.
    fn write(&self) -> impl Future<Output = Result<Uuid, Self::Error>> + Send;

    /// The claim is the cluster now: this node is its first member.
    fn confirm(&self, cluster_id: Uuid) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The claim is void. Its id must never be used again.
    fn drop_claim(&self, cluster_id: Uuid) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// This node has founded the cluster, and the claim is confirmed on its disk.
    Founder {
        /// The cluster.
        cluster_id: Uuid,
    },
    /// There is a cluster. Its members decide who is admitted: keep the id only once one of them has, and until then watch
    /// [`Discovery::picture`], whose seeds change and in which even the id may.
    Join {
        /// The cluster.
        cluster_id: Uuid,
        /// Nodes to start from; there may be none yet.
        seeds: Vec<Seed>,
    },
}

impl Discovery {
    /// Waits until it is settled whether this node founds or joins; for ever, if that is how long it takes. To be called by a
    /// node that is part of no confirmed cluster, once at a time. May be dropped and called again: a claim under way is on disk.
    ///
    /// Who is to join calls it again when that cluster is [gone](Discovery::gone) before it let this node in.
    ///
    /// Afterwards, once the node *is* a member, tell the registries with [`Discovery::update`].
    pub async fn settle<C: Claims>(&self, claims: &C) -> Result<Settled, C::Error> {
        let named = self.shared.registries.len();
        let mut pictures = self.picture();
        let mut claim = claims.unconfirmed().await.map(|id| Claim::remembered(self.founding(id), named));
        let mut told = None;
        loop {
            let picture = pictures.borrow_and_update().clone();
            match (picture.standing, claim.as_mut()) {
                (Standing::Cluster(id), Some(own)) if own.founding.cluster_id == id => {
                    return self.confirmed(claims, id).await;
                }
                (Standing::Cluster(id), own) => {
                    if let Some(own) = own {
                        self.give_up(claims, own.founding.cluster_id).await?;
                    }
                    return Ok(Settled::Join { cluster_id: id, seeds: picture.seeds });
                }
                (Standing::Offered, None) => {
                    let id = claims.write().await?;
                    info!("founding cluster {id}: asking {named} registries to record it");
                    claim = Some(Claim::fresh(self.founding(id), named));
                    continue;
                }
                (Standing::Offered | Standing::Waiting, Some(own)) => {
                    let replies = self.ask(&own.founding).await;
                    let next = own.hear(&replies);
                    let id = own.founding.cluster_id;
                    match next {
                        Next::Confirmed => return self.confirmed(claims, id).await,
                        Next::Join(other) => {
                            info!("cluster {other} was founded first; dropping the claim of {id} and joining");
                            self.give_up(claims, id).await?;
                            let seeds = self.picture().borrow().seeds.clone();
                            return Ok(Settled::Join { cluster_id: other, seeds });
                        }
                        Next::Yield(founder) => {
                            info!("node {founder} founds this cluster; dropping the claim of {id}");
                            self.give_up(claims, id).await?;
                            claim = None;
                        }
                        Next::Again => {
                            if told.as_ref() != Some(&replies) {
                                info!(
                                    "the founding of cluster {id} is not confirmed by a majority yet ({})",
                                    summary(&replies)
                                );
                                told = Some(replies);
                            }
                        }
                    }
                }
                (Standing::Waiting | Standing::Unheard | Standing::Silent | Standing::Conflict(_), _) => {}
            }
            // A claim goes on by itself; without one only news can change anything.
            if claim.is_some() {
                let _ = tokio::time::timeout(ROUND, pictures.changed()).await;
            } else if pictures.changed().await.is_err() {
                // The agent was stopped: nothing will ever be settled, and the caller is about to be dropped.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the registries speak of no such cluster any more: there is none yet, or another. Then [`Discovery::settle`] has to be called again. That
    /// they are silent, or know several, says nothing.
    pub async fn gone(&self, cluster_id: Uuid) {
        let gone = |picture: &Picture| match picture.standing {
            Standing::Waiting | Standing::Offered => true,
            Standing::Cluster(id) => id != cluster_id,
            Standing::Unheard | Standing::Silent | Standing::Conflict(_) => false,
        };
        let mut pictures = self.picture();
        // What a registry answered to a claim is newer than the picture, in which that cluster may be yet to come.
        let _ = tokio::time::timeout(CATCH_UP, pictures.wait_for(|picture| !gone(picture))).await;
        if pictures.wait_for(gone).await.is_err() {
            // The agent was stopped, as in `settle`.
            std::future::pending::<()>().await;
        }
    }

    fn founding(&self, cluster_id: Uuid) -> Founding {
        Founding { cluster_id, founder: self.shared.id }
    }

    async fn confirmed<C: Claims>(&self, claims: &C, cluster_id: Uuid) -> Result<Settled, C::Error> {
        claims.confirm(cluster_id).await?;
        info!("cluster {cluster_id} is founded, and this node is its first member");
        Ok(Settled::Founder { cluster_id })
    }

    async fn ask(&self, founding: &Founding) -> Vec<Reply> {
        let cluster = self.cluster();
        let asked = self.shared.registries.iter().map(|registry| async {
            match registry.record(&cluster, founding).await {
                Ok(Recorded::Yes) => Reply::Recorded,
                Ok(Recorded::No(standing)) => Reply::Refused(standing),
                Err(error) if error.outcome() == Outcome::Unknown => Reply::Lost,
                Err(_) => Reply::Not,
            }
        });
        futures_util::future::join_all(asked).await
    }

    async fn give_up<C: Claims>(&self, claims: &C, cluster_id: Uuid) -> Result<(), C::Error> {
        claims.drop_claim(cluster_id).await?;
        let cluster = self.cluster();
        let released = self.shared.registries.iter().map(|registry| async {
            let answer: Result<bool, Error> = registry.release(&cluster, cluster_id).await;
            if let Err(error) = answer {
                warn!(
                    "the dropped claim of cluster {cluster_id} could not be taken back from {}, which may still show it ({error})",
                    registry.endpoint()
                );
            }
        });
        futures_util::future::join_all(released).await;
        Ok(())
    }
}

fn summary(replies: &[Reply]) -> String {
    let count = |wanted: fn(&Reply) -> bool| replies.iter().filter(|reply| wanted(reply)).count();
    format!(
        "{} of {} recorded it, {} know another, {} did not answer",
        count(|reply| *reply == Reply::Recorded),
        replies.len(),
        count(|reply| matches!(reply, Reply::Refused(_))),
        count(|reply| matches!(reply, Reply::Not | Reply::Lost)),
    )
}
