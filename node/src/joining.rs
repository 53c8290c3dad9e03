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

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use log::{error, info, warn};
use muster_client::api::registry::Seed;
use muster_cluster::runtime::{Cluster, IncomingStream, KeyFile, Options, StampFile};
use muster_cluster::swim::{self, Event, MemberState};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{broadcast, mpsc, watch};
use uuid::Uuid;

use crate::admin::Admin;
use crate::discovery::{Claims, Discovery, Picture, Settled};
use crate::flags::Flags;
use crate::gossip;
use crate::identity::{Identity, IdentityError};
use crate::keyspace::Keyspace;
use crate::kv::{Operation, Write};
use crate::replication::{Dialer, Others, Registries, Replication, settings};
use crate::roster::{Card, Roster};
use crate::startup::StartError;

/// How long one try to write the founder's flags into the new cluster may take.
const SEEDING: Duration = Duration::from_secs(5);
/// How long a node that knows its cluster waits for a registry to tell it its address.
const REGISTRY: Duration = Duration::from_secs(2);
/// The last member is in the file of the stamp beside the identity.
pub(crate) const STAMP_FILE: &str = "stamp";
/// Members that are remembered for a start without a registry: enough that one of them is alive.
const REMEMBERED: usize = 32;
/// An address that no host has (RFC 5737), to learn which of ours the default route uses. Nothing is sent there.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9);

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
        self.identity().keep_advertised(host.to_string())?;
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
        gossip::follow(&cluster, roster);
        tokio::spawn(serve_streams(self.replication.clone(), incoming));

        let mut joined = self.replication.joined();
        let watching = async {
            tokio::join!(
                self.hear_events(cluster.events()),
                self.follow_seeds(&cluster),
                self.remember_peers(&cluster),
                self.tell_others(),
                self.say_set_back(),
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
            never = self.settle() => never,
            _ = watching => std::future::pending().await,
        }
    }

    fn identity(&self) -> MutexGuard<'_, Identity> {
        // A change either happened on the disk and in memory, or in neither.
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under which address others reach this host.
    async fn host(&self, bound: IpAddr) -> Result<IpAddr, StartError> {
        if let Some(advertised) = &self.flags.advertise {
            return resolve(advertised).await;
        }
        if !bound.is_unspecified() {
            return Ok(bound);
        }
        let remembered = self.identity().advertised().and_then(|host| host.parse::<IpAddr>().ok());
        if let Some(remembered) = remembered
            && gossip::is_own(remembered).await
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
            return Ok(gossip::outward(peer).await);
        }
        for join in &self.flags.join {
            if let Ok(mut found) = tokio::net::lookup_host(join).await
                && let Some(target) = found.next()
            {
                return Ok(gossip::outward(target).await);
            }
        }
        Ok(gossip::outward(ELSEWHERE).await)
    }

    fn first_seeds(&self) -> Vec<String> {
        let mut seeds: BTreeSet<String> = self.flags.join.iter().cloned().collect();
        seeds.extend(self.identity().peers().iter().cloned());
        if let Some(discovery) = &self.discovery {
            seeds.extend(discovery.picture().borrow().seeds.iter().map(|seed| seed.peer.clone()));
        }
        seeds.into_iter().collect()
    }

    async fn follow_seeds(&self, cluster: &Cluster) {
        let Some(discovery) = &self.discovery else { return };
        let mut picture = discovery.picture();
        loop {
            let seeds: Vec<String> = picture.borrow_and_update().seeds.iter().map(|seed| seed.peer.clone()).collect();
            if let Err(error) = cluster.add_seeds(seeds) {
                warn!("a registry offers a seed that is none: {error}");
            }
            if picture.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps where live members are, for a start when every registry is gone.
    async fn remember_peers(&self, cluster: &Cluster) {
        let mut members = cluster.members();
        let mut remembered = self.identity().peers().to_vec();
        while members.changed().await.is_ok() {
            let view = members.borrow_and_update().clone();
            let others = view.members.iter().filter(|member| member.id != view.local);
            let live = others.filter(|member| member.state == MemberState::Alive);
            let peers: Vec<String> = live.map(|member| member.address.to_string()).take(REMEMBERED).collect();
            // Who lost sight of everybody keeps the last that were seen.
            if peers.is_empty() || peers == remembered {
                continue;
            }
            if let Err(error) = self.identity().keep_peers(peers.clone()) {
                warn!("the members are not remembered for the next start: {error}");
            }
            remembered = peers;
        }
    }

    /// Tells the replication whom else there may be, by what is remembered and what registries say.
    async fn tell_others(&self) {
        let mut remembered = self.identity().peers().to_vec();
        remembered.extend(self.flags.join.iter().cloned());
        let tell = |registries| self.replication.tell_others(Others { remembered: remembered.clone(), registries });
        let Some(discovery) = &self.discovery else { return tell(Registries::Unnamed) };
        let mut picture = discovery.picture();
        loop {
            tell(listed(&picture.borrow_and_update(), self.replication.cluster_id()));
            if picture.changed().await.is_err() {
                return;
            }
        }
    }

    async fn say_set_back(&self) {
        let mut set_back = self.replication.set_back();
        if let Ok(why) = set_back.wait_for(Option::is_some).await {
            let why = why.clone().unwrap_or_default();
            self.admin.set_trouble(Some(format!(
                "the data dir is an old copy ({why}); this node waits for another one to lead, and comes back as a new one then"
            )));
        }
    }

    async fn hear_events(&self, mut events: broadcast::Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => self.hear(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => warn!("{missed} events of gossip were missed"),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn hear(&self, event: Event) {
        let me = self.replication.me();
        match event {
            Event::Synced { .. } => {
                let roster = self.cluster.get().map(|cluster| cluster.members().borrow().clone());
                let own = roster.as_ref().and_then(|view| view.member(me));
                if own.is_some_and(|own| !own.duplicate) {
                    self.replication.resume_voting();
                }
            }
            Event::SetBack { heard, held } => {
                self.replication.note_set_back(&format!(
                    "the cluster has seen a later life of this node ({}) than its disk knows ({})",
                    heard.to_bits(),
                    held.to_bits()
                ));
            }
            Event::Duplicate { id, boots } if id == me => {
                let trouble = format!(
                    "two nodes run under this node's identity (boot numbers {} and {}): stop the one whose data dir is a copy",
                    boots[0], boots[1]
                );
                error!("{trouble}; neither votes");
                self.replication.note_double();
                self.admin.set_trouble(Some(trouble));
            }
            Event::Duplicate { id, .. } => warn!("two nodes run under the identity {id}; neither is believed"),
            Event::Joined(member) => info!("{} is there, at {}", name(&member), member.address),
            Event::Suspected(member) => info!("{} does not answer gossip", name(&member)),
            Event::Refuted(member) => info!("{} answers gossip again", name(&member)),
            Event::Failed(member) => warn!("{} is given up by gossip", name(&member)),
            Event::Left(member) => info!("{} has stopped in good order", name(&member)),
            Event::Updated(_)
            | Event::Forgotten { .. }
            | Event::Broadcast { .. }
            | Event::Message { .. }
            | Event::LeaveDone { .. } => {}
        }
    }

    /// Comes to a cluster, and goes on for ever.
    async fn settle(&self) -> Result<Infallible, StartError> {
        if let Some(id) = self.to_found().await? {
            self.found(id).await?;
        }
        std::future::pending().await
    }

    /// The cluster that this node is to found, if it is. Returns as well when it was let into one.
    async fn to_found(&self) -> Result<Option<Uuid>, StartError> {
        let claimed = self.identity().founding();
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
        tokio::select! {
            _ = joined.wait_for(Option::is_some) => Ok(None),
            settled = discovery.settle(self) => match settled? {
                Settled::Founder { cluster_id } => Ok(Some(cluster_id)),
                Settled::Join { cluster_id, .. } => {
                    info!("waiting for cluster {cluster_id} to let this node in");
                    Ok(None)
                }
            },
        }
    }

    /// Begins a cluster of this one node. Its id is on this disk, and with the registries if there are any.
    async fn found(&self, id: Uuid) -> Result<(), StartError> {
        self.admin.set_trouble(Some("the cluster is being founded".to_owned()));
        self.replication.found(id).await?;
        self.seed_configuration().await;
        // Last: a crash before this repeats what is missing.
        self.identity().set_founding(None)?;
        self.admin.set_trouble(None);
        Ok(())
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

/// What the registries' picture says of other members of this cluster. What is kept of a registry that fell silent is no word of it.
fn listed(picture: &Picture, own: Option<Uuid>) -> Registries {
    let ours = |seed: &Seed| seed.cluster_id.is_some() && seed.cluster_id == own;
    match picture.answering {
        0 => Registries::Silent,
        _ if picture.seeds.iter().any(ours) => Registries::Listed,
        _ => Registries::Nobody,
    }
}

fn name(member: &swim::Member) -> String {
    match Card::decode(&member.metadata) {
        Some(card) if !card.name.is_empty() => format!("{} ({})", card.name, member.id),
        _ => member.id.to_string(),
    }
}

async fn resolve(host: &str) -> Result<IpAddr, StartError> {
    let mut found = tokio::net::lookup_host((host, 0)).await.map_err(|error| {
        StartError::Flag(format!("--advertise {host} has no address: {error}; name one that others can reach"))
    })?;
    let first = found.next().map(|address| address.ip());
    first.ok_or_else(|| StartError::Flag(format!("--advertise {host} has no address; name one that others can reach")))
}

async fn serve_streams(replication: Arc<Replication>, mut incoming: mpsc::Receiver<IncomingStream>) {
    while let Some(IncomingStream { kind, from, stream, .. }) = incoming.recv().await {
        tokio::spawn(replication.clone().serve(from, kind, stream));
    }
}

impl Claims for Joining {
    type Error = StartError;

    fn unconfirmed(&self) -> Option<Uuid> {
        self.identity().founding()
    }

    async fn write(&self) -> Result<Uuid, StartError> {
        let id = Uuid::new_v4();
        self.note(Some(id))?;
        Ok(id)
    }

    /// The claim stays noted until the cluster of one stands, so that a crash before that repeats what is missing.
    async fn confirm(&self, _cluster_id: Uuid) -> Result<(), StartError> {
        Ok(())
    }

    async fn drop_claim(&self, _cluster_id: Uuid) -> Result<(), StartError> {
        Ok(self.note(None)?)
    }
}

impl Joining {
    fn note(&self, founding: Option<Uuid>) -> Result<(), IdentityError> {
        self.identity().set_founding(founding)
    }
}
