//! Datagrams.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::bind;
use crate::world::{try_with, with};

/// Datagrams that wait to be read; more are lost.
const WAITING: usize = 512;

/// A socket for datagrams.
#[derive(Debug)]
pub struct UdpSocket {
    address: SocketAddr,
    machine: usize,
    bound: Arc<Bound>,
}

#[derive(Debug, Default)]
pub(crate) struct Bound(Mutex<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<(SocketAddr, Arc<[u8]>)>,
    reader: Option<Waker>,
}

impl Bound {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, from: SocketAddr, bytes: Arc<[u8]>) {
        let mut inbox = self.lock();
        if inbox.waiting.len() < WAITING {
            inbox.waiting.push_back((from, bytes));
        }
        if let Some(reader) = inbox.reader.take() {
            drop(inbox);
            reader.wake();
        }
    }
}

impl UdpSocket {
    /// On this machine; port 0 picks one.
    ///
    /// # Errors
    /// When the address is another machine's, or the port is taken.
    pub async fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let (address, machine, bound) = bind(address.into(), |machine| &mut machine.datagrams)?;
        Ok(Self { address, machine, bound })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// Nothing: every machine has one address, whomever it talks to.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub async fn connect(&self, _to: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    /// Sends a datagram, or loses it.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        with(|world| world.send_datagram(self.address, to, bytes));
        Ok(bytes.len())
    }

    /// The same.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.try_send_to(bytes, to)
    }

    /// The next datagram; what does not fit into the buffer is lost.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (from, bytes) = self.bound.lock().waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok((length, from))
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|context| self.poll_ready(context)).await;
        self.try_recv_from(buffer)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inbox = self.bound.lock();
        if inbox.waiting.is_empty() {
            inbox.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        try_with(|world| world.machines[self.machine].datagrams.remove(&self.address.port()));
    }
}
