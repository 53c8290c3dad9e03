//! Names every concrete part, wires them, and stops them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use muster_client::api::cluster::Config;
use muster_client::api::registry::Registration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OnceCell, watch};
use uuid::Uuid;

use crate::admin::Admin;
use crate::discovery::Discovery;
use crate::election::Lead;
use crate::flags::Flags;
use crate::gossip;
use crate::http::{AppState, server};
use crate::identity::{Identity, IdentityError};
use crate::joining::{self, Joined};
use crate::keyspace::Keyspace;
use crate::roster::Roster;

/// How long a leaving node waits for others to have heard its goodbye: within the second that a container is given.
const GOODBYE: Duration = Duration::from_millis(400);

/// Why the node does not run; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is another's.
    #[error("{address} is in use by another program; stop that one, or choose another address with {flag}")]
    InUse {
        /// What was to be bound.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// The address is not this machine's, or not allowed.
    #[error("cannot listen on {address}: {cause}; choose another address with {flag}")]
    Listen {
        /// What was to be bound.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// As the system says it.
        cause: io::Error,
    },
    /// The system gives no threads or signals.
    #[error("cannot start: {0}; look at this process's limits (ulimit -a)")]
    System(#[from] io::Error),
    /// The data dir is not there and cannot be made.
    #[error("the data dir {path} cannot be made: {cause}; choose another with --data-dir")]
    DataDir {
        /// As the flag names it.
        path: String,
        /// As the system says it.
        cause: io::Error,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The membership cannot be started.
    #[error("gossip cannot be started: {0}")]
    Gossip(#[from] muster_cluster::runtime::StartError),
    /// A flag makes no sense here.
    #[error("{0}")]
    Flag(String),
}

impl StartError {
    fn refused(address: SocketAddr, flag: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| match cause.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, flag },
            _ => Self::Listen { address, flag, cause },
        }
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(flags: Flags) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(flags))
}

async fn serve(flags: Flags) -> Result<(), StartError> {
    // Before anything is announced: whoever reads `ready` may send a signal at once.
    let mut stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    std::fs::create_dir_all(&flags.data_dir)
        .map_err(|cause| StartError::DataDir { path: flags.data_dir.display().to_string(), cause })?;
    let mut identity = Identity::open(&flags.data_dir)?;
    let id = identity.id();
    let (http_port, peer_port) = identity.ports();
    let kept = |address: SocketAddr, port: Option<u16>| match (address.port(), port) {
        (0, Some(port)) => SocketAddr::new(address.ip(), port),
        _ => address,
    };
    let (http_at, peer_at) = (kept(flags.http, http_port), kept(flags.peer, peer_port));
    let bound = server::bind(http_at).map_err(StartError::refused(http_at, "--http"))?;
    let sockets = gossip::bind(peer_at).await.map_err(StartError::refused(peer_at, "--peer"))?;
    let (http_at, peer_at) = (bound.address, sockets.1.local_addr()?);
    identity.keep_ports(http_at.port(), peer_at.port())?;

    let (roster, members) = watch::channel(Arc::new(Roster::default()));
    let (lead, leader) = watch::channel(Lead::default());
    let cluster = Arc::new(OnceCell::new());
    let keyspace = Arc::new(Keyspace::in_memory(leader.clone()));
    let config = Config { voters: flags.voters.get(), replace_after: flags.replace_after.to_string() };
    let own = (id, flags.name.clone(), http_at);
    let admin = Admin::new(own, config, Arc::clone(&keyspace), members, leader, Arc::clone(&cluster));
    let max_value_size = usize::try_from(flags.max_value_size.0).unwrap_or(usize::MAX);
    let http = bound.serve(Arc::new(AppState::new(id, keyspace, Arc::new(admin), max_value_size)))?;
    if !http_at.ip().is_loopback() || !peer_at.ip().is_loopback() {
        warn!("without keys or tokens, whoever reaches {http_at} or {peer_at} can read and write everything");
    }
    info!("ready: {} ({id}) serves clients on {http_at} and peers on {peer_at}", flags.name);
    let discovery = discover(&flags, id, http_at, peer_at)?;
    let joined = Joined { roster, lead, cluster: Arc::clone(&cluster) };
    let end = tokio::select! {
        ended = joining::run(&flags, identity, sockets, http_at, discovery.as_ref(), joined) => ended,
        name = asked_to_stop(&mut stop) => {
            info!("{name}: stopping; another one stops at once");
            Ok(())
        }
    };
    let stopping = async {
        http.stop().await;
        if let Some(discovery) = &discovery {
            discovery.stop().await;
        }
        if let Some(cluster) = cluster.get() {
            let _: Result<_, _> = cluster.leave(GOODBYE).await;
        }
    };
    tokio::select! {
        () = stopping => info!("stopped"),
        _ = asked_to_stop(&mut stop) => warn!("stopped without waiting for requests in flight"),
    }
    end
}

/// Registers with the registries that were named, and keeps registered.
fn discover(flags: &Flags, id: Uuid, http: SocketAddr, peer: SocketAddr) -> Result<Option<Discovery>, StartError> {
    if flags.registry_address.is_empty() {
        return Ok(None);
    }
    let registration = Registration {
        name: flags.name.clone(),
        cluster: flags.cluster.clone(),
        http: http.to_string(),
        peer: peer.to_string(),
        cluster_id: None,
        advertise: flags.advertise.clone(),
        bootstrap_expect: flags.bootstrap_expect.get(),
    };
    let discovery = Discovery::start(id, &flags.registry_address, registration);
    discovery.map(Some).map_err(|error| StartError::Flag(error.to_string()))
}

async fn asked_to_stop([terminate, interrupt]: &mut [Signal; 2]) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
