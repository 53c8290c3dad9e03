//! A stream to another member, once the prefaces have been exchanged.
//!
//! It carries bytes both ways and says who is at the other end and in which version they talk. Today the bytes are those of the TCP
//! stream; what seals them will stand here, and its users will not notice.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use uuid::Uuid;

/// A stream whose two ends have told each other who they are. Without Nagle's delay.
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
