//! Names every concrete part, wires them, and stops them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use log::{info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::admin::Admin;
use crate::flags::Flags;
use crate::http::{AppState, server};
use crate::keyspace::Keyspace;

/// Why the node does not run; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is another's.
    #[error("{address} is in use by another program; stop that one, or choose another address with --http")]
    InUse {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// The address is not this machine's, or not allowed.
    #[error("cannot listen on {address}: {cause}; choose another address with --http")]
    Listen {
        /// What was to be bound.
        address: SocketAddr,
        /// As the system says it.
        cause: io::Error,
    },
    /// The system gives no threads or signals.
    #[error("cannot start: {0}; look at this process's limits (ulimit -a)")]
    System(#[from] io::Error),
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
    let max_value_size = usize::try_from(flags.max_value_size.0).unwrap_or(usize::MAX);
    let app = AppState::new(id, Arc::new(Keyspace::in_memory(id)), Arc::new(Admin::default()), max_value_size);
    let http = server::start(flags.http, Arc::new(app)).map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse { address: flags.http },
        _ => StartError::Listen { address: flags.http, cause },
    })?;
    if !http.address.ip().is_loopback() {
        warn!("without keys or tokens, whoever reaches {} can read and write everything", http.address);
    }
    info!("ready: {} ({id}) serves clients on {}", flags.name, http.address);
    let name = asked_to_stop(&mut stop).await;
    info!("{name}: stopping; another one stops at once");
    tokio::select! {
        () = http.stop() => info!("stopped"),
        _ = asked_to_stop(&mut stop) => warn!("stopped without waiting for requests in flight"),
    }
    Ok(())
}

async fn asked_to_stop([terminate, interrupt]: &mut [Signal; 2]) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
