//! A stream to another member, once the prefaces have been exchanged.
//!
//! It carries bytes both ways and says who is at the other end and in which version they talk. Where the members have keys, the bytes
//! are sealed on their way (`sealed`), and the stream ends when its key is taken out of the ring; where they have none, there are sums against bits
//! that flip. Its users need not know.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

#[cfg(not(simulated))]
use std::time::Duration;

#[cfg(not(simulated))]
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;

use super::sealed::{Channel, Opener, Sealer};
use crate::keyring::EntryName;
use crate::world::net::{OwnedReadHalf, OwnedWriteHalf, TcpStream};

/// A stream on which nothing was heard for so long is asked for a sign of life by the system.
#[cfg(not(simulated))]
const QUIET: Duration = Duration::from_secs(10);
/// And again this often.
#[cfg(not(simulated))]
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// After so long without a sign of life it ends, whether it was quiet or had something under way that nobody confirmed. Long enough for a
/// peer that takes nothing more because its disk is busy, since the system counts that as well; without it a connection whose other end lost its
/// power stays for a quarter of an hour with something under way, and for ever without.
#[cfg(not(simulated))]
const LOST: Duration = Duration::from_secs(30);

/// 16 KiB that the system holds and has not sent yet: it takes no more meanwhile. What it has taken is on its way then, so that time-outs of writes and of
/// answers measure the way and the peer, also where a link is slow, and not megabytes that wait in front of it.
#[cfg(all(not(simulated), any(target_os = "linux", target_os = "android")))]
const UNSENT: u32 = 16 << 10;

/// The simulated network has these ways by itself.
#[cfg(simulated)]
pub(super) fn prepare(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Sets a connection up for peers: no delay for small writes, and an end within [`LOST`], give or take a question, when the other end is gone
/// without a word.
#[cfg(not(simulated))]
pub(super) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(QUIET).with_interval(ASK_AGAIN))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_user_timeout(Some(LOST))?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
    }
    Ok(())
}

/// Whether what a stream is sealed with (or that it is not) still is in the ring.
#[derive(Debug)]
pub(super) struct Leash {
    /// What it hangs on.
    pub(super) entry: EntryName,
    cut: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Leash {
    pub(super) fn new(entry: EntryName) -> Self {
        Self { entry, cut: AtomicBool::new(false), reader: Mutex::new(None) }
    }

    /// Ends the stream: its reader wakes to an error, its writer meets one.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let waker = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.check().is_ok()
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its key was taken out of the ring"));
        }
        Ok(())
    }

    /// A reader waits.
    fn wait(&self, context: &Context<'_>) -> io::Result<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if !reader.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *reader = Some(context.waker().clone());
        }
        drop(reader);
        // It may have been cut in between.
        self.check()
    }
}

/// A stream whose two ends have told each other who they are. Without Nagle's delay; it ends by itself, within 40 s, when the other end's host
/// is gone without a word.
#[derive(Debug)]
pub struct PeerStream {
    tcp: TcpStream,
    opener: Option<Box<Opener>>,
    sealer: Option<Box<Sealer>>,
    leash: Arc<Leash>,
    peer: Uuid,
    address: SocketAddr,
    version: u8,
}

impl PeerStream {
    pub(super) fn new(
        tcp: TcpStream,
        channel: Option<Channel>,
        leash: Arc<Leash>,
        (peer, address, version): (Uuid, SocketAddr, u8),
    ) -> Self {
        let (sealer, opener) = channel.map(|channel| (channel.sealer.into(), channel.opener.into())).unzip();
        Self { tcp, opener, sealer, leash, peer, address, version }
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

    /// Whether it is sealed: then both ends hold the same key.
    pub fn is_sealed(&self) -> bool {
        self.sealer.as_ref().is_some_and(|sealer| sealer.hides())
    }

    /// The two directions, to be used by two tasks. Dropping the writer ends that direction.
    pub fn into_split(self) -> (PeerReader, PeerWriter) {
        let (reader, writer) = self.tcp.into_split();
        let reader = PeerReader { tcp: reader, opener: self.opener, leash: Arc::clone(&self.leash) };
        (reader, PeerWriter { tcp: writer, sealer: self.sealer, leash: self.leash })
    }
}

/// The reading half of a [`PeerStream`].
#[derive(Debug)]
pub struct PeerReader {
    tcp: OwnedReadHalf,
    opener: Option<Box<Opener>>,
    leash: Arc<Leash>,
}

/// The writing half of a [`PeerStream`].
#[derive(Debug)]
pub struct PeerWriter {
    tcp: OwnedWriteHalf,
    sealer: Option<Box<Sealer>>,
    leash: Arc<Leash>,
}

impl Drop for PeerWriter {
    /// The end of a sealed direction is a record, so that nobody else can make one.
    fn drop(&mut self) {
        if let Some(end) = self.sealer.as_mut().and_then(|sealer| sealer.last_words()) {
            // A socket that is full right now belongs to a peer that does not read.
            let _ = self.tcp.try_write(end);
        }
    }
}

macro_rules! reads {
    ($name:ty) => {
        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let Self { tcp, opener, leash, .. } = &mut *self;
                leash.check()?;
                let read = match opener {
                    None => Pin::new(tcp).poll_read(context, buffer),
                    Some(opener) => opener.poll_read(tcp, context, buffer),
                };
                if read.is_pending() {
                    leash.wait(context)?;
                }
                read
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
                let Self { tcp, sealer, leash, .. } = &mut *self;
                leash.check()?;
                match sealer {
                    None => Pin::new(tcp).poll_write(context, bytes),
                    Some(sealer) => sealer.poll_write(tcp, context, &[IoSlice::new(bytes)]),
                }
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let Self { tcp, sealer, leash, .. } = &mut *self;
                leash.check()?;
                match sealer {
                    None => Pin::new(tcp).poll_write_vectored(context, slices),
                    Some(sealer) => sealer.poll_write(tcp, context, slices),
                }
            }

            fn is_write_vectored(&self) -> bool {
                self.tcp.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                let Self { tcp, sealer, .. } = &mut *self;
                match sealer {
                    None => Pin::new(tcp).poll_flush(context),
                    Some(sealer) => sealer.poll_flush(tcp, context),
                }
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                let Self { tcp, sealer, .. } = &mut *self;
                match sealer {
                    None => Pin::new(tcp).poll_shutdown(context),
                    Some(sealer) => sealer.poll_shutdown(tcp, context),
                }
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
        {
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(LOST));
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT);
        }
    }
}
