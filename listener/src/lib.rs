//! The HTTP/1.1 server that both services listen with.
//!
//! ```text
//! TcpStream -> Line -> actix's dispatcher -> the routes
//!                |         | "this is no request"
//!                +<--------+  the answer is ours: JSON that says what is wrong
//! ```
//!
//! actix-web's own `HttpServer` answers what it cannot parse (a broken request line, raw bytes in a path, a head too long) with a
//! bare status, and takes no handler for that: the answer is made in `actix_http::h1::dispatcher`, `poll_request`. The dispatcher
//! does run over any stream, and says how it ended; so the stream that it is given keeps back such a bare answer until the
//! dispatcher has ended, and then another goes out in its place. A request that can be read costs one comparison more.
//!
//! Nor does it bound all that a client may do to keep a connection, or let go of silent ones for the sake of others: see `watch`.

mod files;
mod line;
mod outgoing;
mod unreadable;
mod watch;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::num::NonZero;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::Server;
use actix_service::{ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use line::{Handle, Line};
pub use outgoing::{Outgoing, TooMuchUnread};
use watch::{Watch, Watched};

/// 256 KiB of an answer wait in the kernel for each client that does not read (it takes up to twice that). Left to itself it is 4 MiB, which ten
/// thousand such clients make 40 GiB. It fills a line of 100 Mbit/s up to a round trip of 20 ms.
const SEND_BUFFER: usize = 256 * 1024;

/// How a service listens.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Threads that serve; `None` is one for each core.
    pub workers: Option<usize>,
    /// Connections that one worker serves at a time. From seven eighths on, those that have been silent longest are closed to make room.
    pub connections_per_worker: usize,
    /// Files and sockets that the service needs beside those connections. Where the system does not let it open enough for both, there are fewer
    /// connections.
    pub own_files: usize,
    /// The head of a connection's first request must be there after this long.
    pub head: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// From the first byte of a request on, its answer must begin within this time, give or take a second.
    pub answer: Duration,
    /// Bytes of requests that may come before an answer begins; more is a body without an end.
    pub unanswered: u64,
    /// A client that takes nothing of its answer for so long is not waited for any longer.
    pub stall: Duration,
    /// How long a connection is read from after its last answer, so that the answer is not lost in a reset.
    pub linger: Duration,
    /// How long requests in flight have to end once the server is to stop, in whole seconds.
    pub shutdown_seconds: u64,
}

/// Serves what `routes` configures, on threads of its own. `headers` are whole lines, each with its line break: they go into the
/// answers to what cannot be read, which no route sees. Must be called within a tokio runtime; the server has to be polled to stop.
///
/// # Errors
/// When the socket does not take the settings that it needs.
pub fn serve<R>(listener: TcpListener, mut limits: Limits, headers: String, routes: R) -> io::Result<Server>
where
    R: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = limits.workers.unwrap_or_else(cores);
    limits.connections_per_worker =
        files::connections_per_worker(limits.connections_per_worker, workers, limits.own_files);
    let server = Server::build()
        .disable_signals()
        .workers(workers)
        .max_concurrent_connections(limits.connections_per_worker)
        .shutdown_timeout(limits.shutdown_seconds);
    // Accepted sockets have it from this one.
    SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER)?;
    let stopping = server.graceful_shutdown_signal();
    let factory = move || {
        let (limits, routes, stopping, headers) =
            (limits.clone(), routes.clone(), stopping.clone(), Rc::<str>::from(&*headers));
        fn_factory(move || {
            let (routes, stopping, headers) = (routes.clone(), stopping.clone(), Rc::clone(&headers));
            let http = HttpService::build()
                .keep_alive(KeepAlive::Timeout(limits.keep_alive))
                .client_request_timeout(limits.head)
                .client_disconnect_timeout(limits.linger)
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .finish(map_config(App::new().configure(routes), |()| AppConfig::default()));
            let linger = limits.linger;
            let watch = Rc::new(Watch::new(&limits));
            async move {
                let http = Rc::new(http.new_service(()).await?);
                // It ends with the worker's thread.
                tokio::task::spawn_local(Rc::clone(&watch).run());
                Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                    connection(Rc::clone(&http), stream, Rc::clone(&headers), watch.enter(), linger)
                }))
            }
        })
    };
    Ok(server.listen("http", listener, factory)?.run())
}

/// One connection, from its first byte to its last.
async fn connection<S>(
    http: Rc<S>,
    stream: TcpStream,
    headers: Rc<str>,
    watched: Watched,
    linger: Duration,
) -> Result<(), DispatchError>
where
    S: actix_service::Service<Incoming, Response = (), Error = DispatchError>,
{
    // Answers are written whole: waiting for more to send with them would only delay them.
    let _ = stream.set_nodelay(true);
    let from = stream.peer_addr().ok();
    let post = Rc::clone(&watched.post);
    let line = Rc::new(RefCell::new(Line::new(stream, headers, Rc::clone(&post))));
    let ended = {
        let mut dispatcher = pin!(http.call((Handle::of(&line), Protocol::Http1, from)));
        poll_fn(|cx| {
            if post.is_given_up() {
                return Poll::Ready(None);
            }
            match dispatcher.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => {
                    line.borrow_mut().let_go(cx);
                    post.waits(cx);
                    Poll::Pending
                }
            }
        })
        .await
    };
    // The dispatcher is gone, and with it the only other handle.
    let Some(line) = Rc::into_inner(line).map(RefCell::into_inner) else { return Ok(()) };
    let Some(ended) = ended else {
        line.give_up();
        return Ok(());
    };
    let (mut stream, left) = line.end(&ended);
    if !left.is_empty() {
        // What is not answered in this time is not read by anyone.
        let _ = tokio::time::timeout(linger, say(&mut stream, &left)).await;
    }
    ended
}

/// What a dispatcher is given.
type Incoming = (Handle, Protocol, Option<std::net::SocketAddr>);

/// Writes the last words, then reads on until the other side has heard them: closing with something unread would be a reset,
/// which takes the words back.
async fn say(stream: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut unheard = [0; 4096];
    while stream.read(&mut unheard).await? > 0 {}
    Ok(())
}
