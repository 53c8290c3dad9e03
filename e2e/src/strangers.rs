//! Connections by the thousand, from whoever they like to be: what no client library would do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Lets this process open so many files; the error says why not.
///
/// # Errors
/// When the system does not allow it.
pub fn open_files(wanted: u64) -> Result<(), String> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    limit.current = Some(wanted);
    // Root may raise the bound as well.
    limit.maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, limit).map_err(|error| format!("{wanted} open files are not to be had: {error}"))
}

/// Connections that have said this, and nothing since.
///
/// # Panics
/// When one is not taken.
pub async fn connect(to: SocketAddr, many: usize, saying: &[u8]) -> Vec<TcpStream> {
    let mut strangers = Vec::with_capacity(many);
    for _ in 0..many {
        let mut stranger = TcpStream::connect(to).await.expect("connect");
        // Refused and closed already: that is what is tried.
        let _ = stranger.write_all(saying).await;
        strangers.push(stranger);
    }
    strangers
}

/// The same from a loopback address.
///
/// # Errors
/// When the connection is not taken.
pub async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// How many of them the other side has ended by now. What they were told meanwhile is read.
pub async fn ended(strangers: &mut [TcpStream]) -> usize {
    let mut ended = 0;
    let mut heard = vec![0; 64 * 1024];
    for stranger in strangers {
        ended += usize::from(loop {
            match stranger.try_read(&mut heard) {
                Ok(1..) => {}
                Ok(0) => break true,
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
        });
    }
    ended
}

/// What one hears until the other side closes or falls silent for so long.
pub async fn hears(stranger: &mut TcpStream, silence: Duration) -> String {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(length @ 1..)) = tokio::time::timeout(silence, stranger.read(&mut piece)).await {
        heard.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}
