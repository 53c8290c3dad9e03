//! Whoever takes connections.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::bind;
use super::connection::{self, Connection, Side};
use super::stream::TcpStream;
use crate::world::try_with;

/// Takes connections.
#[derive(Debug)]
pub struct TcpListener {
    address: SocketAddr,
    machine: usize,
    bound: Arc<Bound>,
}

#[derive(Debug, Default)]
pub(crate) struct Bound(Mutex<Backlog>);

#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<Arc<Connection>>,
    acceptor: Option<Waker>,
}

impl Bound {
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, connection: Arc<Connection>) {
        let mut backlog = self.lock();
        backlog.waiting.push_back(connection);
        if let Some(acceptor) = backlog.acceptor.take() {
            drop(backlog);
            acceptor.wake();
        }
    }
}

impl TcpListener {
    /// On this machine; port 0 picks one.
    ///
    /// # Errors
    /// When the address is another machine's, or the port is taken.
    pub async fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let (address, machine, bound) = bind(address.into(), |machine| &mut machine.listeners)?;
        Ok(Self { address, machine, bound })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// Never; tokio's does.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let next = poll_fn(|context| {
            let mut backlog = self.bound.lock();
            match backlog.waiting.pop_front() {
                Some(connection) => Poll::Ready(connection),
                None => {
                    backlog.acceptor = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        });
        let connection = next.await;
        let from = connection.address(Side::Dialler);
        Ok((TcpStream::of(connection, Side::Acceptor), from))
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        try_with(|world| world.machines[self.machine].listeners.remove(&self.address.port()));
        let waiting = std::mem::take(&mut self.bound.lock().waiting);
        for connection in waiting {
            connection::abandoned(&connection);
        }
    }
}
