//! How a started node comes to its address, its members and its cluster.
//!
//! 1. *Address*: `--advertise`, or what it is bound to, or where it was last, or what a registry saw if that is an address of this
//!    host. Without any of these it waits for a registry; not for long if it has been part of a cluster.
//! 2. *Members*: gossip starts with the seeds at hand (`--join`, members of the last life, what registries say) and hears of more.
//! 3. *Cluster*: known from the disk; or founded, when the registries settle that or nobody else was named; or joined, when a leader
//!    lets this node in.
//!
//! What it was told of other members on the way goes to the [replication](crate::replication), which decides when it may vote: before it has heard
//! from others it cannot know whether its disk is an old copy.

mod address;
mod events;
mod founding;
mod guests;
mod others;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use log::warn;
use muster_cluster::runtime::{Cluster, IncomingStream, KeyFile, Options, StampFile};
use muster_cluster::swim;
use muster_cluster::world::net::{TcpListener, UdpSocket};
use muster_cluster::world::spawn_blocking;
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::discovery::Discovery;
use crate::flags::Flags;
use crate::gossip;
use crate::identity::Identity;
use crate::keyspace::Keyspace;
use crate::replication::{Dialer, Replication};
use crate::roster::{Card, Roster};
use crate::startup::StartError;
use guests::Guests;

/// The last member is in the file of the stamp beside the identity.
pub(crate) const STAMP_FILE: &str = "stamp";

/// A node on its way into a cluster.
#[derive(Debug)]
pub struct Joining {
    flags: Flags,
    identity: Arc<Mutex<Identity>>,
    replication: Arc<Replication>,
    keyspace: Arc<Keyspace>,
    admin: Arc<Admin>,
    discovery: Option<Discovery>,
    cluster: OnceLock<Cluster>,
}

impl Joining {
    /// Of a node whose engine runs and that has no members yet.
    pub fn new(
        flags: Flags,
        identity: Arc<Mutex<Identity>>,
        replication: Arc<Replication>,
        keyspace: Arc<Keyspace>,
        admin: Arc<Admin>,
        discovery: Option<Discovery>,
    ) -> Self {
        if let Some(discovery) = &discovery {
            admin.set_registries(discovery.picture());
        }
        Self { flags, identity, replication, keyspace, admin, discovery, cluster: OnceLock::new() }
    }

    /// The membership, once it runs.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get()
    }

    /// Joins, and goes on for ever; returns only with what makes that impossible.
    pub async fn run(
        &self,
        udp: UdpSocket,
        tcp: TcpListener,
        http_at: SocketAddr,
        dialer: &Dialer,
        roster: watch::Sender<Arc<Roster>>,
    ) -> StartError {
        match self.join(udp, tcp, http_at, dialer, roster).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn join(
        &self,
        udp: UdpSocket,
        tcp: TcpListener,
        http_at: SocketAddr,
        dialer: &Dialer,
        roster: watch::Sender<Arc<Roster>>,
    ) -> Result<Infallible, StartError> {
        let peer_at = tcp.local_addr()?;
        let host = self.host(peer_at.ip()).await?;
        match self.with_identity(move |identity| identity.keep_advertised(host.to_string())).await {
            // Only of use to a later start that finds no registry.
            Err(error) if error.is_for_want_of_room() => {
                warn!("this node's address is not kept for its next start: {error}")
            }
            kept => kept?,
        }
        let http_host = if http_at.ip().is_unspecified() { host } else { http_at.ip() };
        let http_name = match (&self.flags.advertise, http_at.ip().is_unspecified()) {
            (Some(advertised), true) if advertised.parse::<IpAddr>().is_err() => {
                format!("{advertised}:{}", http_at.port())
            }
            _ => SocketAddr::new(http_host, http_at.port()).to_string(),
        };
        let mut card = Card {
            name: self.flags.name.clone(),
            http: http_name,
            cluster_id: self.replication.cluster_id(),
            priority: self.flags.priority,
            remembers: true,
        };
        let own_stamps = StampFile::new(self.flags.data_dir.join(STAMP_FILE));
        let config = swim::Config::lan(&self.flags.cluster);
        let mut options =
            Options::new(config, self.replication.me(), SocketAddr::new(host, peer_at.port()), own_stamps);
        options.metadata = card.encode();
        options.seeds = self.first_seeds();
        if let Some(path) = &self.flags.keys_file {
            let file = KeyFile::new(path);
            options.keys = file.read()?;
            options.key_store = Some(Box::new(file));
        }
        let (cluster, incoming) = Cluster::start(options, udp, tcp).await?;
        let _: Result<_, _> = self.cluster.set(cluster.clone());
        dialer.set(cluster.clone());
        self.admin.set_gossip(cluster.clone());
        let seen = roster.subscribe();
        gossip::follow(&cluster, roster);
        tokio::spawn(serve_streams(self.replication.clone(), incoming));

        let mut joined = self.replication.joined();
        let watching = async {
            tokio::join!(
                self.hear_events(cluster.events()),
                self.follow_seeds(&cluster),
                self.remember_peers(&cluster),
                self.tell_others(),
                self.tell_whose_place_was_taken(),
                async {
                    while let Ok(now) = joined.wait_for(|now| *now != card.cluster_id).await.map(|now| *now) {
                        card.cluster_id = now;
                        let _: Result<_, _> = cluster.set_metadata(card.encode()).await;
                        if let Some(discovery) = &self.discovery {
                            discovery.update(|registration| registration.cluster_id = now);
                        }
                    }
                },
            )
        };
        tokio::select! {
            never = self.settle(seen) => never,
            _ = watching => std::future::pending().await,
        }
    }

    /// To read before anything is written: a write holds it for as long as the disk takes.
    fn identity(&self) -> MutexGuard<'_, Identity> {
        locked(&self.identity)
    }

    /// Reads or changes the identity, see [`aside`].
    async fn with_identity<T: Send + 'static>(&self, run: impl FnOnce(&mut Identity) -> T + Send + 'static) -> T {
        aside(&self.identity, run).await
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A change either happened on the disk and in memory, or in neither.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On a thread that may block. A change syncs twice, and a small machine has one thread for all tasks: with a disk that hangs, gossip and reads would
/// hang too. Once begun it is done to the end, even if nobody waits for it any more.
async fn aside<T, R>(shared: &Arc<Mutex<T>>, run: impl FnOnce(&mut T) -> R + Send + 'static) -> R
where
    T: Send + 'static,
    R: Send + 'static,
{
    let shared = shared.clone();
    match spawn_blocking(move || run(&mut locked(&shared))).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it whoever asked.
            Err(_) => std::future::pending().await,
        },
    }
}

async fn serve_streams(replication: Arc<Replication>, mut incoming: mpsc::Receiver<IncomingStream>) {
    let mut guests = Guests::default();
    while let Some(IncomingStream { kind, from, stream, .. }) = incoming.recv().await {
        let address = stream.address().ip();
        let serving = tokio::spawn(replication.clone().serve(from, kind, stream));
        guests.came(from, kind, address, serving.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn while_a_write_hangs_the_only_worker_goes_on() {
        let disk = Arc::new(Mutex::new(0));
        let (mend, mended) = std::sync::mpsc::channel();
        let write = aside(&disk, move |written| {
            mended.recv().unwrap();
            *written = 1;
        });
        // Reached by the thread that would hang.
        let other = async { mend.send(()).unwrap() };
        tokio::join!(write, other);
        assert_eq!(*locked(&disk), 1);
    }
}
