//! How a started node comes to its address and its members.
//!
//! 1. *Address*: `--advertise`, or what it is bound to, or what a registry saw if that is an address of this host. Without any of these
//!    it waits for a registry.
//! 2. *Members*: gossip starts with the seeds at hand (`--join`, members of the last life, what registries say) and hears of more.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use log::{error, info, warn};
use muster_cluster::runtime::{Cluster, Options, StampFile};
use muster_cluster::swim::{self, Event, MemberState};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{OnceCell, broadcast, watch};

use crate::discovery::Discovery;
use crate::election::{self, Lead};
use crate::flags::Flags;
use crate::gossip;
use crate::identity::Identity;
use crate::roster::{Card, Roster};
use crate::startup::StartError;

/// The last stamp, beside the identity.
const STAMP_FILE: &str = "stamp";
/// Members that are remembered for a start without a registry: enough that one of them is alive.
const REMEMBERED: usize = 32;
/// An address that no host has (RFC 5737), to learn which of ours the default route uses. Nothing is sent there.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// What joining tells the rest of the node.
#[derive(Debug)]
pub struct Joined {
    /// The members.
    pub roster: watch::Sender<Arc<Roster>>,
    /// The leader.
    pub lead: watch::Sender<Lead>,
    /// The membership, once it runs.
    pub cluster: Arc<OnceCell<Cluster>>,
}

/// Joins, and goes on until the membership stops; fails only with what makes joining impossible.
pub async fn run(
    flags: &Flags,
    mut identity: Identity,
    (udp, tcp): (UdpSocket, TcpListener),
    http_at: SocketAddr,
    discovery: Option<&Discovery>,
    joined: Joined,
) -> Result<(), StartError> {
    let peer_at = tcp.local_addr()?;
    let host = host(flags, peer_at.ip(), discovery).await?;
    let http_host = if http_at.ip().is_unspecified() { host } else { http_at.ip() };
    let card = Card {
        name: flags.name.clone(),
        http: SocketAddr::new(http_host, http_at.port()).to_string(),
        cluster_id: None,
        priority: flags.priority,
    };
    let stamps = StampFile::new(flags.data_dir.join(STAMP_FILE));
    let address = SocketAddr::new(host, peer_at.port());
    let mut options = Options::new(swim::Config::lan(&flags.cluster), identity.id(), address, stamps);
    options.metadata = card.encode();
    options.seeds = first_seeds(flags, &identity, discovery);
    let core = election::core(identity.id(), flags.heartbeat.0, flags.election_timeout.0).map_err(StartError::Flag)?;
    // No stream of the program's own is served yet: the receiver is dropped, and who opens one is refused.
    let (cluster, _) = Cluster::start(options, udp, tcp).await?;
    info!("gossips as {address}");
    let _: Result<_, _> = joined.cluster.set(cluster.clone());
    gossip::follow(&cluster, joined.roster);
    tokio::join!(
        election::run(cluster.clone(), core, flags.priority, joined.lead),
        hear_events(cluster.events()),
        follow_seeds(&cluster, discovery),
        remember_peers(&cluster, &mut identity),
    );
    Ok(())
}

/// Under which address others reach this host.
async fn host(flags: &Flags, bound: IpAddr, discovery: Option<&Discovery>) -> Result<IpAddr, StartError> {
    if let Some(advertised) = &flags.advertise {
        let no_address = |why: String| {
            StartError::Flag(format!("--advertise {advertised} has no address{why}; name one that others can reach"))
        };
        let found = tokio::net::lookup_host((advertised.as_str(), 0)).await;
        let first = found.map_err(|error| no_address(format!(": {error}")))?.next();
        return first.map(|address| address.ip()).ok_or_else(|| no_address(String::new()));
    }
    if !bound.is_unspecified() {
        return Ok(bound);
    }
    if let Some(discovery) = discovery {
        let mut picture = discovery.picture();
        let answered = picture.wait_for(|picture| picture.answering > 0).await.map(|picture| picture.observed);
        if let Ok(Some(observed)) = answered {
            return Ok(observed);
        }
    }
    for join in &flags.join {
        if let Ok(mut found) = tokio::net::lookup_host(join).await
            && let Some(target) = found.next()
        {
            return Ok(gossip::outward(target).await);
        }
    }
    Ok(gossip::outward(ELSEWHERE).await)
}

fn first_seeds(flags: &Flags, identity: &Identity, discovery: Option<&Discovery>) -> Vec<String> {
    let mut seeds: BTreeSet<String> = flags.join.iter().cloned().collect();
    seeds.extend(identity.peers().iter().cloned());
    if let Some(discovery) = discovery {
        seeds.extend(discovery.picture().borrow().seeds.iter().map(|seed| seed.peer.clone()));
    }
    seeds.into_iter().collect()
}

async fn follow_seeds(cluster: &Cluster, discovery: Option<&Discovery>) {
    let Some(discovery) = discovery else { return };
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
async fn remember_peers(cluster: &Cluster, identity: &mut Identity) {
    let mut members = cluster.members();
    let mut remembered = identity.peers().to_vec();
    while members.changed().await.is_ok() {
        let view = members.borrow_and_update().clone();
        let others = view.members.iter().filter(|member| member.id != view.local);
        let live = others.filter(|member| member.state == MemberState::Alive);
        let peers: Vec<String> = live.map(|member| member.address.to_string()).take(REMEMBERED).collect();
        // Who lost sight of everybody keeps the last that were seen.
        if peers.is_empty() || peers == remembered {
            continue;
        }
        if let Err(error) = identity.keep_peers(peers.clone()) {
            warn!("the members are not remembered for the next start: {error}");
        }
        remembered = peers;
    }
}

async fn hear_events(mut events: broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) => hear(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => warn!("{missed} events of gossip were missed"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn hear(event: Event) {
    match event {
        Event::SetBack { heard, held } => error!(
            "the cluster has seen a later life of this node ({}) than its disk knows ({}): the data dir is an old copy; stop this \
             node and start it with an empty --data-dir",
            heard.to_bits(),
            held.to_bits()
        ),
        Event::Duplicate { id, .. } => {
            error!("two nodes run under the identity {id}: stop the one whose data dir is a copy");
        }
        Event::Joined(member) => info!("{} is there, at {}", name(&member), member.address),
        Event::Suspected(member) => info!("{} does not answer gossip: suspected", name(&member)),
        Event::Refuted(member) => info!("{} answers gossip again", name(&member)),
        Event::Failed(member) => warn!("{} is given up by gossip: failed", name(&member)),
        Event::Left(member) => info!("{} has stopped in good order: left", name(&member)),
        Event::Updated(_)
        | Event::Forgotten { .. }
        | Event::Broadcast { .. }
        | Event::Message { .. }
        | Event::Synced { .. }
        | Event::LeaveDone { .. } => {}
    }
}

fn name(member: &swim::Member) -> String {
    match Card::decode(&member.metadata) {
        Some(card) if !card.name.is_empty() => format!("{} ({})", card.name, member.id),
        _ => member.id.to_string(),
    }
}
