//! Names every concrete part, wires them, and stops them in good order.
//!
//! ```text
//! data dir --> storage, identity
//! sockets  --> http (at once: /livez, /readyz say what is waited for), peer port
//! address  --> advertised, bound, remembered, or as a registry saw it
//! gossip   --> roster --> replication --> keyspace --> http
//! cluster  --> known from the disk, founded, or joined
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use muster_client::api::registry::Registration;
use muster_cluster::keyring::Keyring;
use muster_cluster::runtime::{KeyFile, ReadKeysError};
use muster_cluster::world::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::discovery::Discovery;
use crate::flags::Flags;
use crate::gossip;
use crate::http::AppState;
use crate::http::server::{self, Bound};
use crate::identity::{Identity, IdentityError};
use crate::parts::{Data, End, Parts};
use crate::recovery::{self, RecoveryError};
use crate::replication::{self, Replication};
use crate::set_aside;
use crate::storage::{self, OpenError, StorageOptions};

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
    /// The data dir cannot be used.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The last stamp in gossip cannot be used.
    #[error(
        "{path} cannot be used ({cause}); restore it, or put this data dir aside and start with an empty one: the others send the data anew"
    )]
    Stamp {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// The engine cannot be started.
    #[error(transparent)]
    Replication(#[from] replication::StartError),
    /// The membership cannot be started.
    #[error("gossip cannot be started: {0}")]
    Gossip(#[from] muster_cluster::runtime::StartError),
    /// The keys cannot be used.
    #[error("{0}; correct the file, or name another with --keys-file")]
    Keys(#[from] ReadKeysError),
    /// The data of a life that is over cannot be moved.
    #[error(
        "the old data in {dir} cannot be set aside ({cause}); see to the rights and the room there, then start the node again"
    )]
    SetAside {
        /// The data dir.
        dir: PathBuf,
        /// As the system says it.
        cause: io::Error,
    },
    /// A recovery that was interrupted cannot be finished.
    #[error("a recovery was interrupted here and cannot be finished: {0}")]
    Recovery(#[from] RecoveryError),
    /// A flag makes no sense here.
    #[error("{0}")]
    Flag(String),
    /// The engine stopped by itself.
    #[error(
        "stopped: {0}; what was acknowledged is on the disks of a majority. Look at this disk, then start the node again"
    )]
    Failed(String),
}

/// Threads for all but HTTP, which has one of its own for each core: one for every two cores. A write passes half a dozen tasks here one after the
/// other; with more threads than work they wake each other for every step.
fn engine_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Runs until SIGTERM or SIGINT, or until this node is taken out of its cluster for good.
pub fn run(flags: Flags) -> Result<(), StartError> {
    if set_aside::is_unfinished(&flags.data_dir) {
        set_aside(&flags, set_aside::finish)?;
    }
    if recovery::is_unfinished(&flags.data_dir) {
        recovery::finish_before_start(&flags.data_dir)?;
    }
    loop {
        let threads = engine_threads();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let end = runtime.block_on(serve(&flags));
        runtime.shutdown_timeout(Duration::from_secs(1));
        match end? {
            End::Stopped => return Ok(()),
            End::SetBack => set_aside(&flags, set_aside::set_aside)?,
            End::RoomAgain => info!("there is room on the disk again: starting anew over what is on it"),
        }
    }
}

/// Sets aside the data of a node that was set back, or what a crash left of that.
fn set_aside(flags: &Flags, how: fn(&Path, Option<&Path>) -> io::Result<()>) -> Result<(), StartError> {
    let dir = &flags.data_dir;
    let _lock = storage::lock(dir)?;
    how(dir, flags.keys_file.as_deref()).map_err(|cause| StartError::SetAside { dir: dir.clone(), cause })
}

async fn serve(flags: &Flags) -> Result<End, StartError> {
    // Before anything is announced: whoever reads `ready` may send a signal at once.
    let mut stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let keys = keys(flags)?;
    let options = StorageOptions { cache_bytes: flags.cache_size.0, ..StorageOptions::default() };
    let Some(mut data) = Data::open(flags, &options)? else { return Ok(End::Stopped) };
    let (http, peer) = bind(flags, &data.identity).await?;
    let (http_at, peer_at) = (http.address, peer.1.local_addr()?);
    data.identity.keep_ports(http_at.port(), peer_at.port())?;
    let room = data.room();
    let parts = match Parts::start(flags, data).await {
        Err(_) if room.was_missing() => {
            error!(
                "the disk is full: what the log holds cannot be applied. This node serves nothing until there is room, and goes on by itself then"
            );
            return tokio::select! {
                () = room.wait() => Ok(End::RoomAgain),
                _ = asked_to_stop(&mut stop) => Ok(End::Stopped),
            };
        }
        parts => parts?,
    };
    drop(room);
    let Parts { id, keyspace, replication, admin, .. } = &parts;
    let id = *id;
    let max_value_size = usize::try_from(flags.max_value_size.0).unwrap_or(usize::MAX);
    let http = http.serve(Arc::new(AppState::new(id, keyspace.clone(), admin.clone(), max_value_size)))?;
    if keys.is_open() && (!http_at.ip().is_loopback() || !peer_at.ip().is_loopback()) {
        warn!("without keys or tokens, whoever reaches {http_at} or {peer_at} can read and write everything");
    } else if keys.takes_plain() && !keys.is_open() {
        info!(
            "peers without a key are still let in at {peer_at}, until `plain` is removed from the ring (muster keys)"
        );
    }
    info!("ready: {} ({id}) serves clients on {http_at} and peers on {peer_at}", flags.name);

    let discovery = discover(flags, id, replication, http_at, peer_at)?;
    let joining = parts.joining(flags, discovery.clone());
    let end = tokio::select! {
        end = parts.run(&joining, peer, http_at) => end,
        name = asked_to_stop(&mut stop) => {
            info!("{name}: stopping; another one stops at once");
            Ok(End::Stopped)
        }
    };
    let for_good = *replication.left().borrow();
    if for_good {
        info!("this node was taken out of its cluster for good; its data stays in {}", flags.data_dir.display());
    }
    let stopping = async {
        if end.is_ok() {
            replication.step_aside().await;
        }
        keyspace.stop_waiting();
        http.stop().await;
        if let Some(discovery) = &discovery {
            if for_good { discovery.leave().await } else { discovery.stop().await }
        }
        if let Some(cluster) = joining.cluster() {
            let _: Result<_, _> = cluster.leave(GOODBYE).await;
        }
        replication.shutdown().await;
    };
    tokio::select! {
        () = stopping => info!("stopped"),
        _ = asked_to_stop(&mut stop) => warn!("stopped without waiting for requests in flight"),
    }
    end
}

/// The ring of the file, if there is one.
fn keys(flags: &Flags) -> Result<Keyring, StartError> {
    let Some(path) = &flags.keys_file else { return Ok(Keyring::default()) };
    let file = KeyFile::new(path);
    let ring = file.read()?;
    if file.is_exposed() {
        warn!("others than its owner may read the keys in {0}; close it with `chmod 600 {0}`", path.display());
    }
    Ok(ring)
}

async fn bind(flags: &Flags, identity: &Identity) -> Result<(Bound, (UdpSocket, TcpListener)), StartError> {
    let (http_port, peer_port) = identity.ports();
    let kept = |address: SocketAddr, port: Option<u16>| match (address.port(), port) {
        (0, Some(port)) => SocketAddr::new(address.ip(), port),
        _ => address,
    };
    let refused = |address, flag| {
        move |cause: io::Error| match cause.kind() {
            io::ErrorKind::AddrInUse => StartError::InUse { address, flag },
            _ => StartError::Listen { address, flag, cause },
        }
    };
    let http_at = kept(flags.http, http_port);
    let http = server::bind(http_at).map_err(refused(http_at, "--http"))?;
    let peer_at = kept(flags.peer, peer_port);
    let peer = gossip::bind(peer_at).await.map_err(refused(peer_at, "--peer"))?;
    Ok((http, peer))
}

fn discover(
    flags: &Flags,
    id: Uuid,
    replication: &Replication,
    http_at: SocketAddr,
    peer_at: SocketAddr,
) -> Result<Option<Discovery>, StartError> {
    if flags.registry_address.is_empty() {
        return Ok(None);
    }
    let registration = Registration {
        name: flags.name.clone(),
        cluster: flags.cluster.clone(),
        http: http_at.to_string(),
        peer: peer_at.to_string(),
        cluster_id: replication.cluster_id(),
        advertise: flags.advertise.clone(),
        bootstrap_expect: flags.bootstrap_expect.get(),
        replaces: replication.replaced(),
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
