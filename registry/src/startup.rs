//! Puts the registry together and runs it until a signal.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use tokio::signal::unix::{SignalKind, signal};

use crate::flags::Flags;
use crate::http;
use crate::registry::Registry;
use crate::store::StoreError;

/// Two: a renewal costs microseconds, and the second answers while the first waits for the sync of a founding.
const WORKERS: usize = 2;
/// 30 s: longer than the third of a lease of a minute, so that a node renews over the connection that it has.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// 300 ms: no call waits for anything but a disk sync, so what is in flight then is an idle connection.
const GRACE: Duration = Duration::from_millis(300);

/// Why the registry stops with status 1. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address is taken or not ours.
    #[error("cannot listen on {at}: {source}; stop what listens there, or choose another --http")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The port that was kept from an earlier start is taken.
    #[error(
        "cannot listen on {at}, the port kept in {kept}: {source}; stop what listens there, or remove that file to have another port picked"
    )]
    KeptPort {
        /// Where.
        at: SocketAddr,
        /// The file that says so.
        kept: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something else of the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// Runs until SIGTERM or SIGINT. Must run in an actix system.
pub async fn run(flags: Flags) -> Result<(), StartError> {
    let registry = Arc::new(Registry::open(&flags.data_dir, flags.lease)?);
    let listener = listen(flags.http, &flags.data_dir)?;
    let at = listener.local_addr().map_err(system("the address listened on"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("the handler for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("the handler for SIGINT"))?;

    let data = web::Data::from(registry.clone());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).configure(http::configure))
        .workers(WORKERS)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .listen(listener)
        .map_err(system("the HTTP server"))?
        .run();
    let handle = server.handle();
    let mut server = std::pin::pin!(server);
    // Four looks per lease: what is forgotten by nobody's call is forgotten at most a quarter of a lease late.
    let mut ticks = tokio::time::interval((flags.lease / 4).min(Duration::from_secs(1)));
    log::info!("ready http={at} data-dir={} lease={}ms", flags.data_dir.display(), flags.lease.as_millis());
    loop {
        tokio::select! {
            ended = &mut server => return ended.map_err(system("the HTTP server")),
            _ = ticks.tick() => registry.tick(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    log::info!("stopping");
    // The server has to be polled for the stop to go on; after the grace the process ends with whoever still idles.
    let stopping = async { tokio::join!(handle.stop(true), &mut server) };
    let _ = tokio::time::timeout(GRACE, stopping).await;
    registry.sync().map_err(system("the sync of the journal"))?;
    log::info!("stopped");
    Ok(())
}

/// Listens; a port picked for `0` is kept, so that the nodes that were told of it find it again.
fn listen(wanted: SocketAddr, data_dir: &Path) -> Result<TcpListener, StartError> {
    if wanted.port() != 0 {
        return TcpListener::bind(wanted).map_err(|source| StartError::Listen { at: wanted, source });
    }
    let file = data_dir.join("http-port");
    let kept = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let at = SocketAddr::new(wanted.ip(), kept.unwrap_or(0));
    let listener = TcpListener::bind(at).map_err(|source| match kept {
        None => StartError::Listen { at, source },
        Some(_) => StartError::KeptPort { at, kept: file.display().to_string(), source },
    })?;
    let port = listener.local_addr().map_err(system("the address listened on"))?.port();
    if kept.is_none() {
        std::fs::write(&file, format!("{port}\n")).map_err(system("the file that keeps the port"))?;
    }
    Ok(listener)
}
