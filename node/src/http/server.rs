//! The listening socket, its limits, and how it stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::ServerHandle;
use actix_web::web::{self, Payload, ServiceConfig};
use muster_listener::Limits;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::answer;
use super::state::AppState;

/// 1,024 connections may wait to be accepted: a burst of clients that all reconnect after a leader's death.
const BACKLOG: u32 = 1_024;
const LIMITS: Limits = Limits {
    workers: None,
    // A silent one costs some 20 KiB.
    connections_per_worker: 8_192,
    // The state's tables, the log, and the streams of peers.
    own_files: 2_048,
    // It fits a packet or two.
    head: Duration::from_secs(5),
    // Longer than common clients keep theirs (reqwest: 90 s), so that they never send into one that is being closed.
    keep_alive: Duration::from_secs(120),
    // The longest wait that a caller may ask for, and the time for a body.
    answer: Duration::from_secs(75),
    // Two of the largest values, pipelined.
    unanswered: 34 << 20,
    // Longer than a peer's slowest line needs for what the kernel frees at a time: 85 KiB at 4 KiB/s.
    stall: Duration::from_secs(30),
    linger: Duration::from_secs(1),
    shutdown_seconds: 2,
};

/// A socket that listens, before anyone is served: what is to be told to others is known.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens, with the port that was picked.
    pub address: SocketAddr,
    listener: TcpListener,
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    app: Arc<AppState>,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

/// Binds. Must be called within a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server must not wait for its predecessor's last connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    Ok(Bound { address: listener.local_addr()?, listener })
}

impl Bound {
    /// Serves on threads of its own, one for each core. Must be called within a tokio runtime.
    pub fn serve(self, app: Arc<AppState>) -> io::Result<Running> {
        let shared = Arc::clone(&app);
        let routes = move |routes: &mut ServiceConfig| {
            let app = Arc::clone(&shared);
            routes.default_service(web::to(move |request: HttpRequest, payload: Payload| {
                let app = Arc::clone(&app);
                async move { super::serve(&app, &request, payload).await }
            }));
        };
        let node = format!("{}: {}\r\n", answer::NODE, app.node.to_str().unwrap_or_default());
        let server = muster_listener::serve(self.listener, LIMITS, node, routes)?;
        let handle = server.handle();
        Ok(Running { app, handle, task: tokio::spawn(server) })
    }
}

impl Running {
    /// Accepts nothing new, answers what is in flight, closes idle connections, and returns when all are gone or two
    /// seconds are over. What waits for something must be told to give up before.
    pub async fn stop(self) {
        self.app.set_stopping();
        self.handle.stop(true).await;
        let _ = self.task.await;
    }
}
