//! Puts the registry together and runs it until a signal.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::{self, ServiceConfig};
use muster_client::api::quantity::Span;
use muster_listener::{Limits, Outgoing};
use tokio::signal::unix::{SignalKind, signal};

use crate::flags::Flags;
use crate::http;
use crate::registry::Registry;
use crate::store::StoreError;

const LIMITS: Limits = Limits {
    // A renewal costs microseconds, and the second answers while the first waits for the sync of a founding.
    workers: Some(2),
    connections_per_worker: 25_600,
    // A journal and little else.
    own_files: 64,
    head: Duration::from_secs(5),
    // Longer than the third of a lease of a minute, so that a node renews over the connection that it has.
    keep_alive: Duration::from_secs(30),
    // No call waits for more than a disk sync.
    answer: Duration::from_secs(10),
    unanswered: 1 << 20,
    stall: Duration::from_secs(30),
    linger: Duration::from_secs(1),
    // Longer than the grace below, which decides.
    shutdown_seconds: 30,
};
/// 128 MiB of lists that nobody has taken yet: six of a full roll.
const ANSWER_BUDGET: usize = 128 << 20;
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

/// Runs until SIGTERM or SIGINT.
pub async fn run(flags: Flags) -> Result<(), StartError> {
    // Before `ready`: whoever reads that may send a signal at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(system("the handler for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("the handler for SIGINT"))?;
    let serving = Serving::start(&flags)?;
    log::info!("ready http={} data-dir={} lease={}", serving.address, flags.data_dir.display(), Span(flags.lease));
    let asked = async {
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => log::info!("SIGINT: stopping"),
        }
    };
    serving.run_until(asked).await?;
    log::info!("stopped");
    Ok(())
}

/// A registry that listens.
pub struct Serving {
    /// Where, with the port that was picked for 0.
    pub address: SocketAddr,
    registry: Arc<Registry>,
    server: Server,
    tick: Duration,
}

impl Serving {
    /// Opens the data directory and the port, and answers from now on. Must run in a tokio runtime.
    pub fn start(flags: &Flags) -> Result<Self, StartError> {
        let registry = Arc::new(Registry::open(&flags.data_dir, flags.lease)?);
        let listener = listen(flags.http, &flags.data_dir)?;
        let address = listener.local_addr().map_err(system("the address listened on"))?;
        let data = web::Data::from(registry.clone());
        let outgoing = web::Data::new(Outgoing::new(ANSWER_BUDGET));
        let routes = move |routes: &mut ServiceConfig| {
            http::configure(routes.app_data(data.clone()).app_data(outgoing.clone()));
        };
        let server =
            muster_listener::serve(listener, LIMITS, String::new(), routes).map_err(system("the HTTP server"))?;
        // Four looks per lease: what nobody's call makes it forget is forgotten at most a quarter of a lease late.
        Ok(Self { address, registry, server, tick: (flags.lease / 4).min(Duration::from_secs(1)) })
    }

    /// Runs until `asked` resolves, then stops in good order. Threads that still hold an idle connection, and with it the data
    /// directory, end a moment later or with the process.
    pub async fn run_until(self, asked: impl Future<Output = ()>) -> Result<(), StartError> {
        let handle = self.server.handle();
        let (mut server, mut asked) = (pin!(self.server), pin!(asked));
        let mut ticks = tokio::time::interval(self.tick);
        loop {
            tokio::select! {
                ended = &mut server => return ended.map_err(system("the HTTP server")),
                _ = ticks.tick() => self.registry.tick(),
                () = &mut asked => break,
            }
        }
        // The server has to be polled for the stop to go on; after the grace the process ends with whoever still idles.
        let stopping = async { tokio::join!(handle.stop(true), &mut server) };
        if tokio::time::timeout(GRACE, stopping).await.is_err() {
            log::debug!("connections that idle are left to the end of the process");
        }
        self.registry.sync().map_err(system("the sync of the journal"))
    }
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
