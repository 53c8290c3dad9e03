//! The listening socket, its limits, and how it stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpServer};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::state::AppState;

/// 1,024 connections may wait to be accepted: a burst of clients that all reconnect after a leader's death.
const BACKLOG: u32 = 1_024;
/// Connections that one worker serves at a time; more wait to be accepted. A silent one costs some 10 KiB.
const CONNECTIONS_PER_WORKER: usize = 8_192;
/// The head of a request must be there after this long; it fits a packet or two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is kept this long: longer than common clients keep theirs (reqwest: 90 s), so that they never send
/// into one that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// After a refused body the server reads on for this long, so that the answer arrives before the connection goes.
const LINGER: Duration = Duration::from_secs(1);

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, with the port that was picked.
    pub address: SocketAddr,
    app: Arc<AppState>,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

/// Binds and serves on threads of its own, one for each core. Must be called within a tokio runtime.
pub fn start(address: SocketAddr, app: Arc<AppState>) -> io::Result<Running> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server must not wait for its predecessor's last connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    let address = listener.local_addr()?;
    let shared = Arc::clone(&app);
    let factory = move || {
        let app = Arc::clone(&shared);
        App::new().default_service(web::to(move |request: HttpRequest, payload: Payload| {
            let app = Arc::clone(&app);
            async move { super::serve(&app, &request, payload).await }
        }))
    };
    let server: Server = HttpServer::new(factory)
        .disable_signals()
        .max_connections(CONNECTIONS_PER_WORKER)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(LINGER)
        .keep_alive(KEEP_ALIVE)
        .tcp_nodelay(true)
        .shutdown_timeout(2)
        .listen(listener)?
        .run();
    let handle = server.handle();
    Ok(Running { address, app, handle, task: tokio::spawn(server) })
}

impl Running {
    /// Accepts nothing new, answers what is in flight, closes idle connections, and returns when all are gone or two
    /// seconds are over.
    pub async fn stop(self) {
        self.app.set_stopping();
        self.handle.stop(true).await;
        let _ = self.task.await;
    }
}
