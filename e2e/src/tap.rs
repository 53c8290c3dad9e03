//! A tap on the wire: it stands where a node says that it is, carries everything on to where the node listens, and remembers what
//! went by.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Longest piece that is carried at once: more than any datagram.
const PIECE: usize = 65_536;
/// Pieces of a stream that are on their way at once. Full: no more is read, as with any wire.
const UNDER_WAY: usize = 1_024;

/// What went by, over TCP and UDP. It ends when it is dropped.
#[derive(Debug)]
pub struct Tap {
    heard: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Tap {
    /// Stands at `at` for what listens at `to`.
    ///
    /// # Panics
    /// When somebody else is there.
    pub async fn new(at: SocketAddr, to: SocketAddr) -> Self {
        Self::at_a_distance(at, to, Duration::ZERO).await
    }

    /// The same, and what goes by on streams takes so long each way. Datagrams do not.
    ///
    /// # Panics
    /// When somebody else is there.
    pub async fn at_a_distance(at: SocketAddr, to: SocketAddr, way: Duration) -> Self {
        let heard = Arc::default();
        let tcp = TcpListener::bind(at).await.expect("an address of the test's own");
        let udp = UdpSocket::bind(at).await.expect("an address of the test's own");
        let mut tasks = JoinSet::new();
        tasks.spawn(streams(tcp, to, way, Arc::clone(&heard)));
        tasks.spawn(datagrams(udp, to, Arc::clone(&heard)));
        Self { heard, _tasks: tasks }
    }

    /// What went by since this was last asked.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn note(heard: &Mutex<Vec<u8>>, bytes: &[u8]) {
    heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
}

async fn streams(listener: TcpListener, to: SocketAddr, way: Duration, heard: Arc<Mutex<Vec<u8>>>) {
    let mut pipes = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        while pipes.try_join_next().is_some() {}
        let heard = Arc::clone(&heard);
        pipes.spawn(async move {
            // Who is not there refuses the tap; all that the tap can do is to close.
            let Ok(far) = TcpStream::connect(to).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::join!(carry(near_read, far_write, way, &heard), carry(far_read, near_write, way, &heard));
        });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Duration,
    heard: &Mutex<Vec<u8>>,
) {
    let (enter, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(n @ 1..) = from.read(&mut piece).await {
            note(heard, &piece[..n]);
            if enter.send((Instant::now() + way, piece[..n].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// Each sender gets a socket of its own, so that what is answered to it finds its way back.
async fn datagrams(udp: UdpSocket, to: SocketAddr, heard: Arc<Mutex<Vec<u8>>>) {
    let udp = Arc::new(udp);
    let mut onward: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut backward = JoinSet::new();
    let mut piece = vec![0; PIECE];
    loop {
        // An error is a host's answer to an earlier datagram.
        let Ok((n, from)) = udp.recv_from(&mut piece).await else { continue };
        note(&heard, &piece[..n]);
        let socket = match onward.get(&from) {
            Some(socket) => Arc::clone(socket),
            None => {
                let here = udp.local_addr().expect("it is bound").ip();
                let socket = Arc::new(UdpSocket::bind((here, 0)).await.expect("a free port"));
                onward.insert(from, Arc::clone(&socket));
                let (udp, socket_back, heard) = (Arc::clone(&udp), Arc::clone(&socket), Arc::clone(&heard));
                backward.spawn(async move {
                    let mut piece = vec![0; PIECE];
                    loop {
                        let Ok((n, _)) = socket_back.recv_from(&mut piece).await else { continue };
                        note(&heard, &piece[..n]);
                        let _ = udp.send_to(&piece[..n], from).await;
                    }
                });
                socket
            }
        };
        let _ = socket.send_to(&piece[..n], to).await;
    }
}
