//! A stream to another member, once the prefaces have been exchanged.
//!
//! It carries bytes both ways and says who is at the other end and in which version they talk. Today the bytes are those of the TCP
//! stream; what seals them will stand here, and its users will not notice.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use uuid::Uuid;

/// A stream on which nothing was heard for so long is asked for a sign of life by the system.
const QUIET: Duration = Duration::from_secs(10);
/// And again this often.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// After so long without a sign of life it ends, whether it was quiet or had something under way that nobody confirmed. Long enough for a
/// peer that takes nothing more because its disk is busy, since the system counts that as well; without it a connection whose other end lost its
/// power stays for a quarter of an hour with something under way, and for ever without.
const LOST: Duration = Duration::from_secs(30);

/// Sets a connection up for peers: no delay for small writes, and an end within [`LOST`], give or take a question, when the other end is gone
/// without a word.
pub(super) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(QUIET).with_interval(ASK_AGAIN))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(LOST))?;
    Ok(())
}

/// A stream whose two ends have told each other who they are. Without Nagle's delay; it ends by itself, within 40 s, when the other end's host
/// is gone without a word.
#[derive(Debug)]
pub struct PeerStream {
    tcp: TcpStream,
    peer: Uuid,
    address: SocketAddr,
    version: u8,
}

impl PeerStream {
    pub(super) fn new(tcp: TcpStream, peer: Uuid, address: SocketAddr, version: u8) -> Self {
        Self { tcp, peer, address, version }
    }

    /// The member at the other end, as it said.
    pub fn peer(&self) -> Uuid {
        self.peer
    }

    /// The other end's address; of an accepted stream not the one that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The protocol version that both agreed on.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The two directions, to be used by two tasks. Dropping the writer ends that direction.
    pub fn into_split(self) -> (PeerReader, PeerWriter) {
        let (reader, writer) = self.tcp.into_split();
        (PeerReader { tcp: reader }, PeerWriter { tcp: writer })
    }
}

/// The reading half of a [`PeerStream`].
#[derive(Debug)]
pub struct PeerReader {
    tcp: OwnedReadHalf,
}

/// The writing half of a [`PeerStream`].
#[derive(Debug)]
pub struct PeerWriter {
    tcp: OwnedWriteHalf,
}

macro_rules! reads {
    ($name:ty) => {
        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.tcp).poll_read(context, buffer)
            }
        }
    };
}

macro_rules! writes {
    ($name:ty) => {
        impl AsyncWrite for $name {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.tcp).poll_write(context, bytes)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
            }

            fn is_write_vectored(&self) -> bool {
                self.tcp.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.tcp).poll_flush(context)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.tcp).poll_shutdown(context)
            }
        }
    };
}

reads!(PeerStream);
reads!(PeerReader);
writes!(PeerStream);
writes!(PeerWriter);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_prepared_connection_does_not_outlive_its_other_end_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&near).unwrap();
        assert!(near.nodelay().unwrap());
        let socket = SockRef::from(&near);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), QUIET);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), ASK_AGAIN);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(LOST));
    }
}
