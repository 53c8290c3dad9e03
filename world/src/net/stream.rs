//! A stream, and its two halves.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, READER, Side, WRITER};
use crate::world::with;

/// A stream between two machines.
#[derive(Debug)]
pub struct TcpStream {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

/// Its reading half.
#[derive(Debug)]
pub struct OwnedReadHalf(End);

/// Its writing half. Dropped, it ends that direction.
#[derive(Debug)]
pub struct OwnedWriteHalf(End);

#[derive(Debug, Clone)]
struct End {
    connection: Arc<Connection>,
    side: Side,
}

/// A request under way; dropped, nobody waits for it any more.
struct Request {
    connection: Arc<Connection>,
    done: bool,
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.done {
            self.connection.dialling().given_up = true;
        }
    }
}

impl TcpStream {
    pub(super) fn of(connection: Arc<Connection>, side: Side) -> Self {
        let end = End { connection, side };
        Self { reader: OwnedReadHalf(end.clone()), writer: OwnedWriteHalf(end) }
    }

    /// Asks for a connection, for as long as nobody answers.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(to: SocketAddr) -> io::Result<Self> {
        let asked = with(|world| {
            let here = world.here();
            let from = SocketAddr::new(here.ip, here.free_port());
            Connection::ask(world, from, to)
        });
        let Some(connection) = asked else { return std::future::pending().await };
        let mut request = Request { connection: connection.clone(), done: false };
        let taken = poll_fn(|context| {
            let mut dialling = connection.dialling();
            match dialling.answer {
                Some(taken) => Poll::Ready(taken),
                None => {
                    dialling.waits = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        });
        let taken = taken.await;
        request.done = true;
        if taken { Ok(Self::of(connection, Side::Dialler)) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// Its two directions.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (self.reader, self.writer)
    }
}

impl OwnedWriteHalf {
    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; when the connection is none any more.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let direction = self.0.connection.from(self.0.side);
        if direction.reset[WRITER] {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if direction.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let length = bytes.len().min(direction.room());
        drop(direction);
        match length {
            0 if bytes.is_empty() => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => {
                self.0.connection.send(self.0.side, &bytes[..length]);
                Ok(length)
            }
        }
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut direction = self.0.connection.from(self.0.side.other());
        if direction.reset[READER] {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if direction.inbox.is_empty() {
            if direction.ended {
                return Poll::Ready(Ok(()));
            }
            direction.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = direction.inbox.len().min(buffer.remaining());
        let (first, second) = direction.inbox.as_slices();
        let of_first = length.min(first.len());
        buffer.put_slice(&first[..of_first]);
        buffer.put_slice(&second[..length - of_first]);
        direction.inbox.drain(..length);
        let writer = direction.writer.take();
        drop(direction);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.0.connection.from(self.0.side).writer = Some(context.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.connection.close(self.0.side);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

impl Drop for OwnedReadHalf {
    fn drop(&mut self) {
        let mut direction = self.0.connection.from(self.0.side.other());
        direction.unread = true;
        direction.inbox.clear();
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        self.0.connection.close(self.0.side);
    }
}
