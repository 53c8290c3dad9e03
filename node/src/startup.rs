//! Names every concrete part, wires them, and stops them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use log::{info, warn};
use muster_client::api::cluster::Config;
use muster_client::api::registry::Registration;
use tokio::net::UdpSocket;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::admin::Admin;
use crate::discovery::Discovery;
use crate::flags::Flags;
use crate::http::{AppState, server};
use crate::keyspace::Keyspace;

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
    let id = Uuid::new_v4();
    let keyspace = Arc::new(Keyspace::in_memory(id));
    let bound = server::bind(flags.http).map_err(StartError::refused(flags.http, "--http"))?;
    let address = bound.address;
    // Nobody talks there yet. It is held all the same, so that what the registry tells of this node is this node's.
    let peer = UdpSocket::bind(flags.peer).await.map_err(StartError::refused(flags.peer, "--peer"))?;
    let peer_address = peer.local_addr()?;
    let config = Config { voters: flags.voters.get(), replace_after: flags.replace_after.to_string() };
    let admin = Admin::alone(id, flags.name.clone(), address, config, Arc::clone(&keyspace));
    let max_value_size = usize::try_from(flags.max_value_size.0).unwrap_or(usize::MAX);
    let http = bound.serve(Arc::new(AppState::new(id, keyspace, Arc::new(admin), max_value_size)))?;
    if !address.ip().is_loopback() {
        warn!("without keys or tokens, whoever reaches {address} can read and write everything");
    }
    info!("ready: {} ({id}) serves clients on {address}", flags.name);
    let discovery = discover(&flags, id, address, peer_address)?;
    let name = asked_to_stop(&mut stop).await;
    info!("{name}: stopping; another one stops at once");
    let stopping = async {
        http.stop().await;
        if let Some(discovery) = &discovery {
            discovery.stop().await;
        }
    };
    tokio::select! {
        () = stopping => info!("stopped"),
        _ = asked_to_stop(&mut stop) => warn!("stopped without waiting for requests in flight"),
    }
    Ok(())
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
